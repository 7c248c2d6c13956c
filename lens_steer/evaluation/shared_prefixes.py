"""Continuations that begin alike, as steps in which every shared beginning is run once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What is done once continuations are known as far as some depth: read, then go on.

    A row is one distinct beginning after one prompt. The rows of step 0 are the prompts.

    Attributes:
        texts: The continuations whose next token is read off here.
        rows: The row of each of `texts`.
        next_tokens: The next token of each of `texts`.
        parents: For each row of the next step, the row of this one that it goes on from. Empty at
            the last step.
        new_tokens: The token by which it does.
    """

    texts: tuple[int, ...]
    rows: tuple[int, ...]
    next_tokens: tuple[int, ...]
    parents: tuple[int, ...]
    new_tokens: tuple[int, ...]


def steps_of(prompts: Sequence[int], texts: Sequence[Sequence[int]]) -> Iterator[Step]:
    """The steps in which texts are read, each beginning that several share being one row.

    The last token of a text is never a row of its own: nothing is read after it.

    Args:
        prompts: The number of the prompt that each text follows, from 0; none is left out.
        texts: The tokens of each text, at least one.

    Example:
        >>> [step.new_tokens for step in steps_of([0, 0], [(5, 6, 7), (5, 6, 8)])]
        [(5,), (6,), ()]
    """
    alive = list(range(len(texts)))
    row_of = {i: prompt for i, prompt in enumerate(prompts)}
    depth = 0
    while alive:
        rows = tuple(row_of[i] for i in alive)
        step_texts, next_tokens = tuple(alive), tuple(texts[i][depth] for i in alive)
        alive = [i for i in alive if len(texts[i]) > depth + 1]
        beginnings: dict[tuple[int, int], int] = {}  # the row it goes on from, and its new token
        for i in alive:
            begun = (row_of[i], texts[i][depth])
            row_of[i] = beginnings.setdefault(begun, len(beginnings))
        parents = tuple(parent for parent, _ in beginnings)
        yield Step(step_texts, rows, next_tokens, parents, tuple(token for _, token in beginnings))
        depth += 1


def most_rows(texts: Sequence[Sequence[int]]) -> int:
    """The largest number of rows of any step of texts that follow one prompt."""
    return max(1, *(len(step.parents) for step in steps_of([0] * len(texts), texts)))
