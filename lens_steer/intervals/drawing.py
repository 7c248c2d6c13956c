"""Lines with their intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lens_steer.intervals.resampling import Interval


def band(
    axes: Any, x: Sequence[float | int], found: Sequence[Interval], colour: str, label: str
) -> None:
    """A line through means, its 95 % intervals as a band."""
    low, mean, high = (
        np.array([getattr(each, end) for each in found]) for end in ("low", "mean", "high")
    )
    axes.plot(x, mean, "o-", color=colour, label=label, lw=1.2, ms=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
