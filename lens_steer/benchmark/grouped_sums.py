"""Trials as arrays: sums by fit, seed and group of prompts, of all that a statistic needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import shortened
from lens_steer.artifacts import savable
from lens_steer.benchmark.trials import FixedCosts, Trial
from lens_steer.evaluation import Evaluation, TextCosts

Array = np.ndarray


@savable
@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over examples and texts, one for each cell: a fit, a seed and a group of prompts.

    Along the method's own texts all are NaN if no costs were measured; along fixed texts all are
    NaN if the texts were not written by steering.

    Attributes:
        behaviour: How many examples show the behaviour.
        examples: The number of examples.
        texts: The number of texts.
        failed: How many texts are empty or known to be ill-formed.
        kl: KL(steered || unsteered) along the method's own texts, nats.
        draws: The tokens drawn in them.
        surprise: Their surprise under the unsteered model, nats.
        tokens: Their tokens.
        kl_fixed: KL(steered || unsteered) along fixed unsteered texts, nats.
        fixed_draws: The tokens drawn in those.
        relative: |edit| / |residual stream|, over steered positions.
        mahalanobis: The length of the edit in clean standard deviations, over steered positions.
        positions: The number of steered positions.
    """

    behaviour: Float[Array, "*cell"]
    examples: Float[Array, "*cell"]
    texts: Float[Array, "*cell"]
    failed: Float[Array, "*cell"]
    kl: Float[Array, "*cell"]
    draws: Float[Array, "*cell"]
    surprise: Float[Array, "*cell"]
    tokens: Float[Array, "*cell"]
    kl_fixed: Float[Array, "*cell"]
    fixed_draws: Float[Array, "*cell"]
    relative: Float[Array, "*cell"]
    mahalanobis: Float[Array, "*cell"]
    positions: Float[Array, "*cell"]

    @classmethod
    def of(cls, evaluation: Evaluation, fixed: FixedCosts | None, groups: Sequence[Any]) -> "Sums":
        """The sums of one evaluation over each of the groups, in their order."""
        index = {group: i for i, group in enumerate(groups)}

        def of_examples(values: Tensor) -> Array:
            return _group_sums(values, evaluation.groups, index)

        def of_texts(values: Tensor | None) -> Array:
            unknown = np.full(len(index), np.nan)
            return unknown if values is None else _group_sums(values, evaluation.text_groups, index)

        costs = evaluation.text_costs
        assert costs is None or isinstance(costs, TextCosts)
        return cls(
            behaviour=of_examples(evaluation.behaviour),
            examples=of_examples(torch.ones_like(evaluation.behaviour)),
            texts=of_texts(None if costs is None else torch.ones_like(costs.kl)),
            failed=of_texts(None if costs is None else evaluation.failed),
            kl=of_texts(None if costs is None else costs.kl),
            draws=of_texts(None if costs is None else costs.draws),
            surprise=of_texts(None if costs is None else costs.surprise),
            tokens=of_texts(None if costs is None else costs.tokens),
            kl_fixed=of_texts(None if fixed is None else fixed.kl),
            fixed_draws=of_texts(None if fixed is None else fixed.draws),
            relative=of_texts(None if fixed is None else fixed.relative),
            mahalanobis=of_texts(None if fixed is None else fixed.mahalanobis),
            positions=of_texts(None if fixed is None else fixed.positions),
        )

    @classmethod
    def stack(cls, parts: Sequence["Sums"]) -> "Sums":
        """Several sums of one shape along a new first axis."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: np.stack([getattr(part, name) for part in parts]) for name in names})

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of cells along each way of clustering; the last way is the group."""
        return self.examples.shape

    def map(self, function: Callable[[Array], Array]) -> "Sums":
        """A function of every array."""
        return Sums(**{f.name: function(getattr(self, f.name)) for f in fields(self)})

    def __add__(self, other: "Sums") -> "Sums":
        names = [f.name for f in fields(self)]
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, eq=False)
class GroupedSums:
    """One method at one strength.

    Attributes:
        trials: By fit and seed; of one model, or of several.
        groups: The groups of prompts, in order.
        sums: `[fit seed group]` or, of several models, `[model group]`.
    """

    trials: tuple[Trial, ...]
    groups: tuple[Any, ...]
    sums: Sums = field(repr=False)

    @classmethod
    def of(cls, trials: Sequence[Trial], groups: Sequence[Any]) -> "GroupedSums":
        """The sums of the trials of one method, behaviour and multiple.

        Raises:
            ValueError: If a fit is without one of the seeds that others have.
        """
        models = sorted({trial.model for trial in trials})
        fits = sorted({trial.fit for trial in trials})
        seeds = sorted({trial.seed for trial in trials})
        sums = {(t.model, t.fit, t.seed): Sums.of(t.evaluation, t.fixed, groups) for t in trials}
        if len(models) > 1:
            return cls(tuple(trials), tuple(groups), _by_model(sums, models))
        missing = [(f, s) for f in fits for s in seeds if (models[0], f, s) not in sums]
        if missing:
            raise ValueError(
                f"{trials[0].method}: no trial of fit and seed {missing[0]}; run all of them"
            )
        rows = [Sums.stack([sums[models[0], fit, seed] for seed in seeds]) for fit in fits]
        return cls(tuple(trials), tuple(groups), Sums.stack(rows))


Strength = tuple[str, str, float]  # the behaviour, the method, the multiple of its own strength


def grouped_by_strength(trials: Sequence[Trial]) -> dict[Strength, GroupedSums]:
    """The sums of each method at each strength, for every behaviour over the same groups.

    Raises:
        ValueError: If trials of one behaviour are of other models, or other seeds, than the rest.
    """
    parts: dict[Strength, list[Trial]] = {}
    for trial in trials:
        key = (trial.behaviour_name, trial.method, trial.multiple)
        parts.setdefault(key, []).append(trial)
    groups: dict[str, list[Any]] = {}
    for name in dict.fromkeys(trial.behaviour_name for trial in trials):
        _check_alike({key: part for key, part in parts.items() if key[0] == name})
        groups[name] = all_groups([t for t in trials if t.behaviour_name == name])
    return {key: GroupedSums.of(part, groups[key[0]]) for key, part in parts.items()}


def _check_alike(parts: dict[Strength, list[Trial]]) -> None:
    """Raise a ValueError where trials are not to be compared: of other models, or other seeds."""
    for name in ("model", "seed"):
        values = {key: {getattr(t, name) for t in part} for key, part in parts.items()}
        (first, expected), *others = values.items()
        for key, got in others:
            if got != expected:
                raise ValueError(
                    f"{shortened(key)} has trials of {name} {shortened(sorted(got))}, "
                    f"{shortened(first)} of {shortened(sorted(expected))}: run all of them"
                )


def group_differences(one: GroupedSums, other: GroupedSums) -> Array:
    """Mean difference in behaviour within each group of prompts, over fits and seeds."""

    def over_fits_and_seeds(x: Array) -> Array:
        return x.reshape(-1, x.shape[-1]).sum(axis=0)

    a, b = one.sums.map(over_fits_and_seeds), other.sums.map(over_fits_and_seeds)
    both = (a.examples > 0) & (b.examples > 0)  # a group may have texts, and no example of its own
    return a.behaviour[both] / a.examples[both] - b.behaviour[both] / b.examples[both]


def sums_by_trial(evaluations: Sequence[Evaluation]) -> tuple[tuple[Any, ...], Sums]:
    """The groups of prompts, and `[trial group]` sums of evaluations of the same examples.

    Raises:
        ValueError: If they are of different examples.
    """
    if any(evaluation.groups != evaluations[0].groups for evaluation in evaluations):
        raise ValueError("trials are of different examples: evaluate the same pairs in each")
    groups = tuple(dict.fromkeys(evaluations[0].groups))
    return groups, Sums.stack([Sums.of(evaluation, None, groups) for evaluation in evaluations])


def _by_model(sums: dict[tuple[str, int, int], Sums], models: Sequence[str]) -> Sums:
    """The sums of each model over its fits and seeds."""
    rows = []
    for model in models:
        first, *others = (part for (name, _, _), part in sums.items() if name == model)
        for other in others:
            first = first + other
        rows.append(first)
    return Sums.stack(rows)


def all_groups(trials: Sequence[Trial]) -> list[Any]:
    """The groups of all trials, in order of first appearance."""
    groups = [g for t in trials for g in (*t.evaluation.groups, *t.evaluation.text_groups)]
    return list(dict.fromkeys(groups))


def _group_sums(x: Tensor, groups: Sequence[Any], index: dict[Any, int]) -> Array:
    """Sums over the examples of each group, by the group's index."""
    member = [index[group] for group in groups]
    return np.bincount(member, weights=x.double().numpy(), minlength=len(index))
