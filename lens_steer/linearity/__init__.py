"""How linear the blocks are, how far, and whether that matters to a user.

`diagnose(model, jacobians, pairs)` gives a `LinearityReport` (error against radius, persistence of
features, logits), `align(model, sets)` an `AlignmentReport` (are the Jacobians of texts alike?).
"""

from lens_steer.linearity._alignment import AlignmentReport as AlignmentReport
from lens_steer.linearity._alignment import align as align
from lens_steer.linearity._curves import ErrorCurves as ErrorCurves
from lens_steer.linearity._logits import LogitReport as LogitReport
from lens_steer.linearity._persistence import PersistenceReport as PersistenceReport
from lens_steer.linearity._report import RADII as RADII
from lens_steer.linearity._report import LinearityReport as LinearityReport
from lens_steer.linearity._report import diagnose as diagnose
