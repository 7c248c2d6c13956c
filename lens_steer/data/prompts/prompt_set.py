"""A set of prompts: a sequence that remembers groups and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from lens_steer.arguments import Accepts, Count, Seed, shortened
from lens_steer.data.left_out import left_out_in_words
from lens_steer.data.splits import split_numbers, ties_of_prompt
from lens_steer.models import Prompt, as_prompt


@dataclass(frozen=True, repr=False)
class Prompts(Sequence[Prompt]):
    """Prompts, one or more, each a text that is not blank or a chat.

    It is a sequence: `ls.generate` and all that takes a list of prompts takes it as it is.

    Attributes:
        items: The prompts.
        groups: What each belongs to, for splits; empty where one stands alone. `()` for none.
        name: What the set is called in reports.
        left_out: How many rows of a file were left out, by reason; `left_out.rows` names them.

    Example:
        >>> Prompts(["Tell me a story.", "What is rain?"])
        Prompts(prompts: 2)
    """

    items: Annotated[tuple[Prompt, ...], Accepts(Sequence[Any])]
    groups: Annotated[tuple[str, ...], Accepts(Sequence[str])] = ()
    name: str = "prompts"
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(map(as_prompt, self.items)))
        object.__setattr__(self, "groups", tuple(self.groups) or ("",) * len(self.items))
        if not self.items:
            raise ValueError("got no items, expected at least one prompt")
        for i, prompt in enumerate(self.items):
            if isinstance(prompt, str) and not prompt.strip():
                raise ValueError(f"prompt {i} is {shortened(prompt)}, expected one not blank")
        if len(self.groups) != len(self.items):
            raise ValueError(
                f"got {len(self.groups)} groups for {len(self.items)} prompts, expected one for "
                "each, or none"
            )

    def __len__(self) -> int:
        return len(self.items)

    # Overloads would say that a slice is a tuple; a list of prompts is all that callers need.
    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __repr__(self) -> str:
        return f"Prompts({self.name}: {len(self)}{left_out_in_words(self.left_out)})"

    def first(self, n: Count) -> "Prompts":
        """The first `n` prompts, or all where there are fewer."""
        return self._part(range(min(n, len(self))))

    def split(self, *fractions: float, seed: Seed) -> tuple["Prompts", ...]:
        """Split the set at random; equal prompts, and those of one group, stay together.

        Args:
            fractions: About the share of each part, positive and adding up to 1: `0.6, 0.2, 0.2`.
            seed: Of the shuffle.

        Raises:
            ValueError: If the fractions do not add up, or a part would be without a prompt.
        """
        ties = [ties_of_prompt(p, group) for p, group in zip(self.items, self.groups, strict=True)]
        return tuple(map(self._part, split_numbers(ties, fractions, seed, "prompts")))

    def _part(self, numbers: Sequence[int]) -> "Prompts":
        groups = tuple(self.groups[i] for i in numbers)
        return Prompts(tuple(self.items[i] for i in numbers), groups, self.name)
