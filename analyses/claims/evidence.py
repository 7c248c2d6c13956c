"""What tables of results say of a claim, by rules that are the same for every claim."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lens_steer.intervals import Interval, interval, ratio_interval

OBSERVED, NOT_OBSERVED, UNTESTED = "observed here", "not observed here", "cannot be tested here"
NOT_RUN = "not run yet"
FEWEST = 4  # behaviours to conclude from


@dataclass(frozen=True)
class Evidence:
    """One claim's measurement.

    Attributes:
        measured: With intervals, as text.
        models: On how many.
        verdict: One of the four words above.
    """

    measured: str
    models: int
    verdict: str


@dataclass(frozen=True)
class Results:
    """Tables that analyses wrote.

    Attributes:
        folder: Of `analyses/results`.
    """

    folder: Path

    def table(self, name: str) -> Any:
        """One of them, by its path without the ending.

        Raises:
            FileNotFoundError: If it was not made yet.
        """
        return pd.read_csv(self.folder / f"{name}.csv")


Rule = Callable[[Results], Evidence]


def above(found: Interval) -> str:
    """The verdict on a quantity that the claim puts above 0."""
    return OBSERVED if found.low > 0 else NOT_OBSERVED


def shown(found: Interval, unit: str, scale: float | int = 1.0, digits: int = 0) -> str:
    """A mean and its interval."""
    mean, low, high = (f"{scale * x:+.{digits}f}" for x in (found.mean, found.low, found.high))
    return f"{mean} {unit} [{low}, {high}]"


def over_behaviours(values: Iterable[float]) -> Interval:
    """The mean over behaviours, which are what is drawn again."""
    return interval(torch.tensor(list(values), dtype=torch.float64), seed=0)


def over_models(values: Any) -> Interval:
    """The mean of a table of models by behaviours: either, where there are several, drawn again."""
    cells = values.to_numpy(float)
    return ratio_interval(cells, np.ones_like(cells), seed=0)


def ahead(  # noqa: PLR0913 - which table, and how it names things
    name: str,
    method: str,
    others: Sequence[str],
    *,
    column: str = "method",
    by: str = "behaviour_set",
    share: str = "behaviour",
    only: str = "",
) -> Rule:
    """A method's share less that of others, behaviour by behaviour, at the cost they share.

    The claim is taken as observed if its interval over behaviours, and over models where the table
    has several, is above 0 for each of the others; of fewer than four behaviours nothing is
    concluded yet.

    Args:
        name: Of the table; its column `model` says which model a row is of.
        column: Where methods are named.
        by: Where behaviours are named.
        share: Where the shares are.
        only: A condition on rows, as `DataFrame.query` takes it.
    """

    def rule(results: Results) -> Evidence:
        table = results.table(name)
        table = table.query(only) if only else table
        own, *those = _side_by_side(table, [method, *others], column, by, share)
        models, behaviours = own.shape
        gains = {o: over_models(own - other) for o, other in zip(others, those, strict=True)}
        if behaviours < FEWEST:
            means = [f"less {o}: {100 * gain.mean:+.0f} points" for o, gain in gains.items()]
            text = f"so far {'; '.join(means)} on {behaviours} behaviours"
            return Evidence(text, models, NOT_RUN)
        parts = [f"less {o}: {shown(gain, 'points', 100)}" for o, gain in gains.items()]
        held = all(gain.low > 0 for gain in gains.values())
        text = f"{'; '.join(parts)}, over {behaviours} behaviours"
        return Evidence(text, models, OBSERVED if held else NOT_OBSERVED)

    return rule


def _side_by_side(
    table: Any, methods: Sequence[str], column: str, by: str, share: str
) -> list[Any]:
    """Of each method by model and behaviour: behaviours that all models and methods have."""
    table = table if "model" in table else table.assign(model="one")
    models = list(dict.fromkeys(table["model"]))
    wide = [
        table[table[column] == method]
        .pivot_table(index="model", columns=by, values=share)
        .reindex(models)
        for method in methods
    ]
    kept = [name for name in wide[0] if all(name in each.dropna(axis=1) for each in wide)]
    return [each[kept] for each in wide]


def in_most(name: str, column: str, what: str, cells: str, only: str = "") -> Rule:
    """How many cells of a table have an interval on the claimed side of 0; more than half must.

    Args:
        name: Of the table.
        column: Of the means; the interval lies in `*_low` and `*_high`.
        what: The quantity, in words.
        cells: What a row is, in words.
        only: A condition on rows, as `DataFrame.query` takes it.
    """

    def rule(results: Results) -> Evidence:
        table = results.table(name)
        table = table.query(only) if only else table
        table = table.dropna(subset=[f"{column}_low"])
        for_it = int((table[f"{column}_low"] > 0).sum())
        against = int((table[f"{column}_high"] < 0).sum())
        text = f"{what}: interval above 0 in {for_it} of {len(table)} {cells}, below 0 in {against}"
        return Evidence(text, 1, OBSERVED if for_it > len(table) / 2 else NOT_OBSERVED)

    return rule


def untested(why: str) -> Rule:
    """Out of reach of a small model over a small language."""

    def rule(results: Results) -> Evidence:
        del results
        return Evidence(why, 0, UNTESTED)

    return rule
