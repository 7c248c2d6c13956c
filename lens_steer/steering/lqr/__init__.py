"""Linear-quadratic regulators: features steered to set-points in closed loop."""

from lens_steer.steering.lqr._costs import Costs as Costs
from lens_steer.steering.lqr._joint import JointLQR as JointLQR
from lens_steer.steering.lqr._lqr import LQR as LQR
from lens_steer.steering.lqr._online import OnlineLQR as OnlineLQR
from lens_steer.steering.lqr._tracker import LQRTracker as LQRTracker
