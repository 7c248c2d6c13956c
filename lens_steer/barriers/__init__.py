"""Barriers: how desired an activation is, as a log-density ratio h with gradients and Hessians.

`Barrier` is what all have in common. `PolynomialBarrier` is ODESteer's (`forms` is its algebra,
`sketch` the paper's random features), `SketchBarrier` the same at any degree or with an SVM head
(`sketched`, `svm`), `LinearBarrier` a probe or a difference of means, `FourierBarrier` the paper's
ablation, and `JointBarrier` several at once. They are estimated by `fitting`, `cross_validation`
and `logistic`. Two rooms stand on them: `flows` follows their gradients, `field` measures these.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.barriers.barrier import Barrier as Barrier
from lens_steer.barriers.forms import Extremum as Extremum
from lens_steer.barriers.fourier import FourierBarrier as FourierBarrier
from lens_steer.barriers.joint import JointBarrier as JointBarrier
from lens_steer.barriers.linear import LinearBarrier as LinearBarrier
from lens_steer.barriers.polynomial import PolynomialBarrier as PolynomialBarrier
from lens_steer.barriers.sketch import CountSketch as CountSketch
from lens_steer.barriers.sketched import SketchBarrier as SketchBarrier

_check_room(globals())
