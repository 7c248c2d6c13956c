"""The cells of a run as arrays, and the tables that are made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analyses.variance.components import (
    TIMES,
    Cells,
    changed_alone,
    components,
    leaving_out,
)
from analyses.variance.design import FACTORS

# What is measured, the column of a journal's rows, and its unit: nats per token, and points.
MEASURES = {"preference": ("gain", 1.0), "texts": ("shown", 100.0)}
WITHIN, ALL = "within a behaviour", "over behaviours"
WHERE = ("read", "layer", TIMES.join(("read", "layer")))
DERIVED = ("where (read, layer, both)", "method and all that goes with it", "where less method")


@dataclass(frozen=True, eq=False)
class Grid:
    """A balanced design: a number in every cell.

    Attributes:
        y: An axis for each factor of `FACTORS`.
        levels: Of each factor, in order.
    """

    y: Cells
    levels: Mapping[str, Sequence[Any]]

    @property
    def varied(self) -> list[str]:
        """The factors within a behaviour that have several levels."""
        return [name for name in FACTORS[1:] if len(self.levels[name]) > 1]

    def within(self, y: Cells) -> Cells:
        """The cells of some behaviours, axes of one level left out."""
        kept = [i for i, name in enumerate(FACTORS) if i == 0 or name in self.varied]
        return y.reshape([y.shape[i] for i in kept])


def grid(rows: Sequence[Mapping[str, Any]], measure: str) -> Grid | None:
    """The mean of what was measured in every cell; NaN in those that have no number.

    None if nothing was measured in any cell. Of texts there are only the fits and layers in which
    some were written.
    """
    column, unit = MEASURES[measure]
    cells = [row for row in rows if "method" in row]
    have = [row for row in cells if column in row]
    if not have:
        return None
    if measure == "texts":
        written = {name: {row[name] for row in have} for name in ("fit", "layer")}
        cells = [row for row in cells if all(row[name] in written[name] for name in written)]
    levels = {name: list(dict.fromkeys(row[name] for row in cells)) for name in FACTORS}
    y = np.full([len(levels[name]) for name in FACTORS], np.nan)
    for row in have:
        place = tuple(levels[name].index(row[name]) for name in FACTORS)
        y[place] = unit * float(np.mean(row[column]))
    return Grid(y, levels)


def balanced(found: Grid) -> tuple[Grid, list[dict[str, Any]]]:
    """Leave levels out until every cell has a number: the level that lacks the largest share first.

    Returns:
        The design that is left, and a row for each level that is not, with the share of its cells
        that had no number.

    Raises:
        ValueError: If no cell is left.
    """
    y, levels = found.y, {name: list(each) for name, each in found.levels.items()}
    left_out: list[dict[str, Any]] = []
    while np.isnan(y).any():
        lacking = [
            (float(np.isnan(np.take(y, i, axis)).mean()), axis, i)
            for axis in range(y.ndim)
            for i in range(y.shape[axis])
        ]
        share, axis, i = max(lacking, key=lambda each: each[0])
        level = levels[FACTORS[axis]].pop(i)
        left_out.append({"factor": FACTORS[axis], "level": level, "lacking": share})
        y = np.delete(y, i, axis)
    if not y.size:
        raise ValueError("no cell is left: expected methods that can be made and calibrated")
    return Grid(y, levels), left_out


def shares_table(found: Grid) -> Any:
    """Components of variance and their shares, within a behaviour and over behaviours.

    Within: components of each behaviour by itself, means over behaviours. Over: those of the whole
    design. `component` is in squared units of the measure; shares are of the sum of all components;
    `_low` and `_high` are 95 % intervals over behaviours (see `leaving_out`).
    """
    parts = [_shares(found, WITHIN)]
    if len(found.y) > 1:
        parts.append(_shares(found, ALL))
    return pd.concat(parts, ignore_index=True)


def _shares(found: Grid, version: str) -> Any:
    names = found.varied if version == WITHIN else ["behaviour", *found.varied]

    def each(y: Cells) -> dict[str, float]:
        y = found.within(y)
        if version == ALL:
            return components(y, names)
        parts = [components(of_behaviour, names) for of_behaviour in y]
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    sources = [*each(found.y)]
    derived = [*DERIVED] if {"method", *WHERE} <= set(sources) else []

    def numbers(y: Cells) -> np.ndarray:
        variances = each(y)
        total = sum(variances.values())
        total = total if total > 0 else np.nan  # there is nothing to share
        share = {name: value / total for name, value in variances.items()}
        if derived:
            where = sum(share[name] for name in WHERE)
            method = sum(value for name, value in share.items() if "method" in name.split(TIMES))
            share |= dict(zip(derived, (where, method, where - share["method"]), strict=True))
        return np.array([*variances.values(), *share.values()])

    value, low, high = leaving_out(numbers, found.y)
    n = len(sources)
    table: Any = pd.DataFrame({"version": version, "source": [*sources, *derived]})
    table["component"] = [*value[:n], *[np.nan] * len(derived)]
    return table.assign(
        total=float(value[:n].sum()), share=value[n:], share_low=low[n:], share_high=high[n:]
    )


def changed_table(found: Grid) -> Any:
    """What changing one factor alone changes: the mean absolute difference, in the measure's unit.

    Of two fits, read positions, layers or methods of one behaviour, mean over behaviours; of two
    behaviours, all else being equal.
    """

    def numbers(y: Cells) -> np.ndarray:
        y = found.within(y)
        parts = [changed_alone(each, found.varied) for each in y]
        within = [float(np.mean([part[name] for part in parts])) for name in found.varied]
        if len(y) > 1:
            return np.array([changed_alone(y, ["behaviour", *found.varied])["behaviour"], *within])
        return np.array([np.nan, *within])

    value, low, high = leaving_out(numbers, found.y)
    return pd.DataFrame(
        {
            "factor": ["behaviour", *found.varied],
            "levels": [len(found.levels[name]) for name in ("behaviour", *found.varied)],
            "difference": value,
            "difference_low": low,
            "difference_high": high,
        }
    )


def levels_table(found: Grid) -> Any:
    """The mean of every level, all else averaged, with its 95 % interval over behaviours."""
    rows = []
    for axis, name in enumerate(FACTORS):
        for i, level in enumerate(found.levels[name]):
            row = {"factor": name, "level": level}
            if name == "behaviour":
                rows.append(row | {"mean": float(found.y[i].mean())})
                continue
            each = np.take(found.y, i, axis).reshape(len(found.y), -1)
            value, low, high = leaving_out(lambda y: np.array(y.mean()), each)
            rows.append(row | {"mean": float(value), "mean_low": low, "mean_high": high})
    return pd.DataFrame(rows)


def cells_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Every cell with its strength, its means, or why it has none."""
    means = {column: unit for column, unit in MEASURES.values()}
    table = [
        {
            name: means[name] * float(np.mean(value)) if name in means else value
            for name, value in row.items()
        }
        for row in rows
        if "method" in row
    ]
    columns = [*FACTORS, "strength", *means, "failure"]
    return pd.DataFrame(table).reindex(columns=columns)


def main_sources(table: Any) -> list[str]:
    """The sources of a table of shares: factors, then two of them, then the rest."""
    return [name for name in dict.fromkeys(table["source"]) if name not in DERIVED]
