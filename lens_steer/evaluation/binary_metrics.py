"""Two answers, such as Yes and No: how well a score tells the questions of either apart.

Small models answer always No, or always A. Their accuracy is then chance whatever they know; the
order of their scores (AUC, d') and the accuracy at a threshold chosen on other questions are not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.artifacts import savable

Scores = Float[Tensor, " question"]
Labels = Bool[Tensor, " question"]


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

    x, y = checked_labels(scores, labels)
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
    right, y = checked_labels((predicted == labels).double(), labels)
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
        x, y = checked_labels(scores, labels)
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


def checked_labels(scores: Scores, labels: Labels) -> tuple[Any, Any]:
    """Scores and labels as arrays, one for each question.

    Raises:
        ValueError: If there are other numbers of them, or all labels are the same.
    """
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
