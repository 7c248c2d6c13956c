"""Two answers, such as Yes and No: how well a score tells the questions of either apart.

Small models answer always No, or always A. Their accuracy is then chance whatever they know; the
order of their scores (AUC, d') and the accuracy at a threshold chosen on other questions are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, Resampling, group_sums

Scores = Float[Tensor, " question"]
Labels = Bool[Tensor, " question"]

_RESAMPLES = 2000
_AT_ONCE = 100  # resamples whose weights of all questions are held together


def auc(scores: Scores, labels: Labels) -> float:
    """The probability that a question labelled True has a higher score than one labelled False.

    Half of the ties count. 0.5 is chance, 1 is perfect order; below 0.5 the order is reversed. It
    does not change if a number is added to all scores.

    Args:
        scores: One for each question, such as the log-odds of Yes against No; NaN where it failed.
        labels: Whether the first of the two answers is right.

    Returns:
        NaN if a question has failed.

    Raises:
        ValueError: If all labels are the same.

    Example:
        >>> auc(torch.tensor([-3.0, -2.0, -1.0]), torch.tensor([False, False, True]))
        1.0
    """
    from sklearn.metrics import roc_auc_score

    x, y = _checked(scores, labels)
    return float("nan") if np.isnan(x).any() else float(roc_auc_score(y, x))


def d_prime(auc: float) -> float:
    """The sensitivity d' that belongs to an AUC: sqrt(2) times its normal quantile.

    It is the distance between the means of two normal distributions of the same width, in widths,
    whose AUC this is (Green and Swets 1966). 0 is chance; it is infinite where the AUC is 1.

    Args:
        auc: From 0 to 1.

    Raises:
        ValueError: If it is outside.

    Example:
        >>> d_prime(0.5)
        0.0
    """
    from scipy.stats import norm

    if not (0 <= auc <= 1 or auc != auc):
        raise ValueError(f"got auc={auc!r}, expected a number from 0 to 1")
    return float(np.sqrt(2) * norm.ppf(auc))


def balanced_accuracy(predicted: Labels, labels: Labels) -> float:
    """The mean of the shares predicted right among questions of either label; 0.5 is chance.

    Raises:
        ValueError: If all labels are the same, or there are other numbers of predictions.
    """
    right, y = _checked((predicted == labels).double(), labels)
    return float((right[y].mean() + right[~y].mean()) / 2)


@savable
@dataclass(frozen=True)
class AnswerThreshold:
    """The score above which the first answer is taken, chosen on one set and used on others.

    Attributes:
        value: In the units of the scores, such as nats of log-odds; 0 takes the likelier answer.
        fitted_accuracy: Balanced accuracy on the set it was chosen on, where it is the highest
            there is: too high a promise for other sets.

    Example:
        >>> threshold = AnswerThreshold.fit(dev.log_odds, dev.labels)
        >>> threshold.balanced_accuracy(test.log_odds, test.labels)
    """

    value: float
    fitted_accuracy: float = float("nan")

    @classmethod
    def fit(cls, scores: Scores, labels: Labels) -> "AnswerThreshold":
        """The threshold of the highest balanced accuracy on a dev set.

        It lies midway between neighbouring scores, or 1 beyond the outermost; of equally good ones
        the one nearest to 0 is taken, the model's own.

        Args:
            scores: One for each question.
            labels: Whether the first answer is right.

        Raises:
            ValueError: If all labels are the same, or a question has failed.
        """
        x, y = _checked(scores, labels)
        if np.isnan(x).any():
            raise ValueError("got scores with NaN, expected finite ones: leave out what failed")
        values = np.unique(x)
        midway = (values[1:] + values[:-1]) / 2
        candidates = np.concatenate([[values[0] - 1], midway, [values[-1] + 1]])
        # How many of either label lie above each candidate.
        above = [
            np.sum(y_is) - np.searchsorted(np.sort(x[y_is]), candidates, "right")
            for y_is in (y, ~y)
        ]
        quality = (above[0] / y.sum() + 1 - above[1] / (~y).sum()) / 2
        best = candidates[quality >= quality.max() - 1e-12]
        return cls(float(best[np.abs(best).argmin()]), float(quality.max()))

    def predicted(self, scores: Scores) -> Labels:
        """For which questions the first answer is taken; a score at the threshold is not above."""
        return scores > self.value

    def balanced_accuracy(self, scores: Scores, labels: Labels) -> float:
        """Of these questions at this threshold; NaN if one has failed.

        Raises:
            ValueError: As `balanced_accuracy`.
        """
        if bool(scores.isnan().any()):
            return float("nan")
        return balanced_accuracy(self.predicted(scores), labels)


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
    x, y = _checked(scores, labels)
    values, place = np.unique(x, return_inverse=True)
    index = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    of_group = np.array([index[key] for key in groups])
    drawn = Resampling.of((len(index),), seed=seed, resamples=_RESAMPLES)
    statistics = []
    for start in range(0, _RESAMPLES, _AT_ONCE):
        weights = drawn.counts[0][start : start + _AT_ONCE][:, of_group]
        above, below = (_by_value(weights * kept, place, len(values)) for kept in (y, ~y))
        lower = below.cumsum(axis=1) - below / 2  # half of the ties
        couples = above.sum(axis=1) * below.sum(axis=1)
        statistics.append(_over((above * lower).sum(axis=1), couples))
    influence = (_won(x, y) - mean) / np.where(y, y.sum(), (~y).sum())
    return _with_ends(mean, influence, groups, drawn, np.concatenate(statistics))


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
    right, y = _checked((predicted == labels).double(), labels)
    drawn = Resampling.of((len(set(groups)),), seed=seed, resamples=_RESAMPLES)
    sides, influence = [], np.zeros(len(right))
    for kept in (y, ~y):
        hits, counts = group_sums(right * kept, kept.astype(float), groups)
        sides.append(_over(drawn.sums(hits), drawn.sums(counts)))
        influence[kept] = (right[kept] - right[kept].mean()) / kept.sum() / 2
    return _with_ends(mean, influence, groups, drawn, (sides[0] + sides[1]) / 2)


def _with_ends(
    mean: float, influence: Any, groups: Sequence[Any], drawn: Resampling, statistics: Any
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


def _checked(scores: Scores, labels: Labels) -> tuple[Any, Any]:
    if len(scores) != len(labels):
        raise ValueError(
            f"got {len(scores)} scores and {len(labels)} labels, expected one of each for each "
            "question"
        )
    if bool(labels.all()) or not bool(labels.any()):
        raise ValueError(
            f"all {len(labels)} labels are the same, expected questions of either answer: two "
            "answers cannot be told apart on one"
        )
    return scores.detach().cpu().double().numpy(), labels.cpu().numpy()
