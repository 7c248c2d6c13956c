"""Linear-quadratic regulators: features steered to set-points in closed loop (arXiv:2604.19018).

`costs` has what a regulator weighs and the options that every `fit` takes; `fitting` puts features,
set-points, Jacobians and costs together into one problem, which `riccati` solves; `feature_law` is
the feedback of features that `regulator` (`LQR`), `joint` (several concepts), `elements` (heads or
neurons push, `actuators` says how), `barrier_law` (a barrier is the set-point, `barrier_checks`)
and `online` (gains of the prompt at hand) share; `tracker` is the optimal law, which pushes behind
the block that it corrects.
"""

from lens_steer.steering.lqr.barrier_law import BarrierLQR as BarrierLQR
from lens_steer.steering.lqr.barrier_law import BarrierOptions as BarrierOptions
from lens_steer.steering.lqr.costs import Costs as Costs
from lens_steer.steering.lqr.costs import RegulatorOptions as RegulatorOptions
from lens_steer.steering.lqr.costs import WeightOptions as WeightOptions
from lens_steer.steering.lqr.elements import ElementLQR as ElementLQR
from lens_steer.steering.lqr.joint import JointLQR as JointLQR
from lens_steer.steering.lqr.online import OnlineLQR as OnlineLQR
from lens_steer.steering.lqr.regulator import LQR as LQR
from lens_steer.steering.lqr.riccati import isotropic_feedback as isotropic_feedback
from lens_steer.steering.lqr.tracker import LQRTracker as LQRTracker
