"""Which questions enter, in which couples, and with which letters."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from lens_steer.data import Question, Questions, without_near_duplicates

_LETTERED = re.compile(r"(.*\n \(A\) )(.*?)(\n \(B\) )(.*?)((?:\n\nAnswer:)?)", re.DOTALL)
_LETTERS = (" (A)", " (B)")
_UNLIKE = Question("(like none)", (" yes", " no"), (True, False))


def alone(questions: Questions, n: int, *, seed: int) -> list[Question]:
    """At most `n` questions, each a group by itself."""
    return [
        replace(question, group=f"question {i}")
        for i, question in enumerate(_distinct(_shuffled(questions, seed), n))
    ]


def in_couples(questions: Questions, n: int, *, seed: int) -> list[Question]:
    """At most `n` questions of the same two answers, as many of which are right either way.

    Groups are couples, one of each answer: dev, folds and what is fitted to are then balanced.
    """
    drawn = _shuffled(questions, seed)
    first = questions[0].choices[0]
    sides = [[q for q in drawn if (q.right == first) is of] for of in (True, False)]
    kept: list[Question] = []
    for couple in zip(*sides, strict=False):
        if len(kept) >= n // 2 * 2:
            break
        if not any(_repeats(q, [*kept, *couple[:k]]) for k, q in enumerate(couple)):
            kept += couple
    return [replace(q, group=f"couple {i // 2}") for i, q in enumerate(kept)]


def in_both_orders(questions: Questions, n: int, *, seed: int) -> list[Question]:
    """At most `n` questions: half as many of the letters A and B, each in both orders, a group.

    A question comes as it is published and, right after it, with what stands behind the letters
    exchanged. Those with other letters are left out.
    """
    of_two = [q for q in _shuffled(questions, seed) if _parsed(q) is not None]
    return [
        replace(order, group=f"question {i}")
        for i, question in enumerate(_distinct(of_two, n // 2))
        for order in (question, exchanged(question))
    ]


def exchanged(question: Question) -> Question:
    """The same question with what stands behind the letters A and B exchanged.

    Raises:
        ValueError: If it has other letters.
    """
    parts = _parsed(question)
    if parts is None:
        raise ValueError(
            f"got the choices {question.choices} of {str(question.prompt)[:60]!r}, expected a "
            "question that lists (A) and (B) and nothing else"
        )
    before, a, between, b, after = parts
    prompt = f"{before}{b}{between}{a}{after}"
    return replace(question, prompt=prompt, correct=question.correct[::-1])


def _parsed(question: Question) -> Sequence[str] | None:
    prompt = question.prompt
    if not isinstance(prompt, str) or question.choices != _LETTERS or "\n (C) " in prompt:
        return None
    found = _LETTERED.fullmatch(prompt)
    return None if found is None else found.groups()


def _shuffled(questions: Questions, seed: int) -> list[Question]:
    order = np.random.default_rng(seed).permutation(len(questions))
    return [questions[int(i)] for i in order]


def _distinct(questions: Iterable[Question], n: int) -> list[Question]:
    """The first `n` that share no five words in a row with one before them."""
    kept: list[Question] = []
    for question in questions:
        if len(kept) == n:
            break
        if not _repeats(question, kept):
            kept.append(question)
    return kept


def _repeats(question: Question, kept: Sequence[Question]) -> bool:
    """Whether a question shares five words in a row with one that was taken."""
    if not kept:
        return False
    # Of a part something has to remain: a question that is like none does.
    parts = without_near_duplicates(Questions(tuple(kept)), Questions((question, _UNLIKE)))
    return len(parts.parts[1]) == 1
