"""Where texts end: at a token that ends them, or before a string."""

from collections.abc import Sequence
from dataclasses import dataclass

from lens_steer.models import SteerableModel, decode_continuation, eos_ids, tokenizer_of


@dataclass(frozen=True, eq=False)
class Ending:
    """What ends the texts of a batch.

    Attributes:
        model: Whose tokenizer reads the texts.
        tokens: Those that end a text; they are no part of it.
        stop: A text ends before the first of these strings.
    """

    model: SteerableModel
    tokens: frozenset[int]
    stop: tuple[str, ...]

    @classmethod
    def of(cls, model: SteerableModel, stop: Sequence[str]) -> "Ending":
        """The tokens that end this model's texts, and what else is to end them.

        A special token may be among the strings: it is never part of a text, so that it ends one as
        a token.

        Raises:
            ValueError: If a string has a special token in it, and something else.
        """
        if not stop:
            return cls(model, frozenset(eos_ids(model)), ())
        added = tokenizer_of(model).added_tokens_decoder.items()
        special = {token.content: number for number, token in added if token.special}
        strings = tuple(text for text in stop if text not in special)
        for text in strings:
            inside = [name for name in special if name in text]
            if inside:
                raise ValueError(
                    f"the stop string {text!r} has the special token {inside[0]!r} in it, which is "
                    f"never part of a text: write stop=[{inside[0]!r}]"
                )
        ends = {special[text] for text in stop if text in special}
        return cls(model, frozenset({*eos_ids(model), *ends}), strings)

    def stops(self, prompt: Sequence[int], new: Sequence[int]) -> bool:
        """Whether what follows a prompt has one of the strings in it, however it is tokenised."""
        if not self.stop:
            return False
        text = decode_continuation(self.model, prompt, new)
        return any(string in text for string in self.stop)
