"""Whether features are led to their set-points, and what can be promised about it.

A **feature** is v_k . z_k, the residual stream behind each block along the direction in which two
classes of texts differ (`FeatureDirections`). A regulator leads it to a **set-point** beta_k, the
value it should have at that layer. A **bound** says how far from its set-point it will be, for new
texts and with a stated probability.

`record(model, method, texts, features, setpoints, seed=0)` follows features under any method: a
`TrackingReport`. `LoopReport.of([LinearLoop.open(jac), LinearLoop.of(law, jac)])` says whether the
loops in use contract. `FeatureBound.fit(...)` bounds feature errors on `Trajectories` of new texts,
and its `check` says how often the bounds hold. `position_gap(model, method, texts, features,
seed=0)` measures what last-token Jacobians leave out where every position is steered.

`texts` says what is followed and `runs` runs it with and without steering; `report`, `gap` and
`trajectories` read these runs, `drawing` draws them; `loops` has the linear loops, `conformal` the
calibrated envelopes, `bounds` puts both together.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.tracking.bound_check import BoundCheck as BoundCheck
from lens_steer.tracking.bounds import FeatureBound as FeatureBound
from lens_steer.tracking.bounds import PredictionBand as PredictionBand
from lens_steer.tracking.conformal import Envelope as Envelope
from lens_steer.tracking.conformal import conformal_quantile as conformal_quantile
from lens_steer.tracking.drawing import compare_figure as compare_figure
from lens_steer.tracking.gap import PositionGap as PositionGap
from lens_steer.tracking.loops import LinearLoop as LinearLoop
from lens_steer.tracking.loops import LoopReport as LoopReport
from lens_steer.tracking.loops import transition_norms as transition_norms
from lens_steer.tracking.report import TrackingReport as TrackingReport
from lens_steer.tracking.trajectories import Trajectories as Trajectories

record = TrackingReport.fit
position_gap = PositionGap.fit

_check_room(globals())
