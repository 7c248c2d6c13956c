"""The confirmatory contrasts: items, fits and choices drawn again, Holm within the family of eight.

Tasks and models are what they are: intervals say how far other items, other parts to fit to and
other dev items would change a mean over these tasks, not what other tasks would show. A t interval
over the tasks stands beside it, for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from analyses.registered.measuring import CHOSEN_AT
from lens_steer.benchmark import holm
from lens_steer.intervals import Interval

Array = np.ndarray
RESAMPLES = 4000
LEVEL = 0.05
MARGIN, SHARE_OF_CAA = 0.03, 0.15


@dataclass(frozen=True, eq=False)
class Draws:
    """One method in one fold: what each structure promised on dev, and gave on test.

    Attributes:
        dev: Change of the preference of each dev pair; -inf where a structure cannot be used.
        gains: Behaviour less the unsteered of each test item, at `CHOSEN_AT` nats to first order.
    """

    dev: Float[Array, "draw dev"]
    gains: Float[Array, "draw item"]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], unsteered: Mapping[str, Any]) -> "Draws":
        """The draws at `CHOSEN_AT` among the rows of a method.

        The gain is proportional to the strength and the cost to its square where both are small: a
        gain at k nats is multiplied by sqrt(CHOSEN_AT / k). A text that broke off does not show the
        behaviour. A structure that could not be made or calibrated gains nothing, and is only taken
        where there is no other.
        """
        at = sorted((r for r in rows if r["nats"] == CHOSEN_AT), key=lambda row: row["draw"])
        plain = shown(unsteered)
        n_dev = max((len(row["dev_gain"]) for row in at if "dev_gain" in row), default=1)
        dev = np.full((len(at), n_dev), -np.inf)
        gains = np.zeros((len(at), len(plain)))
        for i, row in enumerate(at):
            if "dev_gain" in row:
                dev[i] = row["dev_gain"]
                gains[i] = (shown(row) - plain) * np.sqrt(CHOSEN_AT / realised(row))
        return cls(dev, gains)


def shown(row: Mapping[str, Any]) -> Float[Array, " item"]:
    """The behaviour of every item; a text that broke off does not show it."""
    return np.nan_to_num(np.array(row["behaviour"], dtype=float))


def realised(row: Mapping[str, Any]) -> float:
    """Nats per token along the texts that a method wrote; those that broke off are left out."""
    kl, tokens = (np.array(row[name], dtype=float) for name in ("kl", "tokens"))
    whole = np.isfinite(kl)
    return float(kl[whole].sum() / tokens[whole].sum()) if whole.any() else float("nan")


@dataclass(frozen=True, eq=False)
class TaskDraws:
    """All methods of one task: `draws[method][fold]`, and the group of each test item."""

    draws: Mapping[str, Sequence[Draws]]
    groups: Sequence[Sequence[int]]

    def means(self, source: np.random.Generator, resamples: int) -> dict[str, Array]:
        """The mean gain of every method as it is, and then in every resample; all are paired."""
        n_folds = len(self.groups)
        n_dev = max(d.dev.shape[1] for folds in self.draws.values() for d in folds)
        dev = _once_and_drawn(source, n_dev, resamples)
        folds = _once_and_drawn(source, n_folds, resamples)
        names = [list(dict.fromkeys(groups)) for groups in self.groups]
        drawn = [_once_and_drawn(source, len(each), resamples) for each in names]
        totals = {}
        for method, each in self.draws.items():
            by_fold = [
                _taken(d, dev, drawn[f], _group_numbers(self.groups[f], names[f]))
                for f, d in enumerate(each)
            ]
            totals[method] = (folds * np.stack(by_fold, axis=1)).sum(1) / folds.sum(1)
        return totals


def _once_and_drawn(source: np.random.Generator, n: int, resamples: int) -> Array:
    """How often each of n units is counted: once in the first row, as drawn in the others."""
    again = source.multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.concatenate([np.ones((1, n)), again])


def _group_numbers(groups: Sequence[int], names: Sequence[int]) -> Int[Array, " item"]:
    return np.array([names.index(group) for group in groups])


def _taken(draws: Draws, dev: Array, groups: Array, number: Array) -> Float[Array, " resample"]:
    """The mean gain of the structure that dev prefers, in every resample."""
    usable: Any = np.isfinite(draws.dev).all(axis=1)
    width = draws.dev.shape[1]
    promised = np.where(
        usable, dev[:, :width] @ np.where(usable[:, None], draws.dev, 0.0).T, -np.inf
    )
    chosen = promised.argmax(axis=1)
    weights = groups[:, number]
    means = weights @ draws.gains.T / weights.sum(axis=1, keepdims=True)
    return means[np.arange(len(means)), chosen]


def contrast(
    of_tasks: Sequence[Mapping[str, Array]], first: str, second: str | None, folds: int
) -> tuple[Interval, float]:
    """The mean over tasks of one method less another (None: of its gain), and its two-sided p.

    The standard error is that of the resamples, widened by sqrt(n / (n - 1)) for the n folds of a
    task, which the bootstrap draws from n; the quantile is that of a t distribution with n - 1
    degrees of freedom for each task.
    """
    zero = np.zeros(1)
    values = np.mean([t[first] - (zero if second is None else t[second]) for t in of_tasks], axis=0)
    error = float(values[1:].std() * np.sqrt(folds / (folds - 1)))
    freedom = len(of_tasks) * (folds - 1)
    reach = error * float(stats.t.ppf(1 - LEVEL / 2, freedom))
    mean = float(values[0])
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error > 0 else float(mean == 0)
    return Interval(mean, mean - reach, mean + reach), p


def over_tasks(of_tasks: Sequence[Mapping[str, Array]], first: str, second: str) -> Interval:
    """The mean over tasks with the t interval that treats these tasks as drawn from others."""
    x = np.array([t[first][0] - t[second][0] for t in of_tasks])
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(x.std(ddof=1) / np.sqrt(len(x)) * stats.t.ppf(1 - LEVEL / 2, len(x) - 1))
    return Interval(mean, mean - reach, mean + reach)


def contrasts_table(
    tasks: Sequence[TaskDraws], family: Sequence[tuple[str, str]], *, seed: int
) -> pd.DataFrame:
    """A row for each contrast of the family, with its verdict."""
    sources = np.random.default_rng(seed).spawn(len(tasks))
    of_tasks = [t.means(s, RESAMPLES) for t, s in zip(tasks, sources, strict=True)]
    folds = min(len(task.groups) for task in tasks)
    caa, _ = contrast(of_tasks, "CAA", None, folds)
    margin = max(MARGIN, SHARE_OF_CAA * abs(caa.mean))
    rows, p_values = [], []
    for first, second in family:
        found, p = contrast(of_tasks, first, second, folds)
        p_values.append(p)
        rows.append(
            {"method": first, "less": second, "tasks": len(tasks)}
            | found.columns("difference")
            | over_tasks(of_tasks, first, second).columns("over_tasks")
            | {"p": p, "margin": margin}
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(p_values)
    table["within_margin"] = (table["difference_low"] > -margin) & (
        table["difference_high"] < margin
    )
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def verdict(row: Mapping[str, Any]) -> str:
    """What a row says of "the first method steers better than the second"."""
    if row["p_holm"] < LEVEL:
        return "observed" if row["difference"] > 0 else "not observed: the other way round"
    return "equivalent" if row["within_margin"] else "not observed"
