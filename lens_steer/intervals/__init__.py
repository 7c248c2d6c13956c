"""Means with intervals over prompts, fits and seeds, and lines that show them."""

from lens_steer.intervals.drawing import band as band
from lens_steer.intervals.known import NONE as NONE
from lens_steer.intervals.known import over_texts as over_texts
from lens_steer.intervals.resampling import Interval as Interval
from lens_steer.intervals.resampling import Resampling as Resampling
from lens_steer.intervals.resampling import by_group as by_group
from lens_steer.intervals.resampling import interval as interval
from lens_steer.intervals.resampling import of_share as of_share
from lens_steer.intervals.resampling import ratio_interval as ratio_interval
