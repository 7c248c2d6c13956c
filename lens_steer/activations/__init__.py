"""Reading a model at contrastive pairs: activations of both classes, or their statistics.

`read_positions` says which token of an example is read and `reading` reads it; `capturing` makes
`Activations` of all pairs (`types`), `statistics` the means and variances of sets that are too
large to keep, and `separability` says how far the classes are apart at each layer.
"""

from lens_steer.activations.capturing import LabelTokenWarning as LabelTokenWarning
from lens_steer.activations.capturing import capture as capture
from lens_steer.activations.capturing import last_token_separability as last_token_separability
from lens_steer.activations.read_positions import ReadPosition as ReadPosition
from lens_steer.activations.read_positions import ReadPreview as ReadPreview
from lens_steer.activations.read_positions import show_read_positions as show_read_positions
from lens_steer.activations.read_positions import span as span
from lens_steer.activations.separability import SeparabilityReport as SeparabilityReport
from lens_steer.activations.statistics import ContrastStats as ContrastStats
from lens_steer.activations.statistics import Moments as Moments
from lens_steer.activations.types import Activations as Activations
from lens_steer.activations.types import LayerActivations as LayerActivations
from lens_steer.activations.types import mean_difference as mean_difference
from lens_steer.arguments import check_room as _check_room

_check_room(globals())
