"""Intervals of what may be infinite: a dose that is not reached, a floor that does not exist."""

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from lens_steer.benchmark.statistics import Statistic, statistic_interval
from lens_steer.intervals import Interval

Array = np.ndarray

# Beyond any finite value, and what stands for infinity while sorting: not so large that `levels`
# takes what varies for rounding.
_FAR, _BEYOND = 1e6, 1e7


def unbounded_interval(statistic: Statistic, sums: Sequence[Array], *, seed: int) -> Interval:
    """As `statistic_interval`; resamples in which the statistic is infinite count as largest.

    An end that falls on them is infinite. No ends if the statistic itself is not finite.
    """

    def bounded(*totals: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(statistic(*totals))
        return np.where(np.isposinf(found), _BEYOND, found)

    found = statistic_interval(bounded, sums, seed=seed)
    low, high = (inf if end > _FAR else end for end in (found.low, found.high))
    if isfinite(found.mean) and found.mean < _FAR:
        return Interval(found.mean, low, high)
    mean = inf if found.mean > _FAR else found.mean
    return Interval(mean, float("nan"), float("nan"))
