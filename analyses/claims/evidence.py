"""What tables of results say of a claim: the verdicts, and the rules that most claims share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lens_steer.intervals import Interval, interval, ratio_interval

OBSERVED, UNDECIDED, EQUIVALENT = "observed", "undecided", "equivalent"
NOT_OBSERVED, OTHER_WAY = "not observed", "not observed: the other way round"
UNTESTED, NOT_RUN = "cannot be tested here", "not run yet"
# From the claim away. What was not run stands second: it spoils only what was observed elsewhere.
VERDICTS = (OBSERVED, NOT_RUN, UNTESTED, UNDECIDED, EQUIVALENT, NOT_OBSERVED, OTHER_WAY)
FEWEST = 4  # behaviours that a conclusion needs


@dataclass(frozen=True)
class Evidence:
    """One claim's measurement.

    Attributes:
        measured: The numbers with their intervals, as text.
        models: The number of models that they are of; 0 if there are none.
        verdict: One of `VERDICTS`.
    """

    measured: str
    models: int
    verdict: str


@dataclass(frozen=True)
class Results:
    """The tables that analyses wrote.

    Attributes:
        folder: With a folder for each analysis, as in `analyses/results`.
    """

    folder: Path

    def table(self, name: str) -> Any:
        """One table, by its path without the ending.

        Raises:
            FileNotFoundError: If the table was not made yet.
        """
        return pd.read_csv(self.folder / f"{name}.csv")


Rule = Callable[[Results], Evidence]


def above(value: Interval, than: float = 0.0) -> str:
    """The verdict on a quantity that the claim puts above a number: the whole interval decides."""
    if value.low > than:
        return OBSERVED
    return OTHER_WAY if value.high < than else NOT_OBSERVED


def most(for_it: int, against: int, cells: int) -> str:
    """The verdict of cells: more than half must lie on one side with their whole intervals."""
    if for_it > cells / 2:
        return OBSERVED
    return OTHER_WAY if against > cells / 2 else NOT_OBSERVED


def weakest(verdicts: Iterable[str]) -> str:
    """The verdict on a claim that makes several comparisons: that of the one it does worst in."""
    return max(verdicts, key=VERDICTS.index)


def as_text(value: Interval, unit: str, scale: float | int = 1.0, digits: int = 0) -> str:
    """A mean and its interval."""
    mean, low, high = (f"{scale * x:+.{digits}f}" for x in (value.mean, value.low, value.high))
    return f"{mean} {unit} [{low}, {high}]" if unit else f"{mean} [{low}, {high}]"


def over_behaviours(values: Iterable[float]) -> Interval:
    """The mean over behaviours; its interval draws behaviours again."""
    return interval(torch.tensor(list(values), dtype=torch.float64), seed=0)


def over_models(values: Any) -> Interval:
    """The mean of a table of models by behaviours; its interval draws both again."""
    cells = values.to_numpy(float)
    return ratio_interval(cells, np.ones_like(cells), seed=0)


def ahead(
    name: str,
    method: str,
    others: Sequence[str],
    *,
    column: str = "method",
    by: str = "behaviour_set",
    share: str = "behaviour",
    only: str = "",
) -> Rule:
    """A rule: one method's share less that of others, behaviour by behaviour, at the same cost.

    The claim counts as observed if the interval over behaviours, and over models where the table
    has several, is above 0 for each of the others; else its verdict is the weakest of them. From
    fewer than four behaviours nothing is concluded yet.

    Args:
        name: The table; its column `model`, if there is one, says which model a row is of.
        method: The method that the claim puts first.
        others: The methods that it is compared with.
        column: The column that names methods.
        by: The column that names behaviours.
        share: The column with the shares.
        only: A condition on rows, as `DataFrame.query` takes it.
    """

    def rule(results: Results) -> Evidence:
        table = results.table(name)
        table = table.query(only) if only else table
        first, *rest = _side_by_side(table, [method, *others], column, by, share)
        models, behaviours = first.shape
        gains = {o: over_models(first - other) for o, other in zip(others, rest, strict=True)}
        if behaviours < FEWEST:
            means = [f"less {o}: {100 * gain.mean:+.0f} points" for o, gain in gains.items()]
            text = f"so far {'; '.join(means)} on {behaviours} behaviours"
            return Evidence(text, models, NOT_RUN)
        parts = [f"less {o}: {as_text(gain, 'points', 100)}" for o, gain in gains.items()]
        text = f"{'; '.join(parts)}, over {behaviours} behaviours"
        return Evidence(text, models, weakest(above(gain) for gain in gains.values()))

    return rule


def _side_by_side(
    table: Any, methods: Sequence[str], column: str, by: str, share: str
) -> list[Any]:
    """A table of models by behaviours for each method: the behaviours that all of them have."""
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
    """A rule: more than half of a table's cells must have an interval on the claimed side of 0.

    Args:
        name: The table.
        column: The column of means; their intervals are in `column`_low and `column`_high.
        what: The quantity, in words.
        cells: What the rows are, in words.
        only: A condition on rows, as `DataFrame.query` takes it.
    """

    def rule(results: Results) -> Evidence:
        table = results.table(name)
        table = table.query(only) if only else table
        table = table.dropna(subset=[f"{column}_low"])
        for_it = int((table[f"{column}_low"] > 0).sum())
        against = int((table[f"{column}_high"] < 0).sum())
        text = f"{what}: interval above 0 in {for_it} of {len(table)} {cells}, below 0 in {against}"
        return Evidence(text, 1, most(for_it, against, len(table)))

    return rule


def untested(why: str) -> Rule:
    """A rule for claims that are out of reach of a small model of a small language."""
    return _always(Evidence(why, 0, UNTESTED))


def not_run(why: str) -> Rule:
    """A rule for claims that no table of the embedded model is about."""
    return _always(Evidence(why, 0, NOT_RUN))


def _always(found: Evidence) -> Rule:
    def rule(results: Results) -> Evidence:
        del results
        return found

    return rule
