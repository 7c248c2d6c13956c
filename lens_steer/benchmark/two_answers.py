"""Questions that all have the same two answers, such as Yes and No: one score for each question."""

from collections.abc import Sequence
from dataclasses import replace

from lens_steer.data import Questions
from lens_steer.evaluation import AnswerLikelihoods, AnswerThreshold, BinaryScores


def answers_of(questions: Questions) -> tuple[str, str] | None:
    """The two answers of all questions, in the order of the first; None where there are others."""
    found = {tuple(sorted(question.choices)) for question in questions}
    right = all(sum(question.correct) == 1 for question in questions)
    both = [answers for answers in found if len(answers) == 2]
    if len(found) != 1 or not both or not right:
        return None
    if len({question.right for question in questions}) < 2:
        return None  # one answer is always right: there is nothing to tell apart
    first = next(iter(questions)).choices
    return first[0], first[1]


def binary_scores(
    found: AnswerLikelihoods, setting: int, answers: tuple[str, str], seed: int = 0
) -> BinaryScores:
    """The scores of one setting, by how much likelier the first of two answers is."""
    items = list(found.questions)
    return BinaryScores.of(
        found.rows(setting),
        [question.correct for question in items],
        [question.choices for question in items],
        answers,
        groups=[question.group for question in items],
        seed=seed,
    )


def fitted_threshold(
    found: AnswerLikelihoods, setting: int, answers: tuple[str, str]
) -> list[float]:
    """The log-odds above which the first answer is taken, and the accuracy where it was fitted.

    Empty where the questions have other answers, only one of them right, or one has failed.
    """
    of_found = answers_of(found.questions)
    same = of_found is not None and set(of_found) == set(answers)
    if not same or bool(found.failed[setting].any()):
        return []
    scores = binary_scores(found, setting, answers)
    threshold = AnswerThreshold.fit(scores.log_odds, scores.labels)
    return [threshold.value, threshold.fitted_accuracy]


def two_answer_scores(
    rows: Sequence[AnswerLikelihoods], thresholds: Sequence[Sequence[float] | None], seed: int
) -> tuple[BinaryScores, ...]:
    """The scores of every row, each of one setting; none where the questions have other answers.

    Args:
        rows: The likelihoods.
        thresholds: What `fitted_threshold` gave for each; None or nothing leaves it at 0.
        seed: Of the intervals.
    """
    answers = answers_of(rows[0].questions)
    if answers is None:
        return ()
    scores = [binary_scores(found, 0, answers, seed) for found in rows]
    return tuple(
        one.with_threshold(AnswerThreshold(*fitted)) if fitted else replace(one)
        for one, fitted in zip(scores, thresholds, strict=True)
    )
