"""The model's blocks as linear maps: their Jacobians, how far these hold, what features they carry.

`block_maps` runs texts and gives the products of each text's own Jacobians (`products`);
`layer_jacobians` averages them over texts (`linearize`), and `fisher` measures pushes in nats of
the next token.
`features` holds a direction for each layer. `diagnose(model, jacobians, pairs)` makes a
`LinearityReport`: error against radius (`error_curves`), whether features persist from layer to
layer (`persistence`), and what predictions of the logits are worth (`logit_report`), all of one
`probe`. `align(model, sets)` compares the Jacobians of different texts (`alignment`).
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.linearity.alignment import AlignmentReport as AlignmentReport
from lens_steer.linearity.alignment import align as align
from lens_steer.linearity.block_maps import BlockMaps as BlockMaps
from lens_steer.linearity.error_curves import PREDICTORS as PREDICTORS
from lens_steer.linearity.error_curves import ErrorCurves as ErrorCurves
from lens_steer.linearity.error_curves import crossing as crossing
from lens_steer.linearity.error_curves import skill as skill
from lens_steer.linearity.features import FeatureDirections as FeatureDirections
from lens_steer.linearity.fisher import PullbackFisher as PullbackFisher
from lens_steer.linearity.fisher import pullback_fisher as pullback_fisher
from lens_steer.linearity.layer_jacobians import LayerJacobians as LayerJacobians
from lens_steer.linearity.layer_jacobians import linearize as linearize
from lens_steer.linearity.logit_report import LogitReport as LogitReport
from lens_steer.linearity.persistence import PersistenceReport as PersistenceReport
from lens_steer.linearity.products import forward_products as forward_products
from lens_steer.linearity.report import RADII as RADII
from lens_steer.linearity.report import LinearityReport as LinearityReport
from lens_steer.linearity.report import diagnose as diagnose
from lens_steer.linearity.text_batches import Texts as Texts
from lens_steer.linearity.text_batches import token_rows as token_rows

_check_room(globals())
