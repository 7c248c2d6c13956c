"""What is measured of a method: each quantity is a function of total sums, with its interval."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.statistics import (
    Statistic,
    Totals,
    share_interval,
    statistic_interval,
)
from lens_steer.evaluation import efficiencies
from lens_steer.intervals import Interval

Array = np.ndarray
Value = np.ndarray | float  # a number, or an array over resamples


def quantity(name: str, sums: Sums, unsteered: Sums, *, seed: int) -> Interval:
    """One of `QUANTITIES` of a method, with its interval.

    Args:
        unsteered: The sums of the unsteered model.
    """
    if name == "efficiency":
        return statistic_interval(_efficiency, [sums, unsteered], seed=seed)
    interval = share_interval if name in ("behaviour", "failed") else statistic_interval
    return interval(QUANTITIES[name], [sums], seed=seed)


def _efficiency(method: Totals, unsteered: Totals) -> Value:
    return efficiencies(behaviour(method), behaviour(unsteered), method.kl / method.texts)


def _perplexity(totals: Totals) -> Value:
    with np.errstate(over="ignore"):
        return np.exp(totals.surprise / totals.tokens)


def behaviour(totals: Totals) -> Value:
    """The share of examples that show the behaviour."""
    return totals.behaviour / totals.examples


def intact(totals: Totals) -> Value:
    """The share of texts that are well formed and not empty."""
    return 1 - totals.failed / totals.texts


def kl(totals: Totals) -> Value:
    """Nats per token along the method's own texts."""
    return totals.kl / totals.draws


def kl_sequence(totals: Totals) -> Value:
    """Nats per text."""
    return totals.kl / totals.texts


def difference(one: Totals, other: Totals) -> Value:
    """The difference of two methods in behaviour."""
    return behaviour(one) - behaviour(other)


# In the order of the columns of a table.
QUANTITIES: dict[str, Statistic] = {
    "behaviour": behaviour,
    "kl": kl,
    "kl_sequence": kl_sequence,
    "kl_fixed": lambda totals: totals.kl_fixed / totals.fixed_draws,
    "efficiency": _efficiency,
    "perplexity": _perplexity,
    "relative_norm": lambda totals: totals.relative / totals.positions,
    "mahalanobis": lambda totals: totals.mahalanobis / totals.positions,
    "failed": lambda totals: totals.failed / totals.texts,
}


def along(statistic: Statistic, curve: Sequence[Totals]) -> Float[Array, "*resample strength"]:
    """A statistic at each strength of a curve, in its order."""
    return np.stack([statistic(totals) for totals in curve], axis=-1)


def at_budget(nats: Array, values: Array, budget: float) -> Array:
    """The value where a method's cost first meets a budget, going out from no steering.

    Straight lines between the strengths tried. NaN where the budget is not reached.

    Args:
        nats: `[... strength]`, the first column being no steering.
        values: Of the same shape.
    """
    result = np.full(nats.shape[:-1], np.nan)
    for k in range(nats.shape[-1] - 1):
        a, b = nats[..., k], nats[..., k + 1]
        first = np.isnan(result) & (a <= budget) & (budget <= b)
        share = np.where(b > a, (budget - a) / np.where(b > a, b - a, 1.0), 0.0)
        between = values[..., k] + share * (values[..., k + 1] - values[..., k])
        result = np.where(first, between, result)
    return result


def area(nats: Array, values: Array, budget: float, steps: int = 32) -> Array:
    """The mean value over budgets from 0 to `budget`: the area under the frontier over its width.

    NaN where the budget is not reached.
    """
    budgets = (np.arange(steps) + 0.5) * budget / steps
    reached = ~np.isnan(at_budget(nats, values, budget))
    mean = np.mean([at_budget(nats, values, b) for b in budgets], axis=0)
    return np.where(reached, mean, np.nan)
