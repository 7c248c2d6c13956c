"""Adding fixed vectors: CAA, ActAdd, random directions, and their algebra."""

from lens_steer.steering.additive._actadd import ActAdd as ActAdd
from lens_steer.steering.additive._additive import Additive as Additive
from lens_steer.steering.additive._caa import CAA as CAA
from lens_steer.steering.additive._random import Random as Random
