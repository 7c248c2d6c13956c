"""Which texts are intact: well formed or, where no judge knows, about as likely as they should be.

A text that repeats itself is too likely, word salad is too unlikely: both sides count.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.trials import Trial
from lens_steer.evaluation import TextCosts

CENTRAL = (0.025, 0.975)  # quantiles of the unsteered texts that an intact text lies between


def with_intact(comparison: Comparison) -> Comparison:
    """The same comparison, `well_formed` filled in where the judge did not know.

    A text is then called well formed if its mean surprise per token under the unsteered model lies
    within the central 95 % of that of the unsteered texts, same behaviour and model. An empty text
    is not.
    """
    trials = [_filled(trial, comparison.trials) for trial in comparison.trials]
    return replace(comparison, trials=tuple(trials))


def _filled(trial: Trial, trials: Sequence[Trial]) -> Trial:
    if trial.evaluation.well_formed is not None:
        return trial
    plain = [
        t
        for t in trials
        if t.method == "unsteered"
        and (t.behaviour_name, t.model) == (trial.behaviour_name, trial.model)
    ]
    usual = torch.cat([_surprise(t) for t in plain])
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
    paths = trial.evaluation.paths
    assert isinstance(paths, TextCosts)  # every trial is measured
    return paths.surprise / paths.tokens
