"""Means with an interval, resampling whole groups of examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interval(
    values: Float[Tensor, " example"],
    groups: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """Mean and percentile bootstrap over groups: examples that belong together are drawn together.

    For a difference between two methods pass the differences, example by example.

    Args:
        groups: One key per example, such as the name in a template; None takes each example by
            itself.

    Raises:
        ValueError: If there are no values, or not a group for each.
    """
    x = values.double().cpu().numpy()
    keys = list(range(len(x))) if groups is None else list(groups)
    if len(x) == 0 or len(keys) != len(x):
        raise ValueError(
            f"{len(keys)} groups for {len(x)} values: expected one each, and at least one"
        )
    index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    member = np.array([index[key] for key in keys])
    sums, counts = np.bincount(member, weights=x), np.bincount(member)
    draws = np.random.default_rng(seed).integers(len(index), size=(resamples, len(index)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(x.mean()), float(low), float(high))
