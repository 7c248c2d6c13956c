"""Are features led to their set-points, and what can be promised?

`record(model, method, texts, features, setpoints, seed=0)` follows any method: a `TrackingReport`.
"""

from lens_steer.tracking._figures import compare_figure as compare_figure
from lens_steer.tracking._passages import Passage as Passage
from lens_steer.tracking._report import TrackingReport as TrackingReport
from lens_steer.tracking._report import record as record
from lens_steer.tracking._trajectories import Trajectories as Trajectories
