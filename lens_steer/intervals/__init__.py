"""Means with intervals over prompts, fits and seeds, and lines that show them."""

from lens_steer.intervals._drawing import band as band
from lens_steer.intervals._known import NONE as NONE
from lens_steer.intervals._known import over_texts as over_texts
from lens_steer.intervals._resampling import Interval as Interval
from lens_steer.intervals._resampling import Resampling as Resampling
from lens_steer.intervals._resampling import by_group as by_group
from lens_steer.intervals._resampling import interval as interval
from lens_steer.intervals._resampling import of_share as of_share
from lens_steer.intervals._resampling import ratio_interval as ratio_interval
