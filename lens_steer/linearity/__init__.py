"""How linear the blocks are, how far, and whether that matters to a user.

`diagnose(model, jacobians, pairs)` gives a `LinearityReport` (error against radius, persistence of
features, logits), `align(model, sets)` an `AlignmentReport` (are the Jacobians of texts alike?).
"""

from lens_steer.linearity.alignment import AlignmentReport as AlignmentReport
from lens_steer.linearity.alignment import align as align
from lens_steer.linearity.block_maps import BlockMaps as BlockMaps
from lens_steer.linearity.error_curves import PREDICTORS as PREDICTORS
from lens_steer.linearity.error_curves import ErrorCurves as ErrorCurves
from lens_steer.linearity.features import FeatureDirections as FeatureDirections
from lens_steer.linearity.fisher import PullbackFisher as PullbackFisher
from lens_steer.linearity.fisher import pullback_fisher as pullback_fisher
from lens_steer.linearity.layer_jacobians import LayerJacobians as LayerJacobians
from lens_steer.linearity.linearizing import linearize as linearize
from lens_steer.linearity.logit_report import LogitReport as LogitReport
from lens_steer.linearity.means import crossing as crossing
from lens_steer.linearity.means import skill as skill
from lens_steer.linearity.persistence import PersistenceReport as PersistenceReport
from lens_steer.linearity.report import RADII as RADII
from lens_steer.linearity.report import LinearityReport as LinearityReport
from lens_steer.linearity.report import diagnose as diagnose
from lens_steer.linearity.text_batches import Texts as Texts
from lens_steer.linearity.text_batches import token_rows as token_rows
