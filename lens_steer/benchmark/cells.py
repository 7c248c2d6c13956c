"""Trials as arrays: sums by fit, seed and group of prompts, of everything a statistic needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lens_steer.benchmark.trials import Trial

Array = np.ndarray

# What is summed over the texts of a group, beside how many there are and have failed.
OF_PATHS = ("kl", "draws", "surprise", "tokens")
FIXED = ("kl_fixed", "fixed_draws", "relative", "mahalanobis", "positions")


@dataclass(frozen=True, eq=False)
class GroupedSums:
    """One method at one strength.

    Attributes:
        trials: By fit and seed; of one model, or of several.
        groups: Of prompts, in order.
        sums: `[way ... group]` by name: ways are fit and seed or, of several models, the model.
    """

    trials: tuple[Trial, ...]
    groups: tuple[Any, ...]
    sums: dict[str, Array] = field(repr=False)

    @classmethod
    def of(cls, trials: Sequence[Trial], groups: Sequence[Any]) -> "GroupedSums":
        """Trials of one method, behaviour and multiple.

        Raises:
            ValueError: If a fit is without one of the seeds that others have.
        """
        models = sorted({trial.model for trial in trials})
        fits, seeds = (sorted({getattr(t, name) for t in trials}) for name in ("fit", "seed"))
        by_key = {(t.model, t.fit, t.seed): _sums(t, groups) for t in trials}
        missing = [k for k in _keys(models, fits, seeds) if k not in by_key]
        if missing and len(models) == 1:
            raise ValueError(
                f"{trials[0].method}: no trial of fit and seed {missing[0][1:]}; run all of them"
            )
        names = next(iter(by_key.values()))
        if len(models) > 1:
            own = [[v for k, v in by_key.items() if k[0] == model] for model in models]
            stacked = {n: np.array([sum(v[n] for v in part) for part in own]) for n in names}
        else:
            grid = [[by_key[models[0], fit, seed] for seed in seeds] for fit in fits]
            stacked = {n: np.array([[v[n] for v in row] for row in grid]) for n in names}
        return cls(tuple(trials), tuple(groups), stacked)


def all_groups(trials: Sequence[Trial]) -> list[Any]:
    """The groups of all trials, in order of first appearance."""
    found = [g for t in trials for g in (*t.evaluation.groups, *t.evaluation.text_groups)]
    return list(dict.fromkeys(found))


def _keys(models: list[str], fits: list[int], seeds: list[int]) -> list[tuple[str, int, int]]:
    return [(m, f, s) for m in models for f in fits for s in seeds]


def _sums(trial: Trial, groups: Sequence[Any]) -> dict[str, Array]:
    found, index = trial.evaluation, {group: i for i, group in enumerate(groups)}
    assert found.paths is not None  # every trial is measured
    examples = {"behaviour": found.behaviour, "examples": torch.ones_like(found.behaviour)}
    texts: dict[str, Any] = {name: getattr(found.paths, name) for name in OF_PATHS}
    counted = torch.ones_like(found.paths.kl)
    texts |= {"texts": counted, "failed": found.failed}
    if trial.fixed is not None:
        values = (getattr(trial.fixed, n) for n in ("kl", "draws", *FIXED[2:]))
        texts |= dict(zip(FIXED, values, strict=True))
    else:
        texts |= {name: found.paths.kl * np.nan for name in FIXED}
    summed = {name: group_sums(x, found.groups, index) for name, x in examples.items()}
    return summed | {name: group_sums(x, found.text_groups, index) for name, x in texts.items()}


def group_sums(x: Tensor, groups: Sequence[Any], index: dict[Any, int]) -> Array:
    """Sums over the examples of each group, by the group's index."""
    member = [index[group] for group in groups]
    return np.bincount(member, weights=x.double().numpy(), minlength=len(index))
