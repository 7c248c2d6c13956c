"""The scores of one run over questions with the same two answers: Yes and No, or two letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Seed, shortened
from lens_steer.artifacts import savable
from lens_steer.evaluation.binary_intervals import (
    auc_change_interval,
    auc_interval,
    balanced_interval,
)
from lens_steer.evaluation.binary_metrics import AnswerThreshold, Labels, Scores, auc, d_prime
from lens_steer.evaluation.choice_metrics import answer_mass, as_groups, padded
from lens_steer.intervals import Interval, interval_of_each, proportion_interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BinaryScores(Report):
    """By how much a model prefers the first of two answers, for every question; made by `of`.

    Attributes:
        log_odds: log p(first answer) - log p(second answer) in nats; NaN where a question failed.
        labels: Whether the first answer is right.
        mass: The probability of both answers together, see `answer_mass`.
        answers: The two answers.
        groups: The group of each question; intervals draw whole groups again.
        threshold: Log-odds above which the first answer is taken: at `AnswerThreshold(0.0)` it is
            the likelier one; fit one on other questions, see `with_threshold`.
        seed: Of the intervals.

    Example:
        >>> test = test.with_threshold(AnswerThreshold.fit(dev.log_odds, dev.labels))
        >>> test.auc, test.balanced_accuracy, test.mass.mean()
    """

    log_odds: Scores
    labels: Labels
    mass: Float[Tensor, " question"]
    answers: tuple[str, str]
    groups: tuple[str, ...]
    threshold: AnswerThreshold = AnswerThreshold(0.0)
    seed: Seed = 0

    def __post_init__(self) -> None:
        sizes = {len(self.log_odds), len(self.labels), len(self.mass), len(self.groups)}
        if len(sizes) > 1 or not len(self.log_odds):
            raise ValueError(
                f"got {len(self.log_odds)} log_odds, {len(self.labels)} labels, {len(self.mass)} "
                f"of mass and {len(self.groups)} groups, expected one of each for every question, "
                "and at least one question"
            )

    @classmethod
    def of(
        cls,
        log_probs: Sequence[Float[Tensor, " _"]],
        correct: Sequence[Sequence[bool]],
        choices: Sequence[Sequence[str]],
        answers: tuple[str, str],
        *,
        groups: Sequence[str] | None = None,
        seed: Seed = 0,
    ) -> "BinaryScores":
        """Scores from lists, in which either answer may come first.

        Args:
            log_probs: Of both answers of every question, in nats, in the order of its choices.
            correct: Whether each is right: one of the two.
            choices: The choices of every question.
            answers: The two answers as they stand in `choices`, such as `(" Yes", " No")`.
            groups: The group of each question; an empty name, or None, makes it one by itself.
            seed: Of the intervals.

        Raises:
            ValueError: If a question has other choices than these answers, or not one right one.

        Example:
            >>> log_probs, choices = [torch.tensor([-1.0, -0.5])], [[" No", " Yes"]]
            >>> BinaryScores.of(log_probs, [[True, False]], choices, (" Yes", " No")).log_odds
            tensor([0.5000], dtype=torch.float64)
        """
        if not len(log_probs) == len(correct) == len(choices):
            raise ValueError(
                f"got {len(log_probs)} log_probs, {len(correct)} correct and {len(choices)} "
                "choices, expected one of each for every question"
            )
        ordered, labels = [], []
        for i, (row, right, texts) in enumerate(zip(log_probs, correct, choices, strict=True)):
            if sorted(texts) != sorted(answers) or len(row) != 2 or sum(right) != 1:
                raise ValueError(
                    f"question {i} has the choices {shortened(tuple(texts))}, of which "
                    f"{sum(right)} are right, expected {answers!r}, one of them right"
                )
            places = [list(texts).index(answer) for answer in answers]
            ordered.append(row[places])
            labels.append(bool(right[places[0]]))
        x = padded(ordered)
        return cls(
            x[:, 0] - x[:, 1],
            torch.tensor(labels),
            answer_mass(x),
            answers,
            as_groups(groups, len(x)),
            seed=seed,
        )

    def with_threshold(self, threshold: AnswerThreshold) -> "BinaryScores":
        """The same scores, decided at another threshold, which other questions have chosen."""
        return BinaryScores(
            self.log_odds, self.labels, self.mass, self.answers, self.groups, threshold, self.seed
        )

    @property
    def auc(self) -> float:
        """See `auc`: 0.5 is chance."""
        return auc(self.log_odds, self.labels)

    @property
    def d_prime(self) -> float:
        """See `d_prime`: 0 is chance."""
        return d_prime(self.auc)

    @property
    def balanced_accuracy(self) -> float:
        """At the threshold: 0.5 for a model that always gives the same answer."""
        return self.threshold.balanced_accuracy(self.log_odds, self.labels)

    @property
    def accuracy(self) -> float:
        """The share of questions answered right at the threshold; NaN if one has failed."""
        return self._right.mean().item()

    @property
    def first_share(self) -> float:
        """How often the first answer is taken: 0 or 1 where it is always the same."""
        return self._or_nan(self.threshold.predicted(self.log_odds)).mean().item()

    def auc_change(self, other: "BinaryScores") -> Interval:
        """AUC less that of another run over the same questions, paired, with its interval.

        Raises:
            ValueError: If the other is of other questions.
        """
        if other.groups != self.groups or not torch.equal(other.labels, self.labels):
            raise ValueError("the two runs are of different questions: score the same ones")
        return auc_change_interval(
            self.log_odds, other.log_odds, self.labels, self.groups, seed=self.seed
        )

    @property
    def failed(self) -> Tensor:
        """Questions that failed, Bool[question]: their log-odds are NaN."""
        return self.log_odds.isnan()

    @override
    def table(self) -> "pd.DataFrame":
        """One row: AUC, d', accuracies at the threshold, mass on the answers, with intervals."""
        import pandas as pd

        auc_ = auc_interval(self.log_odds, self.labels, self.groups, seed=self.seed)
        row: dict[str, Any] = {
            "answers": " / ".join(map(str.strip, self.answers)),
            "questions": len(self.labels),
        }
        row |= auc_.columns("auc")
        row |= Interval(*map(d_prime, (auc_.mean, auc_.low, auc_.high))).columns("d_prime")
        row |= {"threshold_nats": self.threshold.value} | self._balanced().columns("balanced")
        accuracy, mass = interval_of_each([self._right, self.mass], self.groups, seed=self.seed)
        row |= proportion_interval(accuracy, len(set(self.groups))).columns("accuracy")
        row |= {"first_share": self.first_share}
        row |= mass.columns("mass")
        return pd.DataFrame([row | {"failed": int(self.failed.sum())}])

    @override
    def figure(self) -> "Figure":
        """The share of questions of either label whose log-odds are above each value."""
        from lens_steer.figures import canvas, legend_outside

        with canvas(width=4.6) as (figure, axes):
            for label, colour in ((True, "C0"), (False, "C1")):
                x = self.log_odds[(self.labels == label) & ~self.failed].sort().values
                share = torch.linspace(1, 0, len(x) + 1)[1:]
                name = f"right: {self.answers[0 if label else 1]!r}"
                axes.step(x, share, where="post", color=colour, label=name)
            axes.axvline(self.threshold.value, color="k", ls=":", lw=0.8, label="threshold")
            axes.set(ylim=(-0.02, 1.02), ylabel="share of questions above")
            axes.set(xlabel=f"log-odds of {self.answers[0]!r} against {self.answers[1]!r}, nats")
            title = f"AUC {self.auc:.2f}, mass {self.mass.mean().item():.2g}"
            legend_outside(figure, title=title, columns=3)
        return figure

    def _balanced(self) -> Interval:
        if bool(self.failed.any()):
            return Interval(float("nan"), float("nan"), float("nan"))
        predicted = self.threshold.predicted(self.log_odds)
        return balanced_interval(predicted, self.labels, self.groups, seed=self.seed)

    @property
    def _right(self) -> Scores:
        return self._or_nan(self.threshold.predicted(self.log_odds) == self.labels)

    def _or_nan(self, holds: Labels) -> Scores:
        return torch.where(self.failed, torch.nan, holds.double())
