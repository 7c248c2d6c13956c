"""Which tokens of an example are read: `span` finds them, `show_read_positions` prints them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from lens_steer.data import ContrastivePairs, Example, as_pairs
from lens_steer.models import Encoded, SteerableModel, encode, token_texts

ReadPosition = Literal["last", "mean", "prompt_last"] | int


def span(row: Encoded, position: ReadPosition) -> range:
    """The positions of a row that are read: their activations are averaged.

    `last` is the continuation's last token, `mean` all of the continuation, `prompt_last` the
    prompt's last token, a number that position (the row's first token is 0; negative counts from
    its end).

    Raises:
        ValueError: If the row has no such position, or `position` is none of these.
    """
    length = len(row.ids)
    if position == "mean":
        return range(row.prompt_length, length)
    if position == "last":
        return range(length - 1, length)
    if position == "prompt_last":
        if row.prompt_length == 0:
            raise ValueError(
                "read position 'prompt_last': an example has no prompt; use 'last' or 'mean'"
            )
        return range(row.prompt_length - 1, row.prompt_length)
    if isinstance(position, str) or not isinstance(position, int):
        raise ValueError(
            f"read position {position!r}: expected 'last', 'mean', 'prompt_last' or a number"
        )
    index = position if position >= 0 else length + position
    if not 0 <= index < length:
        raise ValueError(f"read position {position}: an example has only {length} tokens")
    return range(index, index + 1)


@dataclass(frozen=True)
class ReadPreview:
    """One example as it is read.

    Attributes:
        tokens: The text of each token.
        prompt_length: Tokens of the prompt; the rest is the continuation.
        read: Positions whose activations are averaged.
    """

    tokens: tuple[str, ...]
    prompt_length: int
    read: tuple[int, ...]

    def __str__(self) -> str:
        texts = [repr(token)[1:-1] for token in self.tokens]
        marked = [f"[{text}]" if i in self.read else text for i, text in enumerate(texts)]
        prompt, continuation = marked[: self.prompt_length], marked[self.prompt_length :]
        return "|".join(prompt) + " >> " + "|".join(continuation)


def show_read_positions(
    model: SteerableModel,
    examples: ContrastivePairs | Iterable[Any],
    read: ReadPosition = "last",
) -> list[ReadPreview]:
    """Each example's tokens, and which of them `capture` reads.

    Args:
        examples: Examples; or pairs, or a list of tuples as `ContrastivePairs.of` takes them, of
            which the desired examples come first.
        read: As in `capture`.

    Raises:
        ValueError: If there is no such position in an example, it does not fit the context, or the
            tuples are broken.

    Example:
        >>> pairs = ls.ContrastivePairs.of([("The film was", " good.", " bad.")])
        >>> print(ls.activations.show_read_positions(model, pairs)[0])
        The| film| was >>  good|[.]
    """
    listed = examples if isinstance(examples, ContrastivePairs | str) else list(examples)
    if isinstance(listed, list) and all(isinstance(item, Example) for item in listed):
        chosen = listed
    else:
        pairs = as_pairs(listed)
        chosen = [*pairs.desired, *pairs.undesired]
    rows = [encode(model, example.prompt, example.continuation) for example in chosen]
    return [
        ReadPreview(tuple(token_texts(model, row.ids)), row.prompt_length, tuple(span(row, read)))
        for row in rows
    ]
