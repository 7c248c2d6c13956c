"""Means with 95 % bootstrap intervals, in which prompts, fits and seeds are drawn again as wholes.

The bootstrap draws the units of every way of clustering independently (the pigeonhole bootstrap,
Owen 2007). With few units percentile intervals are too narrow, and with crossed ways of clustering
the noise is counted twice: percentiles are therefore taken at levels that correct both (Hesterberg
2015, "expanded percentiles"; the variance by inclusion and exclusion of Cameron, Gelbach and Miller
2011).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % bootstrap interval.

    The ends are NaN where there is nothing to draw again, such as a single fit.

    Example:
        >>> Interval(0.5, 0.4, 0.6)
        Interval(mean=0.5, low=0.4, high=0.6)
        >>> print(Interval(0.5, 0.4, 0.6))
        0.5 [0.4, 0.6]
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def columns(self, name: str) -> dict[str, float]:
        """Three columns of a table: the mean under `name`, the ends under `*_low` and `*_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


NAN_INTERVAL = Interval(float("nan"), float("nan"), float("nan"))


def interval(
    values: Float[Tensor, " example"],
    groups: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """The mean of some values, with its bootstrap interval over groups.

    Values of one group belong together and are drawn together. For the difference between two
    methods pass the differences, example by example.

    Args:
        values: One number for each example.
        groups: One key for each example, such as the name in a template; None makes every example
            a group by itself.
        seed: Of the draws.
        resamples: How often the groups are drawn.

    Raises:
        ValueError: If there are no values, or the number of groups is another.

    Example:
        >>> interval(torch.tensor([0.1, 0.3, 0.2, 0.6]), ["ann", "ann", "bob", "cy"], seed=0)
    """
    x = values.double().cpu().numpy()
    keys = list(range(len(x))) if groups is None else list(groups)
    if len(x) == 0 or len(keys) != len(x):
        raise ValueError(
            f"{len(keys)} groups for {len(x)} values: expected one each, and at least one"
        )
    return ratio_interval(*group_sums(x, np.ones_like(x), keys), seed=seed, resamples=resamples)


def nanmean_interval(
    values: Float[Tensor, " example"], groups: Sequence[Hashable], seed: int
) -> Interval:
    """The interval of the mean over the values that are not NaN; `NAN_INTERVAL` if all of them are.

    Args:
        values: One number for each example, NaN where it is not defined.
        groups: One key for each example, as in `interval`.
        seed: Of the draws.
    """
    defined = ~values.isnan()
    kept = [group for group, keep in zip(groups, defined.tolist(), strict=True) if keep]
    return interval(values[defined], kept, seed=seed) if kept else NAN_INTERVAL


def proportion_interval(bootstrap: Interval, groups: int) -> Interval:
    """The interval of a proportion, also where it is 0 or 1 in every group.

    Drawing equal values again gives equal values, so that the bootstrap interval of such a
    proportion has no width. Its open end is then that of Clopper and Pearson for as many
    independent trials as there are groups: 0 of 8 is compatible with 37 %.

    Args:
        bootstrap: The bootstrap interval of the proportion.
        groups: How many groups it was drawn from.
    """
    degenerate = bootstrap.low == bootstrap.high and bootstrap.mean in (0.0, 1.0)
    if groups < 2 or not degenerate:
        return bootstrap
    reach = 1 - 0.025 ** (1 / groups)
    mean = bootstrap.mean
    return Interval(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def group_sums(
    numerators: Float[Array, "*way example"],
    denominators: Float[Array, "*way example"],
    groups: Sequence[Any],
) -> tuple[Float[Array, "*way group"], Float[Array, "*way group"]]:
    """Sums over the examples of each group, of two quantities whose ratio is wanted.

    Args:
        numerators: Values by example, which is the last axis.
        denominators: Values of the same shape; ones, for a mean.
        groups: One key for each example; sums are in the order in which keys first appear.
    """
    index = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    member = np.zeros((len(groups), len(index)))
    member[np.arange(len(groups)), [index[key] for key in groups]] = 1.0
    return numerators @ member, denominators @ member


def ratio_interval(
    numerators: Float[Array, "*way"],
    denominators: Float[Array, "*way"],
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """The interval of sum(numerators) / sum(denominators).

    The units of every axis are drawn again independently. An axis of one unit (one fit, one seed)
    is taken as it is: nothing is known of its spread.

    Args:
        numerators: One axis for each way of clustering, such as `fit seed group`.
        denominators: Values of the same shape; counts, for a mean.
        seed: Of the draws.
        resamples: How often the units are drawn.
    """
    mean = float(numerators.sum() / denominators.sum())
    if not np.isfinite(mean):
        return Interval(mean, float("nan"), float("nan"))
    drawn = Resampling.of(numerators.shape, seed=seed, resamples=resamples)
    means = drawn.sums(numerators) / drawn.sums(denominators)
    low, high = drawn.levels((numerators - mean * denominators) / denominators.sum(), means)
    return Interval(mean, low, high)


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each unit of each way of clustering is drawn, resample by resample.

    Attributes:
        counts: One array `[resample unit]` for each way of clustering.
    """

    counts: tuple[Array, ...]

    @classmethod
    def of(cls, shape: Sequence[int], *, seed: int, resamples: int = 2000) -> "Resampling":
        """Draw as many units of every axis as it has, with replacement.

        An axis of one unit stays as it is.
        """
        source = np.random.default_rng(seed)
        even = [np.full(size, 1 / size) for size in shape]
        drawn = [source.multinomial(len(p), p, size=resamples).astype(float) for p in even]
        return cls(tuple(drawn))

    def sums(self, x: Float[Array, "*way"]) -> Float[Array, " resample"]:
        """The sum over all cells in each resample."""
        total = np.broadcast_to(x, (len(self.counts[0]), *x.shape))
        for counts in self.counts:
            total = np.einsum("ru...,ru->r...", total, counts)
        return total

    def levels(
        self, influence: Float[Array, "*way"], statistics: Float[Array, " resample"]
    ) -> tuple[float, float]:
        """The ends of an interval: percentiles of the resampled statistic, at widened levels.

        Args:
            influence: What each cell adds to the deviation of the statistic, to first order.
            statistics: The statistic in each resample.
        """
        from scipy import stats

        sizes = [size for size in influence.shape if size > 1]
        if not sizes:
            return float("nan"), float("nan")
        linear = self.sums(influence)
        if linear.std() <= 1e-12 * np.nanmax(np.abs(statistics)):  # only rounding varies
            return float(statistics.min()), float(statistics.max())
        variance, freedom = _variance(influence.reshape(sizes))
        widening = np.sqrt(variance / linear.var())
        level = float(stats.norm.cdf(-stats.t.ppf(0.975, freedom) * widening))
        low, high = np.nanquantile(statistics, [level, 1 - level])
        return float(low), float(high)


def _variance(influence: Array) -> tuple[float, float]:
    """Variance of the sum of cells in a crossed design, and its degrees of freedom.

    It is made of the mean squares of the analysis of variance, every way being random: those of odd
    order less those of even order, and never less than if all cells were independent. The degrees
    of freedom are Satterthwaite's.
    """
    squares = _mean_squares(influence)
    signed = [(square * (-1) ** (order + 1), free) for order, square, free in squares]
    total = max(sum(square for square, _ in signed), squares[-1][1])
    spread = sum(square**2 / free for square, free in signed)
    return total * influence.size, total**2 / spread


def _mean_squares(influence: Array) -> list[tuple[int, float, int]]:
    """(number of ways, mean square, degrees of freedom) of every main effect and interaction."""
    ways, rows = range(influence.ndim), []
    for order in range(1, influence.ndim + 1):
        for kept in combinations(ways, order):
            effect = influence.mean(axis=tuple(w for w in ways if w not in kept), keepdims=True)
            for way in kept:
                effect = effect - effect.mean(axis=way, keepdims=True)
            free = int(np.prod([influence.shape[w] - 1 for w in kept]))
            repeats = influence.size / effect.size
            rows.append((order, float((effect**2).sum()) * repeats / free, free))
    return rows


def plot_band(
    axes: Any, x: Sequence[float | int], intervals: Sequence[Interval], colour: str, label: str
) -> None:
    """Draw a line through means on matplotlib axes, with their 95 % intervals as a band.

    Args:
        axes: The axes to draw on.
        x: Where each interval is, from left to right.
        intervals: One for each place.
        colour: Of the line and, paler, of the band.
        label: Of the line, for a legend.
    """
    low, mean, high = (
        np.array([getattr(interval, end) for interval in intervals])
        for end in ("low", "mean", "high")
    )
    axes.plot(x, mean, "o-", color=colour, label=label, lw=1.2, ms=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
