"""Following the field of a barrier: pure functions of tensors, no model."""

from lens_steer.flows._frames import Frame as Frame
from lens_steer.flows._frames import carried as carried
from lens_steer.flows._frames import frame_of as frame_of
from lens_steer.flows._integrators import RK4 as RK4
from lens_steer.flows._integrators import Euler as Euler
from lens_steer.flows._integrators import GeodesicEuler as GeodesicEuler
from lens_steer.flows._integrators import GeodesicMidpoint as GeodesicMidpoint
from lens_steer.flows._integrators import Integrator as Integrator
from lens_steer.flows._integrators import Midpoint as Midpoint
from lens_steer.flows._seek import Sought as Sought
from lens_steer.flows._seek import seek as seek
from lens_steer.flows._state import Slope as Slope
from lens_steer.flows._state import State as State
from lens_steer.flows._state import dot as dot
from lens_steer.flows._state import size_of as size_of
from lens_steer.flows._walk import Flowed as Flowed
from lens_steer.flows._walk import Trajectory as Trajectory
from lens_steer.flows._walk import check_steps as check_steps
from lens_steer.flows._walk import flow as flow
from lens_steer.flows._walk import trajectory as trajectory
