"""The numbers of one reading of questions, and whether anything moves a task at all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.registered.references import GATE_AT
from analyses.registered_answers.answer_folds import likelihoods
from analyses.registered_answers.tasks import AnswerTask
from lens_steer.benchmark import AnswerBias, shortest_answer
from lens_steer.data import Questions
from lens_steer.evaluation import (
    AnswerLikelihoods,
    BinaryScores,
    ChoiceScores,
    choices_kl,
    letter_bias,
)
from lens_steer.intervals import Interval, interval


def log_odds(found: AnswerLikelihoods) -> Float[Tensor, " question"]:
    """How much likelier all right choices of each question are together than all wrong ones, nats.

    With one right and one wrong choice it is the margin between them.
    """
    scores = found.scores(0)
    right = scores.log_probs.masked_fill(~scores.correct, -torch.inf).logsumexp(dim=1)
    wrong = scores.log_probs.masked_fill(scores.correct, -torch.inf).logsumexp(dim=1)
    return right - wrong


def scored(
    task: AnswerTask,
    row: Mapping[str, Any],
    test: Questions,
    dev: Questions,
    lengths: Sequence[Sequence[int]],
) -> dict[str, float]:
    """Every score of one reading.

    Args:
        task: The task.
        row: What a journal keeps of the reading, with `answers`, and where they were read
            `dev_answers` and `prior`.
        test: The questions of `answers`.
        dev: Those of `dev_answers`.
        lengths: The tokens of every choice of `test`.
    """
    found = likelihoods(test, row["answers"], lengths)
    scores = found.scores(0)
    numbers = {
        "mc1": scores.mc1.mean().item(),
        "mc2": scores.mc2.mean().item(),
        "log_odds": log_odds(found).mean().item(),
        "mc1_per_token": scores.per_token.mc1.mean().item(),
        "mc1_per_character": scores.per_character.mc1.mean().item(),
        "mc2_per_token": scores.per_token.mc2.mean().item(),
    }
    if task.answers is None or bool(found.failed.any()):
        return numbers
    numbers |= _of_two(task.answers, found)
    if "dev_answers" in row:
        of_dev = likelihoods(dev, row["dev_answers"], [[1, 1]] * len(dev))
        if not bool(of_dev.failed.any()):
            numbers |= _with_bias(found, of_dev)
    if "prior" in row:
        [prior] = row["prior"]
        numbers |= _less_prior(found, prior)
    return numbers | (_over_orders(scores) if task.lettered else {})


def shortest(test: Questions, lengths: Sequence[Sequence[int]]) -> dict[str, float]:
    """What the shortest answer reaches, in tokens: MC1, ties not being right."""
    zeros = [[0.0] * len(row) for row in lengths]
    found = shortest_answer(likelihoods(test, zeros, lengths))
    return {"mc1": found.scores(0).mc1.mean().item()}


def _of_two(answers: tuple[str, str], found: AnswerLikelihoods) -> dict[str, float]:
    items = list(found.questions)
    binary = BinaryScores.of(
        found.rows(0), [q.correct for q in items], [q.choices for q in items], answers
    )
    return {
        "auc": binary.auc,
        "mass": binary.mass.mean().item(),
        "first_share": binary.first_share,
    }


def _with_bias(found: AnswerLikelihoods, of_dev: AnswerLikelihoods) -> dict[str, float]:
    """Accuracy with one number added to the log-odds, fitted to dev under the same method."""
    bias = AnswerBias.fit(of_dev)
    biased = bias.apply(found).scores(0)
    values = dict(zip(bias.answers, bias.values.tolist(), strict=True))
    first, second = found.questions[0].choices
    return {
        "mc1_with_bias": biased.mc1.mean().item(),
        "bias": values[first] - values[second],
    }


def _less_prior(found: AnswerLikelihoods, prior: Sequence[float]) -> dict[str, float]:
    """Log-odds of the words without a question, and accuracy when they are taken off."""
    less = replace(found, nats=found.nats - torch.tensor(prior).double())
    # Scores want log-probabilities: what is added to both answers changes nothing.
    below = replace(less, nats=less.nats - less.nats.amax().clamp(min=0))
    return {
        "prior": prior[0] - prior[1],
        "mc1_less_prior": below.scores(0).mc1.mean().item(),
    }


def _over_orders(scores: ChoiceScores) -> dict[str, float]:
    """What the letters themselves are worth, and accuracy when both orders are averaged."""
    first, swapped = scores.log_probs[0::2], scores.log_probs[1::2].flip(-1)
    margins = (first + swapped) / 2
    right = scores.correct[0::2]
    correct = margins.masked_fill(~right, 0).sum(1) > margins.masked_fill(right, 0).sum(1)
    return {
        "letter_bias": letter_bias(first, swapped).mean().item(),
        "mc1_over_orders": correct.double().mean().item(),
    }


def nats_on_task(row: Mapping[str, Any], plain: Mapping[str, Any]) -> float:
    """KL(steered || unsteered) between the distributions over the choices, mean over questions."""
    both = zip(row["answers"], plain["answers"], strict=True)
    values = [choices_kl(torch.tensor(p), torch.tensor(q)) for p, q in both]
    return sum(values) / len(values)


def moved(
    asked: Sequence[Questions], references: Sequence[Sequence[Mapping[str, Any]]], *, seed: int
) -> dict[str, Interval]:
    """By how many nats words, and the learned vector at the largest cost, move the right answers.

    Both are in no contrast. A task counts where one of them raises the log-odds of the right
    choices on the test items of all folds, its whole 95 % interval above 0.

    Args:
        asked: The test questions of each fold.
        references: The rows of each fold's references.
        seed: Of the intervals.
    """
    found: dict[str, Interval] = {}
    for name in ("prompting", "learned"):
        changes, groups = [], []
        for test, rows in zip(asked, references, strict=True):
            plain = next(row for row in rows if row["method"] == "unsteered")
            for row in rows:
                if row["method"] == name and row.get("nats", GATE_AT) == GATE_AT:
                    if "answers" not in row:
                        continue
                    changes.append(_change(test, row, plain))
                    groups += [question.group for question in test]
        if len(changes) == len(asked):
            found[name] = interval(torch.cat(changes), groups, seed=seed)
    return found


def _change(
    test: Questions, row: Mapping[str, Any], plain: Mapping[str, Any]
) -> Float[Tensor, " question"]:
    after, before = (likelihoods(test, r["answers"], plain["lengths"]) for r in (row, plain))
    return log_odds(after) - log_odds(before)
