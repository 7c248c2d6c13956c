"""Doses: how much of a method it takes, how much breaks the text, and how far they lie apart.

A text is intact if it is well formed or, where no judge knows, about as likely as it should be: a
text that repeats itself is too likely, word salad is too unlikely. Both sides count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.quantities import Value, along, at_budget, behaviour, intact
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import Statistic, Totals, unbounded_interval
from lens_steer.benchmark.trials import Trial
from lens_steer.evaluation import TextCosts
from lens_steer.intervals import Interval

Array = np.ndarray

CENTRAL = (0.025, 0.975)  # quantiles of the unsteered texts that an intact text lies between


@savable
@dataclass(frozen=True)
class Dose:
    """What a method needs, and what it bears, in multiples of its own strength.

    Between the strengths tried shares are joined by straight lines, out from no steering.

    Attributes:
        method: The name of the method.
        ed50: Where behaviour first rises half-way from the unsteered share to 1; inf if nowhere.
        cd50: Where intact texts first fall to half of their unsteered share; inf if nowhere.
        window: cd50 / ed50: inf if only collapse is out of reach, 0 if only the effect is, NaN if
            both are.
        largest: The largest multiple that was tried.
    """

    method: str
    ed50: Interval
    cd50: Interval
    window: Interval
    largest: float

    def __str__(self) -> str:
        least, most = self.largest / self.ed50.mean, self.cd50.mean / self.largest
        window = _shown(self.window) if isfinite(self.window.mean) else "unknown"
        window = f"over {least:.2g}" if self.window.mean == inf else window
        window = f"below {most:.2g}" if self.window.mean == 0 else window
        ed50, cd50 = (
            f"beyond {self.largest:g}" if dose.mean == inf else _shown(dose)
            for dose in (self.ed50, self.cd50)
        )
        return f"ED50 {ed50}, CD50 {cd50}, window {window}"


def strengths(
    comparison: Comparison, behaviour_name: str, method: str
) -> tuple[Float[Array, " multiple"], list[Sums]]:
    """The multiples of a method in rising order, out from 0, the unsteered model, and its sums."""
    steered = [m for m in comparison.multiples(behaviour_name, method) if m > 0]
    sums = [comparison.grouped_sums(behaviour_name, "unsteered").sums]
    sums += [comparison.grouped_sums(behaviour_name, method, m).sums for m in steered]
    return np.array([0.0, *steered]), sums


def half_dose(
    shares: Float[Array, "*resample multiple"], multiples: Float[Array, " multiple"]
) -> Float[Array, "*resample"]:
    """Where shares first rise half-way from the first, no steering, to 1; NaN if nowhere."""
    gap = shares - (1 + shares[..., :1]) / 2
    return at_budget(gap, np.broadcast_to(multiples, gap.shape), 0.0)


def collapse_dose(
    shares: Float[Array, "*resample multiple"], multiples: Float[Array, " multiple"]
) -> Float[Array, "*resample"]:
    """Where shares first fall to half of the first, no steering; NaN if nowhere.

    Example:
        >>> ls.benchmark.collapse_dose(np.array([1.0, 0.8, 0.2]), np.array([0.0, 1.0, 2.0]))
        array(1.5)
    """
    gap = shares[..., :1] / 2 - shares
    return at_budget(gap, np.broadcast_to(multiples, gap.shape), 0.0)


def dose_of(comparison: Comparison, behaviour_name: str, method: str) -> Dose:
    """The dose of one method on one behaviour; a text is intact if it has not failed."""
    multiples, curve = strengths(comparison, behaviour_name, method)

    def ed50(*totals: Totals) -> Array:
        return _or_infinite(half_dose(along(behaviour, totals), multiples))

    def cd50(*totals: Totals) -> Array:
        return _or_infinite(collapse_dose(along(intact, totals), multiples))

    def window(*totals: Totals) -> Value:
        return np.divide(cd50(*totals), ed50(*totals))

    def measured(statistic: Statistic) -> Interval:
        return unbounded_interval(statistic, curve, seed=comparison.config.seed)

    apart = measured(window)
    apart = apart if apart.mean > 0 else Interval(apart.mean, float("nan"), float("nan"))
    return Dose(method, measured(ed50), measured(cd50), apart, largest=float(multiples[-1]))


def _or_infinite(x: Array) -> Array:
    return np.where(np.isnan(x), inf, x)


def _shown(dose: Interval) -> str:
    return f"{dose.mean:.2g} [{dose.low:.2g}, {dose.high:.2g}]"


def with_intact(comparison: Comparison) -> Comparison:
    """The same comparison, with `well_formed` filled in where the judge did not know.

    A text is then called well formed if its mean surprise per token under the unsteered model lies
    within the central 95 % of that of the unsteered texts, same behaviour and model. An empty text
    is not.
    """
    trials = [_filled(trial, comparison.trials) for trial in comparison.trials]
    return replace(comparison, trials=tuple(trials))


def _filled(trial: Trial, trials: Sequence[Trial]) -> Trial:
    if trial.evaluation.well_formed is not None:
        return trial
    unsteered = [
        other
        for other in trials
        if other.method == "unsteered"
        and (other.behaviour_name, other.model) == (trial.behaviour_name, trial.model)
    ]
    usual = torch.cat([_surprise(other) for other in unsteered])
    inside = central(_surprise(trial), usual[~usual.isnan()])
    return replace(trial, evaluation=replace(trial.evaluation, well_formed=inside))


def central(
    surprise: Float[Tensor, " text"], usual: Float[Tensor, " other"]
) -> Bool[Tensor, " text"]:
    """Whether each is within the central 95 % of the others; NaN is not."""
    low, high = usual.quantile(torch.tensor(CENTRAL, dtype=usual.dtype))
    return (surprise >= low) & (surprise <= high)


def _surprise(trial: Trial) -> Float[Tensor, " text"]:
    """Nats per token of each text; NaN where it has none."""
    costs = trial.evaluation.text_costs
    assert isinstance(costs, TextCosts)  # every trial is measured
    return costs.surprise / costs.tokens
