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
    """Which texts are tracked, from which of their tokens on, and what belongs together.

    Attributes:
        encoded: The tokens of every text, with those that are followed; `prompt_length` counts the
            tokens up to and including the one at which steering begins.
        groups: The group of each text.
        classes: `desired` or `undesired` for examples of pairs, `text` for other texts.
    """

    encoded: tuple[Encoded, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, model: SteerableModel, texts: Texts, read_position: ReadPosition) -> "TrackedTexts":
        """Texts up to the token that `capture` reads; of pairs both sides, the desired first.

        Raises:
            ValueError: If there is no text, one is empty or too long, or `read_position` is no
                single token.
        """
        paired = isinstance(texts, ContrastivePairs)
        examples = (*texts.desired, *texts.undesired) if paired else texts
        rows = token_rows(model, examples, read_position)
        groups = texts.example_groups if paired else _groups(texts)
        classes = ("text",) * len(examples)
        if paired:
            classes = ("desired",) * len(texts.desired) + ("undesired",) * len(texts.undesired)
        return cls(tuple(Encoded(row, len(row)) for row in rows), groups, classes)

    def continued(self, model: SteerableModel, decoding: Decoding) -> "TrackedTexts":
        """The texts with what the unsteered model writes next.

        Raises:
            ValueError: If a text with so many more tokens does not fit the context.
        """
        ids, tokens = [row.ids for row in self.encoded], decoding.max_new_tokens
        for row in ids:
            check_fits(model, len(row) + tokens, f"a text and {tokens} more")
        unsteered = replace(decoding, scope="last")  # explicit positions may lie behind the end
        new_tokens = continuations(model, ids, decoding=unsteered)
        longer = [Encoded((*row, *new), len(row)) for row, new in zip(ids, new_tokens, strict=True)]
        return replace(self, encoded=tuple(longer))


def _groups(texts: Sequence[str] | Sequence[Example]) -> tuple[str, ...]:
    """An example's group, or its prompt; a text without either is a group by itself."""
    alone = [f"text {i}" for i in range(len(texts))]
    pairs = zip(texts, alone, strict=True)
    return tuple(t.cluster(name) if isinstance(t, Example) else name for t, name in pairs)
