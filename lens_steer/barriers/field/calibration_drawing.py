"""The panels of calibration figures: reliability, and the two moments of a log-ratio."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOMENTS = ("mean of e^h,\nundesired rows", "mean of e^-h,\ndesired rows")


@contextmanager
def calibration_panels(
    title: str, divergence: Interval
) -> Iterator[tuple["Figure", tuple[Any, Any]]]:
    """A figure with an axes for reliability and one for moments, labelled at the end of the block.

    Args:
        title: What the rows are.
        divergence: Of the barrier as fitted, nats; it is written above the moments.
    """
    from lens_steer.figures import canvas

    with canvas(1, 2, width=8.4, height=4.0) as (figure, (left, right)):
        yield figure, (left, right)
        _label_reliability(left)
        _label_moments(right)
        right.set_title(f"divergence as fitted: {divergence} nats")
        for axes in (left, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
        figure.suptitle(title, fontsize=9)


def draw_reliability(axes: Any, bins: "pd.DataFrame", colour: str, label: str) -> None:
    """The share desired against the mean probability of each bin, with intervals."""
    table: Any = bins
    low, high = table["desired"] - table["desired_low"], table["desired_high"] - table["desired"]
    how = {"fmt": "o-", "color": colour, "ms": 3, "lw": 1, "capsize": 2, "label": label}
    axes.errorbar(table["probability"], table["desired"], yerr=[low, high], **how)


def _label_reliability(axes: Any) -> None:
    """The diagonal of perfect calibration, and the names of the axes."""
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axes.set(xlabel="sigmoid(h + log prior odds): means of bins of equally many rows")
    axes.set(ylabel="share desired (95 % intervals)", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))


def draw_moments(
    axes: Any, moments: tuple[Interval, Interval], slope: Interval, colour: str, name: str
) -> None:
    """Two means with intervals, beside those that are drawn, and the slope in the legend."""
    shift = 0.24 * len(axes.get_legend_handles_labels()[1]) - 0.12
    for place, moment in enumerate(moments):
        ends = [[moment.mean - moment.low], [moment.high - moment.mean]]
        axes.errorbar([place + shift], [moment.mean], yerr=ends, fmt="o", color=colour, capsize=2)
    text = str(slope) if isfinite(slope.mean) else "infinite: a threshold separates them"
    axes.plot([], [], "o", color=colour, label=f"{name}: calibration slope {text}")


def _label_moments(axes: Any) -> None:
    """The line at 1, the names of the axes, and a logarithmic scale."""
    axes.set_xticks([0, 1], _MOMENTS)
    axes.axhline(1.0, color="0.6", lw=0.8)
    axes.set(ylabel="1 if h is the log-ratio\n(95 % intervals)")
    _decades(axes)


def _decades(axes: Any) -> None:
    """A logarithmic axis around 1 that holds at least a decade, with few enough labels."""
    axes.set(yscale="log", xlim=(-0.5, 1.5))
    low, high = axes.get_ylim()
    low, high = min(low, 0.3), max(high, 3.0)
    most = int(np.ceil(np.log10(high / low) / 6))
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    ticks = [
        step * 10.0**power
        for power in range(first, last + 1)
        for step in ((1, 3) if most == 1 else (1,))
        if power % most == 0
    ]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(ylim=(low, high))
