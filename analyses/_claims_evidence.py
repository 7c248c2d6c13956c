"""What tables of results say of a claim, by rules that are the same for every claim."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lens_steer.intervals import Interval, interval

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


def ahead(  # noqa: PLR0913 - which table, and how it names things
    name: str,
    method: str,
    others: Sequence[str],
    *,
    column: str = "method",
    by: str = "behaviour_set",
    share: str = "behaviour",
    without: str = "",
) -> Rule:
    """A method's share less that of others, behaviour by behaviour, at the cost they share.

    The claim is taken as observed if its interval over behaviours is above 0 for each of the
    others; of fewer than four behaviours nothing is concluded yet.

    Args:
        name: Of the table.
        column: Where methods are named.
        by: Where behaviours are named.
        share: Where the shares are.
        without: Behaviours to leave out.
    """

    def rule(results: Results) -> Evidence:
        table = results.table(name)
        if without:
            table = table[~table[by].str.contains(without)]
        shares = table.pivot_table(index=by, columns=column, values=share)
        shares = shares[[method, *others]].dropna()
        gains = {o: over_behaviours(shares[method] - shares[o]) for o in others}
        parts = [f"less {o}: {shown(gain, 'points', 100)}" for o, gain in gains.items()]
        held = all(gain.low > 0 for gain in gains.values())
        text = f"{'; '.join(parts)}, over {len(shares)} behaviours"
        if len(shares) < FEWEST:
            means = [f"less {o}: {100 * gain.mean:+.0f} points" for o, gain in gains.items()]
            return Evidence(f"so far {'; '.join(means)} on {len(shares)} behaviours", 1, NOT_RUN)
        return Evidence(text, 1, OBSERVED if held else NOT_OBSERVED)

    return rule


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
