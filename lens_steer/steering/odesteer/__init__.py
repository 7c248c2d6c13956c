"""ODESteer: steering along the field of a barrier (arXiv:2602.17560)."""

from lens_steer.steering.odesteer.flow_steering import ODESteer as ODESteer
from lens_steer.steering.odesteer.flow_steering import StepODESteer as StepODESteer
from lens_steer.steering.odesteer.guided import Guided as Guided
from lens_steer.steering.odesteer.push import BarrierPush as BarrierPush
from lens_steer.steering.odesteer.target import TargetODESteer as TargetODESteer
