"""Units drawn again with replacement, and the percentiles that make an interval of the draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each unit of each way of clustering is drawn, resample by resample.

    Attributes:
        counts: One array `[resample unit]` for each way of clustering.
    """

    counts: tuple[Array, ...]

    def __repr__(self) -> str:
        sizes = [array.shape[1] for array in self.counts]
        return f"Resampling({len(self.counts[0])} resamples of {sizes} units)"

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
        scale = 2.0 ** int(np.frexp(np.abs(influence).max())[1])  # a power of 2 rounds nothing
        influence = influence / scale  # whose squares may overflow
        linear = self.sums(influence)
        if linear.std() * scale <= 1e-12 * np.nanmax(np.abs(statistics)):  # only rounding varies
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
