"""The figure of a calibration: a curve, its target and where it crosses it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FAR = 3.0  # times the last crossing: a curve that goes on farther squeezes it into a corner


def draw_crossings(report: Any, name: str) -> "Figure":
    """The curve around its crossings, and the whole curve if that goes on far behind them.

    Args:
        report: A `CalibrationReport`.
        name: Of the quantity, for the axis.
    """
    last = max(map(abs, (*report.crossings, report.strength)))
    far = max(map(abs, report.strengths)) > _FAR * last > 0
    size = {"width": 8.0 if far else 5.0, "height": 3.7, "squeeze": False}
    with canvas(1, 2 if far else 1, **size) as (figure, [panels]):
        for axes in panels:
            _draw(axes, report)
        if far:
            _zoom(panels[0], report, 2 * last)
            panels[0].set_title("around the crossings")
            panels[1].set_title("the whole curve")
        panels[0].set(ylabel=name)
        handles, labels = panels[0].get_legend_handles_labels()
        title = f"{report.shape}; crossings: vertical lines"
        figure.legend(handles, labels, loc="outside lower center", ncols=2, title=title)
    return figure


def _draw(axes: Any, report: Any) -> None:
    axes.plot(report.strengths, report.values, "o-", color="C0")
    axes.axhline(report.target, color="k", ls=":", lw=0.8, label=f"target {report.target:g}")
    for crossing in report.crossings:
        axes.axvline(crossing, color="C7", lw=0.8)
    taken = f"taken: {report.realised:.3g} at strength {report.strength:.3g}"
    axes.plot(report.strength, report.realised, "s", color="C3", label=taken)
    axes.set(xlabel="strength")


def _zoom(axes: Any, report: Any, most: float) -> None:
    """Show strengths up to `most` on the sides that were tried, and the values near the target."""
    left = -most if min(report.strengths) < 0 else -0.05 * most
    right = most if max(report.strengths) > 0 else 0.05 * most
    curve = zip(report.strengths, report.values, strict=True)
    seen = [y for x, y in curve if left <= x <= right and np.isfinite(y)]
    low, high = min(*seen, report.target), max(*seen, 2 * report.target)
    room = 0.05 * (high - low)
    axes.set(xlim=(left, right), ylim=(low - room, high + room))
