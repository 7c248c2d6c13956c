"""Adding fixed vectors: CAA, ActAdd, random directions, and their algebra."""

from lens_steer.steering.additive.activation_addition import ActAdd as ActAdd
from lens_steer.steering.additive.base import Additive as Additive
from lens_steer.steering.additive.contrastive import CAA as CAA
from lens_steer.steering.additive.random_direction import Random as Random
