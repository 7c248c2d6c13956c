"""Figures that several studies draw: rows of dots with 95 % intervals, and lines with bands."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lens_steer.figures import canvas

MARKERS = "osv^D<>pPX*h"
DOTTED: dict[str, Any] = {"color": "k", "lw": 0.8, "ls": ":"}  # of a line to compare with


@dataclass(frozen=True, eq=False)
class Series:
    """Dots of one colour.

    Attributes:
        label: In the legend.
        table: A row for each row of the plot, in that order.
        column: Of the means; the interval is in the columns `column`_low and `column`_high.
        scale: By which values are multiplied: 100 for percent.
        marker: Of the dots.
    """

    label: str
    table: Any
    column: str
    scale: float | int = 100
    marker: str = "o"

    def values(self) -> tuple[Any, Any]:
        """Means, and how far their intervals reach down and up; 0 where there is no interval."""
        mean, low, high = (
            self.scale * self.table[f"{self.column}{end}"].to_numpy(float)
            for end in ("", "_low", "_high")
        )
        return mean, np.nan_to_num(np.maximum([mean - low, high - mean], 0))


def series_by(
    table: Any,
    by: str,
    column: str,
    rows: Sequence[Any],
    *,
    key: str | list[str] = "method",
    scale: float | int = 100,
    markers: str = "o",
) -> list[Series]:
    """One series for each value of a column, in the order of the table.

    Args:
        table: With the columns `by`, `key` and `column`.
        by: The column that tells the series apart.
        column: Of the means.
        rows: The rows of the plot; those without a value stay empty.
        key: The column, or columns, that names the rows.
        scale: By which values are multiplied.
        markers: One after the other.
    """
    names = list(dict.fromkeys(table[by]))
    return [
        Series(
            short(name),
            table[table[by] == name].set_index(key).reindex(rows),
            column,
            scale,
            markers[i % len(markers)],
        )
        for i, name in enumerate(names)
    ]


@contextmanager
def dot_plot(
    panels: Mapping[str, Sequence[Series]],
    rows: Sequence[str],
    *,
    width: float,
    height: float,
    titled: bool = False,
) -> Iterator[tuple[Figure, Any]]:
    """Panels side by side with one list of rows, a dot with its interval for each series.

    Args:
        panels: Series by the label of the panel.
        rows: Labels of the rows, from the top.
        width: Inches.
        height: Inches.
        titled: Labels are titles of panels, such as sets of pairs, not labels of their x axes.
    """
    size: dict[str, Any] = {"width": width, "height": height, "squeeze": False}
    with canvas(1, len(panels), sharey=True, **size) as (figure, grid):
        for axes, (label, series) in zip(grid[0], panels.items(), strict=True):
            gap = min(0.22, 0.66 / max(1, len(series)))
            for i, dots in enumerate(series):
                x, bars = dots.values()
                y = np.arange(len(rows)) + gap * (i - (len(series) - 1) / 2)
                style: dict[str, Any] = {"ms": 3, "lw": 0.8, "color": f"C{i % 10}"}
                axes.errorbar(x, y, xerr=bars, fmt=dots.marker, label=dots.label, **style)
            axes.set(**({"title": short(label)} if titled else {"xlabel": label}))
        grid[0, 0].set_yticks(range(len(rows)), rows)
        grid[0, 0].invert_yaxis()
        yield figure, grid[0]


def matched_figure(
    table: Any, order: Sequence[str], scores: Mapping[str, tuple[str, float | int]]
) -> Figure:
    """Methods chosen on dev at one cost, on test: a panel for each score, a colour per behaviour.

    Args:
        table: With the columns `method`, `behaviour_name` and those of the scores.
        order: The methods from the top; those that the table lacks are left out.
        scores: The label and the scale of each column; a dotted line marks the cost on dev in `kl`.
    """
    methods = [name for name in order if name in set(table["method"])]
    panels = {
        label: series_by(table, "behaviour_name", score, methods, scale=scale)
        for score, (label, scale) in scores.items()
    }
    with dot_plot(panels, methods, width=10.5, height=4.4) as (figure, axes):
        axes[list(scores).index("kl")].axvline(0.1, **DOTTED)
        title = "chosen on dev at 0.1 nats per token, measured on test; 95 % intervals"
        legend(figure, axes[0], title, 6)
    return figure


def band(axes: Any, x: Any, series: Series, color: str, line: str = "o-") -> None:
    """A line through the means with the band of their intervals."""
    scaled = (series.scale * series.table[f"{series.column}{end}"] for end in ("", "_low", "_high"))
    mean, low, high = (each.to_numpy(float) for each in scaled)
    at = np.asarray(x, dtype=float)
    axes.plot(at, mean, line, ms=3, color=color, label=series.label)
    axes.fill_between(at, low, high, color=color, alpha=0.13, lw=0)


def legend(
    figure: Figure, axes: Any, title: str, columns: int = 4, *, where: str = "lower"
) -> None:
    """One legend for all panels, outside of them."""
    place: Any = f"outside {where} center"
    figure.legend(*axes.get_legend_handles_labels(), loc=place, ncols=columns, title=title)


def short(name: str) -> str:
    """The name of a set of pairs without its family, or the end of a long path."""
    return (name.partition(":")[2] or name).rstrip("/")[-18:]
