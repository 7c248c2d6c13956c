"""Means with an interval: whole groups of prompts, and fits and seeds, are drawn again.

The bootstrap draws the units of every way of clustering independently (the pigeonhole bootstrap,
Owen 2007). Few units make percentile intervals too narrow, and crossed ways count the noise twice:
percentiles are taken at levels that mend both (Hesterberg 2015, "expanded percentiles"; the
variance by inclusion and exclusion, Cameron, Gelbach and Miller 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval; NaN ends where nothing can be drawn again."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def columns(self, name: str) -> dict[str, float]:
        """Of a table: the mean under its name, the ends as `*_low` and `*_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def interval(
    values: Float[Tensor, " example"],
    groups: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """Mean and bootstrap interval over groups: examples that belong together are drawn together.

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
    return ratio_interval(*by_group(x, np.ones_like(x), keys), seed=seed, resamples=resamples)


def of_share(found: Interval, units: int) -> Interval:
    """The interval of a share, also where no group, or every group, shows it at all.

    Drawing equals again gives equals. The end that is open is then that of Clopper and Pearson for
    as many independent units as there are groups: 0 of 8 may be 37 %.

    Args:
        found: What the bootstrap gives.
        units: Groups.
    """
    if units < 2 or found.low != found.high or found.mean not in (0.0, 1.0):
        return found
    reach = 1 - 0.025 ** (1 / units)
    return Interval(found.mean, max(0.0, found.mean - reach), min(1.0, found.mean + reach))


def by_group(
    above: Float[Array, "*way example"], below: Float[Array, "*way example"], groups: Sequence[Any]
) -> tuple[Float[Array, "*way group"], Float[Array, "*way group"]]:
    """Sums over the examples of each group, of two quantities whose ratio is wanted."""
    index = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    member = np.zeros((len(groups), len(index)))
    member[np.arange(len(groups)), [index[key] for key in groups]] = 1.0
    return above @ member, below @ member


def ratio_interval(
    above: Float[Array, "*way"],
    below: Float[Array, "*way"],
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """Interval of sum(above) / sum(below), the units of every axis drawn again independently.

    An axis of one unit (one fit, one seed) is taken as it is: nothing is known of its spread.

    Args:
        above: One axis for each way of clustering, such as `fit seed group`.
        below: Of the same shape; counts, for a mean.
    """
    mean = float(above.sum() / below.sum())
    if not np.isfinite(mean):
        return Interval(mean, float("nan"), float("nan"))
    drawn = Resampling.of(above.shape, seed=seed, resamples=resamples)
    means = drawn.sums(above) / drawn.sums(below)
    low, high = drawn.levels((above - mean * below) / below.sum(), means)
    return Interval(mean, low, high)


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each unit of each way of clustering is drawn, resample by resample.

    Attributes:
        counts: One array `[resample unit]` per way.
    """

    counts: tuple[Array, ...]

    @classmethod
    def of(cls, shape: Sequence[int], *, seed: int, resamples: int = 2000) -> "Resampling":
        """As many units as there are, with replacement; an axis of one unit stays as it is."""
        source = np.random.default_rng(seed)
        even = [np.full(size, 1 / size) for size in shape]
        drawn = [source.multinomial(len(p), p, size=resamples).astype(float) for p in even]
        return cls(tuple(drawn))

    def sums(self, x: Float[Array, "*way"]) -> Float[Array, " resample"]:
        """The sum over all cells of each resample."""
        found = np.broadcast_to(x, (len(self.counts[0]), *x.shape))
        for counts in self.counts:
            found = np.einsum("ru...,ru->r...", found, counts)
        return found

    def levels(
        self, influence: Float[Array, "*way"], statistics: Float[Array, " resample"]
    ) -> tuple[float, float]:
        """Ends of the interval: percentiles of the resampled statistic, at widened levels.

        Args:
            influence: What each cell adds to the deviation of the statistic, to first order.
        """
        from scipy import stats

        sizes = [size for size in influence.shape if size > 1]
        if not sizes:
            return float("nan"), float("nan")
        linear = self.sums(influence)
        if linear.std() <= 1e-12 * np.nanmax(np.abs(statistics)):  # nothing varies, but rounding
            return float(statistics.min()), float(statistics.max())
        variance, freedom = _variance(influence.reshape(sizes))
        widening = np.sqrt(variance / linear.var())
        level = float(stats.norm.cdf(-stats.t.ppf(0.975, freedom) * widening))
        low, high = np.nanquantile(statistics, [level, 1 - level])
        return float(low), float(high)


def _variance(influence: Array) -> tuple[float, float]:
    """Variance of the sum of cells in a crossed design, and its degrees of freedom.

    From the mean squares of the analysis of variance, every way being random: those of odd order
    less those of even order; never less than if all cells were independent. Degrees of freedom by
    Satterthwaite.
    """
    squares = _mean_squares(influence)
    signed = [(square * (-1) ** (order + 1), free) for order, square, free in squares]
    total = max(sum(square for square, _ in signed), squares[-1][1])
    spread = sum(square**2 / free for square, free in signed)
    return total * influence.size, total**2 / spread


def _mean_squares(influence: Array) -> list[tuple[int, float, int]]:
    """(number of ways, mean square, degrees of freedom) of every main effect and interaction."""
    ways, found = range(influence.ndim), []
    for order in range(1, influence.ndim + 1):
        for kept in combinations(ways, order):
            effect = influence.mean(axis=tuple(w for w in ways if w not in kept), keepdims=True)
            for way in kept:
                effect = effect - effect.mean(axis=way, keepdims=True)
            free = int(np.prod([influence.shape[w] - 1 for w in kept]))
            repeats = influence.size / effect.size
            found.append((order, float((effect**2).sum()) * repeats / free, free))
    return found
