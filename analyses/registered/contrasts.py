"""The confirmatory contrasts: what dev chose, compared fold by fold, Holm within the eight.

Tasks and models are what they are: intervals say how far other items and other parts to fit to
would change a mean over these tasks, not what other tasks would show. A t interval over the tasks
stands beside it, for that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from analyses.registered.measuring import CHOSEN_AT
from lens_steer.benchmark import holm
from lens_steer.intervals import Interval

Array = np.ndarray
LEVEL = 0.05
MARGIN, SHARE_OF_CAA = 0.03, 0.15
# Of the variance of fold means: the fits of any two of three folds share half of their pairs, so
# that folds differ by less than other fits would. See the registration, "Intervals".
SHARED_FITS = 1.3
READINGS = ("scaled", "as it is", "interpolated")  # of a gain; contrasts are made with the first
_POWER = 0.8


def shown(row: Mapping[str, Any]) -> Float[Array, " item"]:
    """The behaviour of every item; a text that broke off does not show it."""
    return np.nan_to_num(np.array(row["behaviour"], dtype=float))


def realised(row: Mapping[str, Any]) -> float:
    """Nats per token along the texts that a method wrote; those that broke off are left out."""
    kl, tokens = (np.array(row[name], dtype=float) for name in ("kl", "tokens"))
    whole = np.isfinite(kl)
    return float(kl[whole].sum() / tokens[whole].sum()) if whole.any() else float("nan")


def readings(chosen: Any) -> dict[str, float]:
    """The gain at `CHOSEN_AT` nats of what dev chose in one fold, read in three ways.

    Scaled: gain and root of cost are proportional to the strength where both are small, so that a
    gain at k nats counts times sqrt(CHOSEN_AT / k). Interpolated: on the root of the cost, between
    no steering and what the costs asked for came to; beyond the largest as scaled.

    Args:
        chosen: Rows with `asked_nats`, `nats` and `gain`; none where no structure can be used,
            which gains nothing.
    """
    at = chosen[chosen["asked_nats"] == CHOSEN_AT]
    if not len(at):
        return dict.fromkeys(READINGS, 0.0)
    gain, nats = float(at["gain"].mean()), float(at["nats"].mean())
    costs = chosen.groupby("asked_nats")[["nats", "gain"]].mean().sort_values("nats")
    x = np.sqrt([0.0, *costs["nats"]])
    y = [0.0, *costs["gain"]]
    wanted = float(np.sqrt(CHOSEN_AT))
    between = y[-1] * wanted / x[-1] if wanted > x[-1] else float(np.interp(wanted, x, y))
    return dict(zip(READINGS, (gain * wanted / np.sqrt(nats), gain, between), strict=True))


def contrast(cells: Any, first: str, second: str | None = None) -> tuple[Interval, float, float]:
    """The mean over tasks of one method less another (None: of its gain), its p and what it sees.

    A task's differences of its folds give the variance of its mean; the variances are added, and
    the quantile is that of a t distribution with one degree of freedom less than folds for each
    task. The last number is the smallest difference that is found in four of five runs.

    Args:
        cells: A row for each task, fold and method, with the gain in the column `scaled`.
    """
    table = cells.pivot_table(index=["task", "fold"], columns="method", values="scaled", sort=False)
    difference = table[first] - (0.0 if second is None else table[second])
    of_task: Any = difference.groupby(level="task", sort=False)
    variances = SHARED_FITS * of_task.var() / of_task.count()
    error = float(np.sqrt(variances.sum()) / len(variances))
    freedom = int((of_task.count() - 1).sum())
    mean, t = float(of_task.mean().mean()), float(stats.t.ppf(1 - LEVEL / 2, freedom))
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error > 0 else float(mean == 0)
    least = error * (t + float(stats.t.ppf(_POWER, freedom)))
    return Interval(mean, mean - t * error, mean + t * error), p, least


def over_tasks(cells: Any, first: str, second: str, reading: str = "scaled") -> Interval:
    """The mean over tasks with the t interval that treats these tasks as drawn from others."""
    table = cells.pivot_table(index="task", columns="method", values=reading, sort=False)
    x = (table[first] - table[second]).to_numpy()
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(x.std(ddof=1) / np.sqrt(len(x)) * stats.t.ppf(1 - LEVEL / 2, len(x) - 1))
    return Interval(mean, mean - reach, mean + reach)


def contrasts_table(cells: Any, family: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A row for each contrast of the family, with its verdict and the other two readings."""
    caa, *_ = contrast(cells, "CAA")
    margin = max(MARGIN, SHARE_OF_CAA * abs(caa.mean))
    rows, p_values = [], []
    for first, second in family:
        found, p, least = contrast(cells, first, second)
        p_values.append(p)
        others = {name: over_tasks(cells, first, second, name).mean for name in READINGS[1:]}
        rows.append(
            {"method": first, "less": second, "tasks": cells["task"].nunique()}
            | found.columns("difference")
            | over_tasks(cells, first, second).columns("over_tasks")
            | others
            | {"p": p, "found_in_four_of_five": least, "margin": margin, "caa_gain": caa.mean}
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(p_values)
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def verdict(row: Mapping[str, Any]) -> str:
    """What a row says of "the first method steers better than the second"."""
    low, high, margin = (row[name] for name in ("difference_low", "difference_high", "margin"))
    if row["p_holm"] < LEVEL:
        return "observed" if row["difference"] > 0 else "not observed: the other way round"
    if -margin < low and high < margin:
        return "equivalent"
    return "not observed" if high < margin else "undecided"
