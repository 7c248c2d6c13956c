"""Means with 95 % bootstrap intervals, in which prompts, fits and seeds are drawn again as wholes.

The bootstrap draws the units of every way of clustering independently (the pigeonhole bootstrap,
Owen 2007). With few units percentile intervals are too narrow, and with crossed ways of clustering
the noise is counted twice: percentiles are therefore taken at levels that correct both (Hesterberg
2015, "expanded percentiles"; the variance by inclusion and exclusion of Cameron, Gelbach and Miller
2011). `means` makes the intervals, `resampling` draws and finds the levels, `drawing` draws bands.
"""

from lens_steer.intervals.drawing import plot_band as plot_band
from lens_steer.intervals.means import NAN_INTERVAL as NAN_INTERVAL
from lens_steer.intervals.means import Interval as Interval
from lens_steer.intervals.means import Intervals as Intervals
from lens_steer.intervals.means import group_sums as group_sums
from lens_steer.intervals.means import interval as interval
from lens_steer.intervals.means import interval_of_each as interval_of_each
from lens_steer.intervals.means import nanmean_interval as nanmean_interval
from lens_steer.intervals.means import proportion_interval as proportion_interval
from lens_steer.intervals.means import ratio_interval as ratio_interval
from lens_steer.intervals.resampling import Resampling as Resampling
