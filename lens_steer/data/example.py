"""One text with its prompt."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lens_steer.data.records import SIDES
from lens_steer.models import Prompt, as_prompt


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

    def cluster(self, otherwise: str) -> str:
        """What it belongs to: its group, else its prompt, else `otherwise` without either.

        Examples of one cluster are drawn and left out together by intervals and folds. A chat is
        named by its messages, one to a line.
        """
        prompt = self.prompt
        if not isinstance(prompt, str):
            prompt = "\n".join(f"{message.role}: {message.content}" for message in prompt)
        return self.group or prompt or otherwise


def rows_of(
    desired: Sequence[Example], undesired: Sequence[Example], *, paired: bool
) -> list[dict[str, Any]]:
    """Plain data that `load` reads back: a row for each pair, or for each text with its label."""
    if paired:
        return [
            _columns(d, desired=d.continuation, undesired=u.continuation)
            for d, u in zip(desired, undesired, strict=True)
        ]
    return [
        _columns(example, text=example.continuation, label=side)
        for side, examples in zip(SIDES, (desired, undesired), strict=True)
        for example in examples
    ]


def _columns(example: Example, **texts: str) -> dict[str, Any]:
    """The prompt, the texts that are given, and the group."""
    chat = example.prompt if not isinstance(example.prompt, str) else ()
    prompt = {"messages": [asdict(m) for m in chat]} if chat else {"prompt": example.prompt}
    return {**prompt, **texts, "group": example.group}
