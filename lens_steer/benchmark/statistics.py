"""Statistics of trials with intervals: crossed over fits, seeds and prompts, paired, corrected."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from math import inf, isfinite
from typing import Any

import numpy as np

from lens_steer.arguments import Count, Seed
from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.trials import Trial
from lens_steer.evaluation import distinct, distinct_without
from lens_steer.intervals import Interval, Resampling, proportion_interval

Array = np.ndarray
Statistic = Callable[..., Any]  # takes `Totals` of each part, over resamples or not

_FIELDS = tuple(field.name for field in fields(Sums))
# Beyond any finite value, and what stands for infinity while sorting: not so large that `levels`
# takes what varies for rounding.
_FAR, _BEYOND = 1e6, 1e7


class Totals:
    """The totals of a `Sums` under the same names, each taken when a statistic first reads it.

    A statistic of two of the thirteen sums then costs no more than two, and what it reads is known.
    """

    def __init__(self, total: Callable[[str], Any]) -> None:
        self._total = total
        self.read: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in _FIELDS:
            raise AttributeError(name)
        if name not in self.read:
            self.read[name] = self._total(name)
        return self.read[name]


def statistic_interval(
    statistic: Statistic, parts: Sequence[Sums], *, seed: int, resamples: int = 2000
) -> Interval:
    """A function of the total sums of one or several parts, with its interval.

    The ends are percentiles of the resampled statistic; how far they are widened follows from what
    each cell adds to it, to first order (numerical derivatives).

    Args:
        statistic: Takes `Totals` of each part: numbers, or arrays over resamples.
        parts: Their arrays are over the ways of clustering, such as `fit seed group`; they are
            broadcast. Where two parts have different numbers of units of a way, both above 1, each
            is a way of its own; the statistic must not depend on how often all of one part's cells
            are counted.
    """
    shapes = _aligned([part.shape for part in parts])
    whole = np.broadcast_shapes(*shapes)

    def cells(i: int, name: str) -> Array:
        x = np.asarray(getattr(parts[i], name), dtype=float).reshape(shapes[i])
        return np.array(np.broadcast_to(x, whole))

    with np.errstate(divide="ignore", invalid="ignore"):
        once = [Totals(lambda name, i=i: cells(i, name).sum()) for i in range(len(parts))]
        value = float(statistic(*once))
        if not np.isfinite(value):
            return Interval(value, float("nan"), float("nan"))
        drawn = Resampling.of(whole, seed=seed, resamples=resamples)
        again = [Totals(lambda name, i=i: drawn.sums(cells(i, name))) for i in range(len(parts))]
        resampled = np.asarray(statistic(*again))
        influence = np.zeros(whole)
        for i, totals in enumerate(once):
            for name in (n for n in _FIELDS if n in totals.read):
                # A total is not finite where a strength broke the model, and was passed over.
                if np.isfinite(getattr(totals, name)):
                    influence += _slope(statistic, once, i, name) * cells(i, name)
    low, high = drawn.levels(influence - influence.mean(), resampled)
    return Interval(value, low, high)


def share_interval(statistic: Statistic, parts: Sequence[Sums], *, seed: int) -> Interval:
    """`statistic_interval` of a share, which no group or every group may show.

    See `proportion_interval`.
    """
    return proportion_interval(statistic_interval(statistic, parts, seed=seed), parts[0].shape[-1])


def unbounded_interval(statistic: Statistic, parts: Sequence[Sums], *, seed: int) -> Interval:
    """`statistic_interval` of what may be infinite, such as a dose that is not reached.

    Resamples in which the statistic is infinite count as the largest: an end that falls on them is
    infinite. There are no ends if the statistic itself is not finite.
    """

    def bounded(*totals: Totals) -> Any:
        values = np.asarray(statistic(*totals))
        return np.where(np.isposinf(values), _BEYOND, values)

    result = statistic_interval(bounded, parts, seed=seed)
    low, high = (inf if end > _FAR else end for end in (result.low, result.high))
    if isfinite(result.mean) and result.mean < _FAR:
        return Interval(result.mean, low, high)
    mean = inf if result.mean > _FAR else result.mean
    return Interval(mean, float("nan"), float("nan"))


def _aligned(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shapes that can be broadcast: fits of one method have nothing to do with those of another.

    Two methods that have as many fits are drawn together, the first fit of one with that of the
    other; where they have different numbers, each has an axis of its own.
    """
    aligned = list(shapes)
    for way in reversed(range(len(shapes[0]))):
        counts = sorted({shape[way] for shape in aligned} - {1})
        if len(counts) > 1:
            aligned = [
                (*s[:way], *(n if s[way] == n else 1 for n in counts), *s[way + 1 :])
                for s in aligned
            ]
    return aligned


def _slope(statistic: Statistic, totals: Sequence[Totals], i: int, name: str) -> float:
    """The derivative of the statistic by one total of one part."""
    total = float(getattr(totals[i], name))
    step = 1e-4 * max(abs(total), 1e-9)
    moved = []
    for value in (total + step, total - step):
        part = Totals(lambda n, v=value: v if n == name else getattr(totals[i], n))
        moved.append(float(statistic(*totals[:i], part, *totals[i + 1 :])))
    return (moved[0] - moved[1]) / (2 * step) if np.isfinite(moved).all() else 0.0


def distinct_interval(trials: Sequence[Trial], n: int) -> Interval:
    """Different n-grams over all n-grams of a trial's texts, mean over trials, by the jackknife.

    Drawing texts twice would repeat their n-grams, so groups of prompts are left out one by one.
    """
    from scipy import stats

    whole = [distinct(trial.evaluation.texts, n) for trial in trials]
    value = float(np.mean(whole))
    groups = list(
        dict.fromkeys(group for trial in trials for group in trial.evaluation.text_groups)
    )
    if len(groups) < 2:
        return Interval(value, float("nan"), float("nan"))
    without = [distinct_without(t.evaluation.texts, t.evaluation.text_groups, n) for t in trials]
    left = [[part.get(g, all_) for g in groups] for part, all_ in zip(without, whole, strict=True)]
    error = np.std(np.mean(left, axis=0)) * np.sqrt(len(groups) - 1)
    reach = float(stats.t.ppf(0.975, len(groups) - 1) * error)
    return Interval(value, value - reach, value + reach)


def sign_flip(differences: Array, *, seed: Seed, resamples: Count = 9999) -> float:
    """Two-sided p of a mean difference of 0: the signs of whole groups are drawn anew.

    Exact where the groups' differences are symmetric about 0; 1 where nothing differs. All sign
    patterns are counted where there are at most `resamples`.

    Args:
        differences: One for each independent group; NaN in one makes p NaN.
    """
    from scipy.stats import permutation_test

    x = np.asarray(differences, dtype=float)
    if np.isnan(x).any():
        return float("nan")
    if len(x) < 2 or not x.any():
        return 1.0
    result = permutation_test(
        (x,),
        lambda y, axis: y.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that no true null hypothesis of all is rejected in more than the stated share.

    A test that could not be made (NaN) counts as none.

    Holm 1979: the smallest p times the number of tests, the next times one less, never falling.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN is sorted last
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()
