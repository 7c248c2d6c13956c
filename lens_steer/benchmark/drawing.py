"""How figures of comparisons look: one colour and mark per method, error bars, the legend."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.config import REFERENCES
from lens_steer.benchmark.method_names import references_first
from lens_steer.benchmark.result import Comparison
from lens_steer.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray

_MUTED: dict[str, str] = dict(
    zip(REFERENCES, ("black", "0.6", "#8fa8b8", "#a08060", "#8a7a9a", "#7f9f7f"), strict=True)
)
_MARKED: dict[str, str] = dict(zip(REFERENCES, ("o", "x", "+", "s", "D", "^"), strict=True))
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9")  # C7 is grey
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


def legend_below(figure: "Figure", axes: Any, title: str, *, columns: int = 2) -> None:
    """Put the legend under the figure, long names on several lines, nothing twice."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    width = int(13 * figure.get_figwidth() / columns) - 6  # in letters
    names = ["\n".join(fill(line, width) for line in name.split("\n")) for name in handles]
    figure.legend(
        list(handles.values()),
        names,
        title=title,
        loc="outside lower center",
        ncols=min(columns, len(names)),
    )
