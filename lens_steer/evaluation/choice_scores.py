"""The scores of one run over a set of multiple-choice questions, question by question."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.evaluation.choice_metrics import (
    Choices,
    Correct,
    PerQuestion,
    as_groups,
    choice_accuracy,
    choice_margins,
    mc1,
    mc1_chance,
    mc2,
    padded,
)
from lens_steer.intervals import Interval, interval, interval_of_each, proportion_interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Lengths = Int[Tensor, "question choice"]


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ChoiceScores(Report):
    """Which choices a model finds likely, for every question of a set; made by `of`.

    Metrics are of whole choices; `per_token` and `per_character` are the same scores with
    log-probabilities divided by a length, so that `scores.per_token.mc1` is MC1 with length
    normalisation. For the difference between two runs take that of the vectors, which is paired.

    Attributes:
        log_probs: Of every choice, in nats; -inf where a question has fewer choices, NaN where it
            failed.
        correct: Which choices are correct.
        tokens: The tokens of every choice; 1 where there is none.
        characters: Its characters without white space around it, as lm-eval's `acc_norm` counts.
        groups: The group of each question; intervals draw whole groups again.
        seed: Of the intervals.

    Example:
        >>> plain.mc1.mean(), plain.per_token.mc1.mean()
        >>> ls.intervals.interval(steered.mc1 - plain.mc1, plain.groups, seed=0)
    """

    log_probs: Choices
    correct: Correct
    tokens: Lengths
    characters: Lengths
    groups: tuple[str, ...]
    seed: Seed = 0

    def __post_init__(self) -> None:
        mc1(self.log_probs, self.correct)  # refuses what cannot be scored
        if len(self.groups) != len(self.log_probs):
            raise ValueError(
                f"got {len(self.groups)} groups for {len(self.log_probs)} questions, expected one "
                "for each"
            )
        for name in ("tokens", "characters"):
            lengths: Tensor = getattr(self, name)
            if lengths.shape != self.log_probs.shape or bool((lengths < 1).any()):
                raise ValueError(
                    f"got {name} of shape {list(lengths.shape)} for log_probs of shape "
                    f"{list(self.log_probs.shape)}, expected the same, and lengths of at least 1"
                )

    @classmethod
    def of(
        cls,
        log_probs: Sequence[Float[Tensor, " _"]],
        correct: Sequence[Sequence[bool]],
        tokens: Sequence[Sequence[int]],
        choices: Sequence[Sequence[str]],
        *,
        groups: Sequence[str] | None = None,
        seed: Seed = 0,
    ) -> "ChoiceScores":
        """Scores from lists, question by question and choice by choice.

        Args:
            log_probs: Of every choice, summed over its tokens, in nats; NaN where it failed.
            correct: Whether each choice is correct; the first correct one is the answer of MC1.
            tokens: How many tokens each choice has.
            choices: The choices as texts, for their characters.
            groups: The group of each question; an empty name, or None, makes it one by itself.
            seed: Of the intervals.

        Raises:
            ValueError: If the lists are of different lengths, a question has no correct or no wrong
                choice, a choice is blank, or a log-probability is above 0 or -inf.

        Example:
            >>> ChoiceScores.of(
            ...     [torch.tensor([-2.0, -3.0])], [[True, False]], [[1, 2]], [[" Yes", " No"]]
            ... )
        """
        sizes = list(map(len, log_probs))
        for name, rows in (("correct", correct), ("tokens", tokens), ("choices", choices)):
            if list(map(len, rows)) != sizes:
                raise ValueError(f"got {name} of other numbers of choices, expected log_probs'")
        blank = [i for i, row in enumerate(choices) if not all(map(str.strip, row))]
        if blank:
            raise ValueError(f"question {blank[0]} has a blank choice, expected text")
        x = padded(log_probs)
        return cls(
            x,
            _filled(correct, x, False).bool(),
            _filled(tokens, x, 1),
            _filled([[len(choice.strip()) for choice in row] for row in choices], x, 1),
            as_groups(groups, len(x)),
            seed,
        )

    @classmethod
    def over_orders(cls, orders: Sequence["ChoiceScores"]) -> "ChoiceScores":
        """The mean over orders in which the choices were listed: what letters favour cancels.

        With each choice under each letter once (both orders of two choices, all rotations of more),
        whatever a model adds to the log-probability of a letter is added to all choices alike.
        `letter_bias` says how large it is.

        Args:
            orders: At least two, of the same questions, with each choice in the same column
                whatever letter it had.

        Raises:
            ValueError: If there are fewer than two, or they are of different questions.
        """
        if len(orders) < 2:
            raise ValueError(f"got {len(orders)} orders, expected at least two to average over")
        first = orders[0]
        for other in orders[1:]:
            same = first.groups == other.groups and torch.equal(first.correct, other.correct)
            if not same or not torch.equal(first.tokens, other.tokens):
                raise ValueError(
                    "the orders differ in groups, correct choices or tokens: expected the same "
                    "questions, each choice in the same column"
                )
        return replace(first, log_probs=torch.stack([x.log_probs for x in orders]).mean(dim=0))

    def __len__(self) -> int:
        return len(self.log_probs)

    @property
    def mc1(self) -> PerQuestion:
        """For each question 1 or 0, see `mc1`."""
        return mc1(self.log_probs, self.correct)

    @property
    def mc2(self) -> PerQuestion:
        """For each question from 0 to 1, see `mc2`."""
        return mc2(self.log_probs, self.correct)

    @property
    def accuracy(self) -> PerQuestion:
        """For each question 1 or 0, see `choice_accuracy`."""
        return choice_accuracy(self.log_probs, self.correct)

    @property
    def margins(self) -> PerQuestion:
        """For each question in nats (per token or character, if so divided): `choice_margins`."""
        return choice_margins(self.log_probs, self.correct)

    @property
    def failed(self) -> Tensor:
        """Questions that failed, Bool[question]: their metrics are NaN, and so is a mean of all."""
        return self.log_probs.isnan().any(dim=1)

    @property
    def per_token(self) -> "ChoiceScores":
        """The same with log-probabilities per token."""
        return replace(self, log_probs=self.log_probs / self.tokens)

    @property
    def per_character(self) -> "ChoiceScores":
        """The same with log-probabilities per character: MC1 is then lm-eval's `acc_norm`."""
        return replace(self, log_probs=self.log_probs / self.characters)

    def mean(self, values: PerQuestion) -> Interval:
        """The mean of a metric with its 95 % interval over groups: `scores.mean(scores.mc2)`.

        Raises:
            ValueError: If there is not one value for each question.
        """
        if len(values) != len(self):
            raise ValueError(f"got {len(values)} values, expected one for each of {len(self)}")
        found = interval(values, self.groups, seed=self.seed)
        return proportion_interval(found, len(set(self.groups)))

    @override
    def table(self) -> "pd.DataFrame":
        """MC1, MC2, accuracy and margin, whole and divided by length, with their intervals."""
        import pandas as pd

        versions = (self, self.per_token, self.per_character)
        names = ["mc1", "mc2", "accuracy", "margins"]
        values = [getattr(scores, name) for scores in versions for name in names]
        found = iter(interval_of_each(values, self.groups, seed=self.seed))
        chance = mc1_chance(self.log_probs, self.correct).mean().item()
        groups, rows = len(set(self.groups)), []
        for version in ("whole", "per token", "per character"):
            row: dict[str, Any] = {"log_probability": version, "questions": len(self)}
            for name in names[:3]:
                row |= proportion_interval(next(found), groups).columns(name)
            row |= next(found).columns("margin_nats")
            rows.append(row | {"mc1_chance": chance, "failed": int(self.failed.sum())})
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """MC1, MC2 and accuracy with their intervals, whole and divided by length."""
        from lens_steer.figures import canvas, legend_outside

        table, metrics = self.table(), ("mc1", "mc2", "accuracy")
        with canvas(width=4.6) as (figure, axes):
            for i, row in enumerate(table.to_dict("records")):
                x = [k + 0.15 * (i - (len(table) - 1) / 2) for k in range(len(metrics))]
                mean = [row[m] for m in metrics]
                ends = [[abs(row[m] - row[m + end]) for m in metrics] for end in ("_low", "_high")]
                axes.errorbar(x, mean, ends, fmt="o", color=f"C{i}", label=row["log_probability"])
            axes.axhline(table["mc1_chance"][0], color="k", ls=":", lw=0.8, label="chance of MC1")
            axes.set_xticks(range(len(metrics)), ["MC1", "MC2", "accuracy"])
            axes.set(ylim=(-0.02, 1.02), ylabel="mean over questions")
            legend_outside(figure, title=f"{len(self)} questions, 95 % intervals")
        return figure


def _filled(rows: Sequence[Sequence[int]], like: Choices, filler: int) -> Lengths:
    """Numbers of every choice, with a filler where a question has fewer choices."""
    made = torch.full(like.shape, filler, dtype=torch.int64)
    for i, row in enumerate(rows):
        made[i, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
    return made
