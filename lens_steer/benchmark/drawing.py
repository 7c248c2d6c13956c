"""How figures of comparisons look: one colour and mark per method, error bars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.config import REFERENCES
from lens_steer.benchmark.method_names import references_first
from lens_steer.benchmark.result import Comparison
from lens_steer.intervals import Interval

Array = np.ndarray

_MUTED: dict[str, str] = dict(
    zip(REFERENCES, ("black", "0.6", "#8fa8b8", "#a08060", "#8a7a9a", "#7f9f7f"), strict=True)
)
_MARKED: dict[str, str] = dict(zip(REFERENCES, ("o", "x", "+", "s", "D", "^"), strict=True))
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9")  # C7 is grey
_LINES = ("-", "--", ":")
_UNNUMBERED = 8  # methods, the references among them
_LINE_APART = 0.052  # of a panel's height: numbers one above the other
_MARKS = ("o", "v", "P", "X", "<", ">", "p", "*")  # one less than colours: no pair comes twice


def colours(methods: Sequence[str]) -> dict[str, str]:
    """One colour per method, in the order given: references in muted ones.

    Give every figure of a comparison the same list, all its methods, and they agree.
    """
    return _assigned(methods, _MUTED, _COLOURS)


def marks(methods: Sequence[str]) -> dict[str, str]:
    """One mark per method, as `colours`."""
    return _assigned(methods, _MARKED, _MARKS)


def _assigned(methods: Sequence[str], fixed: dict[str, str], free: Sequence[str]) -> dict[str, str]:
    others = [name for name in dict.fromkeys(methods) if name not in fixed]
    assigned = fixed | {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: assigned[name] for name in methods}


def lines(methods: Sequence[str]) -> dict[str, str]:
    """One style of line per method: another one where a colour comes again."""
    others = [name for name in dict.fromkeys(methods) if name not in _MUTED]
    styles = {name: _LINES[i // len(_COLOURS) % len(_LINES)] for i, name in enumerate(others)}
    return dict.fromkeys(methods, "-") | styles


def numbers(methods: Sequence[str]) -> dict[str, str]:
    """What is written at the curve of each method and before its name; of a few methods nothing.

    More curves cannot be told apart by colour and mark alone.
    """
    steered = [name for name in dict.fromkeys(methods) if name != "unsteered"]
    many = len(steered) > _UNNUMBERED
    return dict.fromkeys(methods, "") | {n: f"{i} " for i, n in enumerate(steered, 1) if many}


def number_ends(axes: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write numbers right of a panel, one above the other, each joined to the end of its curve.

    Args:
        axes: With its scales and limits set.
        ends: Of each curve: x and y in the panel's values, what to write, and the colour.
    """
    to_axes = axes.transScale + axes.transLimits
    places = np.array([to_axes.transform((x, y)) for x, y, _, _ in ends]).reshape(-1, 2).clip(0, 1)
    order = np.argsort(places[:, 1], kind="stable")
    heights = _apart(places[order, 1], min(_LINE_APART, 1 / max(1, len(ends) - 1)))
    style: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for i, height in zip(order.tolist(), heights.tolist(), strict=True):
        (x, y), (_, _, text, colour) = places[i], ends[i]
        axes.plot([x, 1.0, 1.02], [y, height, height], "-", color=colour, lw=0.4, **style)
        axes.text(1.03, height, text.strip(), color=colour, fontsize=6.5, va="center", **style)


def _apart(rising: Float[Array, " label"], gap: float) -> Float[Array, " label"]:
    """Heights from 0 to 1 moved so little that they are at least `gap` apart."""
    moved = rising.copy()
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    limit = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - gap
    return moved


def all_methods(comparison: Comparison) -> tuple[str, ...]:
    """The names of all methods of all behaviours, references first."""
    return references_first(trial.method for trial in comparison.trials)


def check_behaviour(comparison: Comparison, behaviour: str) -> None:
    """Raise unless a behaviour was measured.

    Raises:
        ValueError: If it was not.
    """
    if behaviour not in comparison.behaviours:
        raise ValueError(
            f"no trials of behaviour {behaviour!r}: there are {list(comparison.behaviours)}"
        )


def means(intervals: Sequence[Interval]) -> Float[Array, " point"]:
    """The mean of each interval."""
    return np.array([x.mean for x in intervals], dtype=float)


def errors(intervals: Sequence[Interval]) -> Float[Array, "end point"]:
    """Lengths of error bars, down and up; NaN where an end is not a number."""
    ends = np.array([[x.mean - x.low, x.high - x.mean] for x in intervals], dtype=float)
    ends = ends.reshape(-1, 2)
    return np.where(np.isfinite(ends), np.maximum(ends, 0.0), np.nan).T
