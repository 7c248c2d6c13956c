"""Recommendations beside the exhaustive search of the same cells: regrets, and refusals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from analyses.forecast.tables import DEV, TEST, Rows, methods
from analyses.recommendations.measuring import ARMS, Unit
from lens_steer.intervals import Interval, interval

TRIED = 4  # methods that write texts in `recommend`
MOVES = 0.05  # of the texts: less is no steering
_POINTS = 100
RIVALS = (
    "random search, as many trials",
    "random search, as much time",
    "CAA at half depth",
    "the largest forecast",
    "any, at random",
    "no steering",
)


@dataclass(frozen=True, eq=False)
class Searched:
    """What the exhaustive search has found in one cell.

    Attributes:
        rows: Of the study of forecasts, the unsteered one first.
        seed: Of the intervals.
    """

    rows: Rows
    seed: int

    @property
    def kept(self) -> list[Mapping[str, Any]]:
        """The methods that it tried."""
        return methods(self.rows)

    def shares(self, part: int) -> Any:
        """The share of texts under each method."""
        return np.array([np.mean(row["shown"][part]) for row in self.kept])

    @property
    def plain(self) -> float:
        """The share of unsteered texts of the prompts that are tested."""
        return float(np.mean(self.rows[0]["shown"][TEST]))

    @property
    def winner(self) -> int:
        """The method of the largest share on dev, the first of equals."""
        return int(np.argmax(self.shares(DEV)))

    @property
    def moved(self) -> Interval:
        """By how much the winner moves the share of the tested texts, over groups of prompts."""
        shown, plain = (r["shown"][TEST] for r in (self.kept[self.winner], self.rows[0]))
        change = torch.tensor(shown).double() - torch.tensor(plain).double()
        return interval(change, self.rows[0]["groups"][TEST], seed=self.seed)

    @property
    def steerable(self) -> bool:
        """Whether the winner surely moves the tested texts."""
        return self.moved.mean > MOVES and self.moved.low > 0

    def random_search(self, trials: int) -> float:
        """The share on test that is expected of the best on dev of so many methods at random."""
        best_first = np.argsort(-self.shares(DEV), kind="stable")
        n = len(best_first)
        k = min(trials, n)
        chances = [comb(n - 1 - rank, k - 1) / comb(n, k) for rank in range(n)]
        return float(np.dot(chances, self.shares(TEST)[best_first]))

    def of_rule(self, score: Any) -> float:
        """The share on test of the method that a rule gives the largest number."""
        return float(self.shares(TEST)[int(np.argmax([score(row) for row in self.kept]))])


def cells(
    found: Mapping[Unit, Mapping[str, Any]], searched: Mapping[tuple[str, int], Rows], *, seed: int
) -> Any:
    """A row for each cell and arm: what was recommended, what came of it, and the winner.

    Raises:
        ValueError: If the exhaustive search lacks a cell, or its unsteered texts are others.
    """
    table = []
    for (task, fold, arm), row in found.items():
        if (task, fold) not in searched:
            raise ValueError(
                f"the forecasts have no cell {task}, fold {fold}: run python -m analyses.forecast "
                "with these tasks first"
            )
        here = Searched(searched[task, fold], seed)
        if row["method"] is not None and row["unsteered"] != here.rows[0]["shown"][TEST]:
            raise ValueError(
                f"{task}, fold {fold}: unsteered texts are judged otherwise than in the forecasts, "
                "expected the same texts: make both on one machine"
            )
        shown = here.plain if row["method"] is None else float(np.mean(row["shown"]))
        trials = max(1, round(row["seconds"] / row["trial_seconds"]))
        winner = float(here.shares(TEST)[here.winner])
        line = {"task": task, "fold": fold, "arm": arm, "turned": ARMS[arm].turned}
        line |= {"judged": ARMS[arm].judged, "refused": row["method"] is None}
        line |= {"method": row["method"] or "none", "forecasts": row["forecasts"]}
        line |= {"time_in_trials": trials, "unsteered": here.plain, "share": shown}
        line |= {"winner": here.kept[here.winner]["candidate"], "winner_share": winner}
        line |= here.moved.columns("winner_moves") | {"steerable": here.steerable}
        table.append(line | {"regret": _POINTS * (winner - shown)})
    return pd.DataFrame(table)


def regrets(table: Any, searched: Mapping[tuple[str, int], Rows], *, seed: int) -> Any:
    """What each rule's choice loses on test to the exhaustive winner, in points of texts.

    Means over cells with intervals over tasks; beside them by how much more a rule loses than
    `recommend` with a judge.

    Args:
        table: What `cells` gives.
        searched: The same as there.
        seed: Of the intervals.
    """
    arms = [arm for arm, what in ARMS.items() if not what.turned and (table["arm"] == arm).any()]
    first = table[table["arm"] == arms[0]]
    tasks = first["task"].tolist()
    lost = {arm: table[table["arm"] == arm]["regret"].tolist() for arm in arms}
    lost |= {rule: [] for rule in RIVALS}
    for line in first.to_dict("records"):
        here = Searched(searched[line["task"], line["fold"]], seed)
        shares = {
            "random search, as many trials": here.random_search(TRIED),
            "random search, as much time": here.random_search(line["time_in_trials"]),
            "CAA at half depth": here.of_rule(lambda r: r["rules"].get("half depth", -np.inf)),
            "the largest forecast": here.of_rule(lambda r: np.mean(r["gains"][DEV])),
            "any, at random": float(here.shares(TEST).mean()),
            "no steering": here.plain,
        }
        for rule, share in shares.items():
            lost[rule].append(_POINTS * (line["winner_share"] - share))
    rows = []
    for rule, values in lost.items():
        each = torch.tensor(values).double()
        row: dict[str, Any] = {"rule": rule, "cells": len(values)}
        row |= interval(each, tasks, seed=seed).columns("regret")
        more = each - torch.tensor(lost[arms[0]]).double()
        rows.append(row | interval(more, tasks, seed=seed).columns("beyond_recommend"))
    return pd.DataFrame(rows)


def refusals(table: Any) -> Any:
    """Of refusals, with a judge and without: how many are right, and how many are missing.

    Unsteerable are cells whose pairs are turned round, and those whose exhaustive winner does not
    surely move the tested texts. Intervals are Clopper and Pearson's: they take cells as
    independent.
    """
    rows = []
    lines = [line for line in table.to_dict("records") if not ARMS[line["arm"]].dev]
    for judged in dict.fromkeys(line["judged"] for line in lines):
        here = [line for line in lines if line["judged"] == judged]
        turned = [line for line in here if line["turned"]]
        steerable = [line for line in here if line["steerable"] and not line["turned"]]
        other = [line for line in here if not line["steerable"] and not line["turned"]]
        row: dict[str, Any] = {"judged": judged, "cells": len(here), "refused": _refused(here)}
        for name, part in (("turned", turned), ("steerable", steerable), ("other", other)):
            row |= {name: len(part), f"{name}_refused": _refused(part)}
        right = _refused(turned + other)
        row |= _proportion(right, _refused(here)).columns("precision")
        row |= _proportion(right, len(turned + other)).columns("recall")
        rows.append(row)
    return pd.DataFrame(rows)


def _refused(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(bool(line["refused"]) for line in lines)


def _proportion(k: int, n: int) -> Interval:
    """k of n, with its exact interval; nothing is known of none."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    ends = binomtest(k, n).proportion_ci(method="exact")
    return Interval(k / n, float(ends.low), float(ends.high))
