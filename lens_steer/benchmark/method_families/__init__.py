"""Method families: how each method is made from training pairs, and which settings it may try."""

from lens_steer.benchmark.method_families.choice import DEFAULT as DEFAULT
from lens_steer.benchmark.method_families.choice import FAMILIES as FAMILIES
from lens_steer.benchmark.method_families.choice import calibrated_best as calibrated_best
from lens_steer.benchmark.method_families.choice import families as families
from lens_steer.benchmark.method_families.choice import stored as stored
from lens_steer.benchmark.method_families.contender import KL as KL
from lens_steer.benchmark.method_families.contender import SHARES as SHARES
from lens_steer.benchmark.method_families.contender import FitCache as FitCache
from lens_steer.benchmark.method_families.contender import Hyperparameters as Hyperparameters
from lens_steer.benchmark.method_families.contender import MethodFamily as MethodFamily
from lens_steer.benchmark.method_families.regulators import RegulatorContender as RegulatorContender
