"""Will steering work, where, with which method and how hard: answers before a text is steered.

`forecast` differentiates methods at strength 0, through their real hooks (`derivatives`): what they
do to the margin of each pair (`pair_margins`), and what they cost along unsteered texts. That gives
the gain at every cost, to first order, as a `Forecast` (`report`). `recommend` forecasts settings
of method families (`recommending`), tries the best few, and takes one as a `Recommendation`, or
says why nothing will do.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.forecasting.forecasting import forecast as forecast
from lens_steer.forecasting.pair_margins import margins as margins
from lens_steer.forecasting.recommendation import NotSteerable as NotSteerable
from lens_steer.forecasting.recommendation import Recommendation as Recommendation
from lens_steer.forecasting.recommending import recommend as recommend
from lens_steer.forecasting.report import Forecast as Forecast

_check_room(globals())
