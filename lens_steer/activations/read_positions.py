"""Which tokens of an example are read: `span` finds them, `show_read_positions` prints them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lens_steer.data import ContrastivePairs, Example, as_pairs
from lens_steer.models import (
    Encoded,
    SteerableModel,
    batches,
    clean_sinks,
    encode,
    pad,
    token_texts,
)
from lens_steer.reports import WIDTH, short_repr, shortened_in_the_middle

ReadPosition = Literal["last", "mean", "prompt_last"] | int

_LINES = 18  # of an example that are printed


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


def positions_read(
    model: SteerableModel,
    rows: Sequence[Encoded],
    position: ReadPosition,
    *,
    sink: bool = False,
    token_budget: int = 2048,
) -> list[tuple[int, ...]]:
    """The positions of each row that are read; a mean leaves attention sinks out, unless asked.

    A sink is one of the whole row, its continuation included, as the unsteered model reads it.

    Args:
        rows: Tokenised examples.
        position: See `span`.
        sink: Whether a mean is over sinks too.
        token_budget: Tokens of a padded batch.

    Raises:
        ValueError: As `span`; or if a mean would be over no token.
    """
    spans = [tuple(span(row, position)) for row in rows]
    if sink or position != "mean":
        return spans
    for batch in batches([len(row.ids) for row in rows], token_budget):
        tokens, mask = pad(model, [rows[i].ids for i in batch])
        for i, sinks in zip(batch, clean_sinks(model, tokens, mask).tolist(), strict=True):
            spans[i] = tuple(at for at in spans[i] if not sinks[at])
            if not spans[i]:
                text = "".join(token_texts(model, rows[i].ids[rows[i].prompt_length :]))
                raise ValueError(
                    f"read 'mean': the continuation {text[:40]!r} has no token but attention sinks "
                    "(a text's first token is one): give the example a prompt, read 'last', or "
                    "pass sink=True"
                )
    return spans


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

    __repr__ = short_repr

    def __str__(self) -> str:
        """Tokens with those that are read in brackets; of a long text both ends."""
        texts = [repr(token)[1:-1] for token in self.tokens]
        marked = [f"[{text}]" if i in self.read else text for i, text in enumerate(texts)]
        prompt, continuation = marked[: self.prompt_length], marked[self.prompt_length :]
        whole = "|".join(prompt) + " >> " + "|".join(continuation)
        return shortened_in_the_middle(whole, _LINES * WIDTH)


def show_read_positions(
    model: SteerableModel,
    examples: ContrastivePairs | Iterable[Any],
    read: ReadPosition = "last",
    *,
    sink: bool = False,
) -> list[ReadPreview]:
    """Each example's tokens, and which of them `capture` reads.

    Args:
        examples: Examples; or pairs, or a list of tuples as `ContrastivePairs.of` takes them, of
            which the desired examples come first.
        read: As in `capture`.
        sink: As in `capture`.

    Raises:
        ValueError: If there is no such position in an example, no token is left to average, it does
            not fit the context, or the tuples are broken.

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
    found = positions_read(model, rows, read, sink=sink)
    return [
        ReadPreview(tuple(token_texts(model, row.ids)), row.prompt_length, positions)
        for row, positions in zip(rows, found, strict=True)
    ]
