"""Are features led to their set-points, and what can be promised?

`record(model, method, texts, features, setpoints, seed=0)` follows any method: a `TrackingReport`.
`LoopReport.of([Loop.open(jac), Loop.of(law, jac)])` says whether the loops in use contract,
`FeatureBound.fit(...)` bounds feature errors on new texts with a stated probability, and
`position_gap(model, method, texts, features, seed=0)` measures what last-token Jacobians leave out
where every position is steered.
"""

from lens_steer.tracking._bound import Band as Band
from lens_steer.tracking._bound import FeatureBound as FeatureBound
from lens_steer.tracking._conformal import Envelope as Envelope
from lens_steer.tracking._conformal import conformal_quantile as conformal_quantile
from lens_steer.tracking._coverage import BoundCheck as BoundCheck
from lens_steer.tracking._figures import compare_figure as compare_figure
from lens_steer.tracking._gap import PositionGap as PositionGap
from lens_steer.tracking._gap import position_gap as position_gap
from lens_steer.tracking._loops import Loop as Loop
from lens_steer.tracking._loops import LoopReport as LoopReport
from lens_steer.tracking._loops import contraction as contraction
from lens_steer.tracking._loops import transition_norms as transition_norms
from lens_steer.tracking._record import record as record
from lens_steer.tracking._report import TrackingReport as TrackingReport
from lens_steer.tracking._trajectories import Trajectories as Trajectories
