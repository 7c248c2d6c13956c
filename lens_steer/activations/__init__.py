"""Activations of contrastive pairs: captured, or streamed into statistics."""

from lens_steer.activations._batching import ReadPosition as ReadPosition
from lens_steer.activations._batching import span as span
from lens_steer.activations._capture import LabelTokenWarning as LabelTokenWarning
from lens_steer.activations._capture import capture as capture
from lens_steer.activations._capture import last_token_separability as last_token_separability
from lens_steer.activations._reading import Reading as Reading
from lens_steer.activations._reading import readings as readings
from lens_steer.activations._stats import ContrastStats as ContrastStats
from lens_steer.activations._stats import Moments as Moments
from lens_steer.activations._types import Activations as Activations
from lens_steer.activations._types import LayerActivations as LayerActivations
from lens_steer.activations._types import mean_difference as mean_difference
