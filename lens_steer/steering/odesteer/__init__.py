"""ODESteer: steering along the gradient field of a barrier (arXiv:2602.17560).

`guided` has what methods of a barrier share and `BarrierPush`, the shortest push to a margin;
`barrier_flow` follows the field, and `flow_steering` has the methods that do: by an angle or a
length, in one step, or until h has a value.
"""

from lens_steer.steering.odesteer.flow_steering import ODESteer as ODESteer
from lens_steer.steering.odesteer.flow_steering import StepODESteer as StepODESteer
from lens_steer.steering.odesteer.flow_steering import TargetODESteer as TargetODESteer
from lens_steer.steering.odesteer.guided import BarrierPush as BarrierPush
from lens_steer.steering.odesteer.guided import Guided as Guided
