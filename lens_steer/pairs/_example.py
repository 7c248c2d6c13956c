"""One text with its prompt."""

from dataclasses import asdict, dataclass
from typing import Any

from lens_steer.tokens import Prompt, as_prompt


@dataclass(frozen=True)
class Example:
    """A prompt with one continuation.

    Attributes:
        prompt: Text (may be empty), or a chat.
        continuation: What follows; a leading space belongs here.
        group: Examples of one group are never split apart. Empty: the prompt is the group.
    """

    prompt: Prompt
    continuation: str
    group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", as_prompt(self.prompt))
        if not isinstance(self.continuation, str) or not self.continuation.strip():
            raise ValueError(
                f"got the continuation {self.continuation!r}, expected text that is not blank"
            )
        if not isinstance(self.group, str):
            raise ValueError(f"got the group {self.group!r}, expected text")


def columns_of(example: Example, **texts: str) -> dict[str, Any]:
    """Plain data for a row: the prompt, the texts that are given, and the group."""
    chat = example.prompt if not isinstance(example.prompt, str) else ()
    prompt = {"messages": [asdict(m) for m in chat]} if chat else {"prompt": example.prompt}
    return {**prompt, **texts, "group": example.group}
