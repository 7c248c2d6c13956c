"""Linear-quadratic regulators: features steered to set-points in closed loop."""

from lens_steer.steering.lqr.costs import Costs as Costs
from lens_steer.steering.lqr.joint import JointLQR as JointLQR
from lens_steer.steering.lqr.online import OnlineLQR as OnlineLQR
from lens_steer.steering.lqr.regulator import LQR as LQR
from lens_steer.steering.lqr.riccati import isotropic_feedback as isotropic_feedback
from lens_steer.steering.lqr.tracker import LQRTracker as LQRTracker
