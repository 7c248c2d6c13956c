"""Activations of contrastive pairs: captured, or streamed into statistics."""

from lens_steer.activations.capturing import LabelTokenWarning as LabelTokenWarning
from lens_steer.activations.capturing import capture as capture
from lens_steer.activations.capturing import last_token_separability as last_token_separability
from lens_steer.activations.read_preview import ReadPreview as ReadPreview
from lens_steer.activations.read_preview import show_read_positions as show_read_positions
from lens_steer.activations.reading import ReadPosition as ReadPosition
from lens_steer.activations.reading import span as span
from lens_steer.activations.separability import SeparabilityReport as SeparabilityReport
from lens_steer.activations.statistics import ContrastStats as ContrastStats
from lens_steer.activations.statistics import Moments as Moments
from lens_steer.activations.types import Activations as Activations
from lens_steer.activations.types import LayerActivations as LayerActivations
from lens_steer.activations.types import mean_difference as mean_difference
