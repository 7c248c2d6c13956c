"""Drawing means with their intervals on axes of matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lens_steer.intervals.means import Interval


def plot_band(
    axes: Any, x: Sequence[float | int], intervals: Sequence[Interval], colour: str, label: str
) -> None:
    """Draw a line through means on matplotlib axes, with their 95 % intervals as a band.

    Args:
        axes: The axes to draw on.
        x: Where each interval is, from left to right.
        intervals: One for each place.
        colour: Of the line and, paler, of the band.
        label: Of the line, for a legend.
    """
    low, mean, high = (
        np.array([getattr(interval, end) for interval in intervals])
        for end in ("low", "mean", "high")
    )
    axes.plot(x, mean, "o-", color=colour, label=label, lw=1.2, ms=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
