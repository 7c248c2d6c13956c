"""ODESteer: steering along the field of a barrier (arXiv:2602.17560)."""

from lens_steer.steering.odesteer._guided import Guided as Guided
from lens_steer.steering.odesteer._odesteer import ODESteer as ODESteer
from lens_steer.steering.odesteer._odesteer import StepODESteer as StepODESteer
from lens_steer.steering.odesteer._push import BarrierPush as BarrierPush
from lens_steer.steering.odesteer._target import TargetODESteer as TargetODESteer
