"""Making reading visible: which token of an example its activation comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from lens_steer.activations.reading import ReadPosition, span
from lens_steer.data import Example
from lens_steer.models import SteerableModel, encode, token_texts


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
        shown = [repr(token)[1:-1] for token in self.tokens]
        marked = [f"[{t}]" if i in self.read else t for i, t in enumerate(shown)]
        prompt, continuation = marked[: self.prompt_length], marked[self.prompt_length :]
        return "|".join(prompt) + " >> " + "|".join(continuation)


def show_read_positions(
    model: SteerableModel, examples: Sequence[Example], read: ReadPosition = "last"
) -> list[ReadPreview]:
    """Each example's tokens, and which of them `capture` reads.

    Raises:
        ValueError: As `capture`.
    """
    rows = [encode(model, example.prompt, example.continuation) for example in examples]
    return [
        ReadPreview(tuple(token_texts(model, row.ids)), row.prompt_length, tuple(span(row, read)))
        for row in rows
    ]
