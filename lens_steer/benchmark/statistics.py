"""Statistics of trials with intervals: crossed over fits, seeds and prompts, paired, corrected."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lens_steer.benchmark.trials import Trial
from lens_steer.evaluation import distinct, distinct_without
from lens_steer.intervals import Interval, Resampling, proportion_interval

Array = np.ndarray
Statistic = Callable[..., Any]


def statistic_interval(
    statistic: Statistic, sums: Sequence[Array], *, seed: int, resamples: int = 2000
) -> Interval:
    """A function of sums over cells, with its interval.

    The ends are percentiles of the resampled statistic; how far they are widened follows from what
    each cell adds to it, to first order (numerical derivatives).

    Args:
        statistic: Takes one number (or one array over resamples) for each of `sums`.
        sums: Arrays over the ways of clustering, such as `fit seed group`; they are broadcast.
            Where two have different numbers of units of a way, both above 1, each is a way of its
            own; the statistic must not depend on how often all of one method's cells are counted.
    """
    cells = [np.array(x, dtype=float) for x in np.broadcast_arrays(*_alike(sums))]
    totals = [float(x.sum()) for x in cells]
    value = float(statistic(*totals))
    if not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    drawn = Resampling.of(cells[0].shape, seed=seed, resamples=resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.asarray(statistic(*(drawn.sums(x) for x in cells)))
    influence = np.zeros(cells[0].shape)
    for i, x in enumerate(cells):
        if not np.isfinite(totals[i]):  # a strength that broke the model, and was passed over
            continue
        influence += _slope(statistic, totals, i) * x
    low, high = drawn.levels(influence - influence.mean(), resampled)
    return Interval(value, low, high)


def share_interval(statistic: Statistic, sums: Sequence[Array], *, seed: int) -> Interval:
    """`statistic_interval` of a share, which no group or every group may show: see `of_share`."""
    return proportion_interval(statistic_interval(statistic, sums, seed=seed), sums[0].shape[-1])


def _alike(sums: Sequence[Array]) -> list[Array]:
    """Fits of one method have nothing to do with those of another: unequal, each has its own axis.

    Two methods that have as many are drawn together, the first fit of one with that of the other.
    """
    found = [np.asarray(x, dtype=float) for x in sums]
    for way in reversed(range(found[0].ndim)):
        counts = sorted({x.shape[way] for x in found} - {1})
        if len(counts) > 1:
            own = [tuple(n if x.shape[way] == n else 1 for n in counts) for x in found]
            shapes = [
                (*x.shape[:way], *axes, *x.shape[way + 1 :])
                for x, axes in zip(found, own, strict=True)
            ]
            found = [x.reshape(shape) for x, shape in zip(found, shapes, strict=True)]
    return found


def _slope(statistic: Statistic, totals: Sequence[float], i: int) -> float:
    step = 1e-4 * max(abs(totals[i]), 1e-9)
    moved = [
        float(statistic(*[t + sign * step * (j == i) for j, t in enumerate(totals)]))
        for sign in (1, -1)
    ]
    return (moved[0] - moved[1]) / (2 * step) if np.isfinite(moved).all() else 0.0


def at_budget(nats: Array, values: Array, budget: float) -> Array:
    """The value where a method's cost first meets a budget, going out from no steering.

    Straight lines between the strengths tried. NaN where the budget is not reached.

    Args:
        nats: `[... strength]`, the first column being no steering.
        values: Of the same shape.
    """
    found = np.full(nats.shape[:-1], np.nan)
    for k in range(nats.shape[-1] - 1):
        a, b = nats[..., k], nats[..., k + 1]
        here = np.isnan(found) & (a <= budget) & (budget <= b)
        share = np.where(b > a, (budget - a) / np.where(b > a, b - a, 1.0), 0.0)
        between = values[..., k] + share * (values[..., k + 1] - values[..., k])
        found = np.where(here, between, found)
    return found


def area(nats: Array, values: Array, budget: float, steps: int = 32) -> Array:
    """The mean value over budgets from 0 to `budget`: the area under the frontier over its width.

    NaN where the budget is not reached.
    """
    budgets = (np.arange(steps) + 0.5) * budget / steps
    reached = ~np.isnan(at_budget(nats, values, budget))
    mean = np.mean([at_budget(nats, values, b) for b in budgets], axis=0)
    return np.where(reached, mean, np.nan)


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
    each = [[out.get(g, all_) for g in groups] for out, all_ in zip(without, whole, strict=True)]
    error = np.std(np.mean(each, axis=0)) * np.sqrt(len(groups) - 1)
    reach = float(stats.t.ppf(0.975, len(groups) - 1) * error)
    return Interval(value, value - reach, value + reach)


def sign_flip(differences: Array, *, seed: int, resamples: int = 9999) -> float:
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
    found = permutation_test(
        (x,),
        lambda y, axis: y.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


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
