"""How sure AUC and balanced accuracy are: whole groups of questions are drawn again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lens_steer.evaluation.binary_metrics import (
    Labels,
    Scores,
    auc,
    balanced_accuracy,
    checked_labels,
)
from lens_steer.intervals import Interval, Resampling, group_sums

_RESAMPLES = 2000
_AT_ONCE = 100  # resamples whose weights of all questions are held together


def auc_interval(scores: Scores, labels: Labels, groups: Sequence[Any], *, seed: int) -> Interval:
    """The AUC with its 95 % interval over groups, see `lens_steer.intervals`.

    Where every question is in order the interval has no width: drawing them again shows no other.

    Args:
        scores: As `auc`.
        labels: As `auc`.
        groups: One key for each question; whole groups are drawn again.
        seed: Of the draws.
    """
    mean = auc(scores, labels)
    if mean != mean:
        return Interval(mean, float("nan"), float("nan"))
    drawn = Resampling.of((len(set(groups)),), seed=seed, resamples=_RESAMPLES)
    return _with_ends(mean, *_auc_draws(scores, labels, groups, drawn), groups, drawn)


def auc_change_interval(
    steered: Scores, unsteered: Scores, labels: Labels, groups: Sequence[Any], *, seed: int
) -> Interval:
    """The AUC of one run less that of another over the same questions, paired, with its interval.

    Args:
        steered: Scores of the first run.
        unsteered: Scores of the second.
        labels: As `auc`.
        groups: One key for each question; whole groups are drawn again, the same for both.
        seed: Of the draws.
    """
    mean = auc(steered, labels) - auc(unsteered, labels)
    if mean != mean:
        return Interval(mean, float("nan"), float("nan"))
    drawn = Resampling.of((len(set(groups)),), seed=seed, resamples=_RESAMPLES)
    parts = [_auc_draws(scores, labels, groups, drawn) for scores in (steered, unsteered)]
    influence, statistics = (one - other for one, other in zip(*parts, strict=True))
    return _with_ends(mean, influence, statistics, groups, drawn)


def _auc_draws(
    scores: Scores, labels: Labels, groups: Sequence[Any], drawn: Resampling
) -> tuple[Any, Any]:
    """The influence of every question on the AUC, and the AUC of every draw of groups."""
    mean = auc(scores, labels)
    x, y = checked_labels(scores, labels)
    values, place = np.unique(x, return_inverse=True)
    index = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    of_group = np.array([index[key] for key in groups])
    statistics = []
    for start in range(0, _RESAMPLES, _AT_ONCE):
        weights = drawn.counts[0][start : start + _AT_ONCE][:, of_group]
        above, below = (_by_value(weights * kept, place, len(values)) for kept in (y, ~y))
        lower = below.cumsum(axis=1) - below / 2  # half of the ties
        couples = above.sum(axis=1) * below.sum(axis=1)
        statistics.append(_over((above * lower).sum(axis=1), couples))
    influence = (_won(x, y) - mean) / np.where(y, y.sum(), (~y).sum())
    return influence, np.concatenate(statistics)


def balanced_interval(
    predicted: Labels, labels: Labels, groups: Sequence[Any], *, seed: int
) -> Interval:
    """Balanced accuracy with its 95 % interval over groups.

    Args:
        predicted: For each question, as `AnswerThreshold.predicted` says; the threshold stays the
            same in all draws.
        labels: As `auc`.
        groups: One key for each question; whole groups are drawn again.
        seed: Of the draws.
    """
    mean = balanced_accuracy(predicted, labels)
    right, y = checked_labels((predicted == labels).double(), labels)
    drawn = Resampling.of((len(set(groups)),), seed=seed, resamples=_RESAMPLES)
    sides, influence = [], np.zeros(len(right))
    for kept in (y, ~y):
        hits, counts = group_sums(right * kept, kept.astype(float), groups)
        sides.append(_over(drawn.sums(hits), drawn.sums(counts)))
        influence[kept] = (right[kept] - right[kept].mean()) / kept.sum() / 2
    return _with_ends(mean, influence, (sides[0] + sides[1]) / 2, groups, drawn)


def _with_ends(
    mean: float, influence: Any, statistics: Any, groups: Sequence[Any], drawn: Resampling
) -> Interval:
    by_group, _ = group_sums(influence, np.ones_like(influence), groups)
    return Interval(mean, *drawn.levels(by_group, statistics))


def _over(numerators: Any, denominators: Any) -> Any:
    """Quotients; NaN where a resample holds no question of one of the labels."""
    unknown = np.full(len(numerators), np.nan)
    return np.divide(numerators, denominators, where=denominators > 0, out=unknown)


def _by_value(weights: Any, place: Any, n: int) -> Any:
    """Sums of weights over the questions that have each of n different scores."""
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(n))
    return np.add.reduceat(weights[:, order], starts, axis=1)


def _won(x: Any, y: Any) -> Any:
    """For each question the share of the couples with the other label that are in order."""
    won = np.empty(len(x))
    for side in (y, ~y):
        others = np.sort(x[~side])
        lower = np.searchsorted(others, x[side], "left") + np.searchsorted(others, x[side], "right")
        won[side] = lower / 2 / len(others)
    won[~y] = 1 - won[~y]
    return won
