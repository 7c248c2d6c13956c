"""Are features led to their set-points, and what can be promised?

`record(model, method, texts, features, setpoints, seed=0)` follows any method: a `TrackingReport`.
`LoopReport.of([Loop.open(jac), Loop.of(law, jac)])` says whether the loops in use contract,
`FeatureBound.fit(...)` bounds feature errors on new texts with a stated probability, and
`position_gap(model, method, texts, features, seed=0)` measures what last-token Jacobians leave out
where every position is steered.
"""

from lens_steer.tracking.bound import FeatureBound as FeatureBound
from lens_steer.tracking.bound import PredictionBand as PredictionBand
from lens_steer.tracking.conformal import Envelope as Envelope
from lens_steer.tracking.conformal import conformal_quantile as conformal_quantile
from lens_steer.tracking.coverage import BoundCheck as BoundCheck
from lens_steer.tracking.drawing import compare_figure as compare_figure
from lens_steer.tracking.gap import PositionGap as PositionGap
from lens_steer.tracking.gap import position_gap as position_gap
from lens_steer.tracking.loops import LinearLoop as LinearLoop
from lens_steer.tracking.loops import LoopReport as LoopReport
from lens_steer.tracking.loops import contraction as contraction
from lens_steer.tracking.loops import transition_norms as transition_norms
from lens_steer.tracking.recording import record as record
from lens_steer.tracking.report import TrackingReport as TrackingReport
from lens_steer.tracking.trajectories import Trajectories as Trajectories
