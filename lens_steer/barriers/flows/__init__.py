"""Flows along the unit gradient of a barrier, and the integrators that follow them.

A `Frame` (`frames`) holds a barrier in coordinates in which its flow is cheap. `integrators` are
the schemes for one step, `state` the safeguard that stops a row at a maximum. `flow` and
`trajectory` (`integration`) take many steps, `seek` (`seeking`) ends where h has a given value.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.barriers.flows.frames import Frame as Frame
from lens_steer.barriers.flows.frames import frame_of as frame_of
from lens_steer.barriers.flows.frames import move_in_frame as move_in_frame
from lens_steer.barriers.flows.integration import FlowEnd as FlowEnd
from lens_steer.barriers.flows.integration import Trajectory as Trajectory
from lens_steer.barriers.flows.integration import check_steps as check_steps
from lens_steer.barriers.flows.integration import flow as flow
from lens_steer.barriers.flows.integration import trajectory as trajectory
from lens_steer.barriers.flows.integrators import RK4 as RK4
from lens_steer.barriers.flows.integrators import Euler as Euler
from lens_steer.barriers.flows.integrators import GeodesicEuler as GeodesicEuler
from lens_steer.barriers.flows.integrators import GeodesicMidpoint as GeodesicMidpoint
from lens_steer.barriers.flows.integrators import Integrator as Integrator
from lens_steer.barriers.flows.integrators import Midpoint as Midpoint
from lens_steer.barriers.flows.seeking import TargetReached as TargetReached
from lens_steer.barriers.flows.seeking import seek as seek
from lens_steer.barriers.flows.state import Slope as Slope
from lens_steer.barriers.flows.state import State as State
from lens_steer.barriers.flows.state import dot as dot
from lens_steer.barriers.flows.state import size_of as size_of

_check_room(globals())
