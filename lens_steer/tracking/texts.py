"""Which texts are tracked, from which of their tokens on, and what belongs together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lens_steer.activations import ReadPosition
from lens_steer.data import ContrastivePairs, Example
from lens_steer.linearity import Texts, token_rows
from lens_steer.models import Encoded, SteerableModel, check_fits
from lens_steer.steering import Decoding, continuations


@dataclass(frozen=True)
class TrackedTexts:
    """Tokens of texts; `prompt_length` counts those up to the one at which steering begins.

    Attributes:
        encoded: Of every text, what is followed of it included.
        groups: What belongs together.
        classes: `desired` or `undesired` of pairs, `text` of others.
    """

    encoded: tuple[Encoded, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, model: SteerableModel, texts: Texts, read: ReadPosition) -> "TrackedTexts":
        """Up to the token that `capture` reads; of pairs both sides, the desired first.

        Raises:
            ValueError: If there is no text, one is empty or too long, or `read` is no single token.
        """
        paired = isinstance(texts, ContrastivePairs)
        each = (*texts.desired, *texts.undesired) if paired else texts
        rows = token_rows(model, each, read)
        groups = texts.groups * 2 if paired and texts.paired else _groups(each)
        classes = ("text",) * len(each)
        if paired:
            classes = ("desired",) * len(texts.desired) + ("undesired",) * len(texts.undesired)
        return cls(tuple(Encoded(row, len(row)) for row in rows), groups, classes)

    def continued(self, model: SteerableModel, tokens: int, decoding: Decoding) -> "TrackedTexts":
        """With what the unsteered model writes next.

        Raises:
            ValueError: If a text with so many more tokens does not fit the context.
        """
        if tokens < 0:
            raise ValueError(f"max_new_tokens {tokens}: expected 0 or more")
        if tokens == 0:
            return self
        ids = [row.ids for row in self.encoded]
        for row in ids:
            check_fits(model, len(row) + tokens, f"a text and {tokens} more")
        found = continuations(model, ids, decoding=replace(decoding, max_new_tokens=tokens))
        longer = [Encoded((*row, *new), len(row)) for row, new in zip(ids, found, strict=True)]
        return replace(self, encoded=tuple(longer))


def _groups(texts: Sequence[str] | Sequence[Example]) -> tuple[str, ...]:
    """An example's group, or its prompt; a text without one is by itself."""
    keys = [(t.group or t.prompt) if isinstance(t, Example) else "" for t in texts]
    return tuple(str(key or f"text {i}") for i, key in enumerate(keys))
