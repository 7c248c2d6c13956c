"""Texts of one kind as contrastive pairs, made from frames that are filled in."""

from dataclasses import dataclass

from lens_steer.data import ContrastivePairs
from lens_steer.models import Message, Prompt


@dataclass(frozen=True)
class Frame:
    """Pairs of texts that differ from each other in their filling alone: they are one group.

    Both sides of a pair end in the same token, so that what tells them apart at the last token was
    brought there by the blocks.

    Attributes:
        opening: What both sides begin with; of a chat, the request. `{x}` is where a filling goes.
        desired: How the text of the desired class goes on.
        undesired: How that of the other class does.
        fillings: One for each pair.
    """

    opening: str
    desired: str
    undesired: str
    fillings: tuple[str, ...]

    def filled(self) -> list[tuple[str, str, str]]:
        """(opening, desired, undesired) of every pair."""
        # not str.format: code has braces of its own
        return [
            (
                self.opening.replace("{x}", x),
                self.desired.replace("{x}", x),
                self.undesired.replace("{x}", x),
            )
            for x in self.fillings
        ]


@dataclass(frozen=True)
class TextKind:
    """The texts of one kind.

    Attributes:
        name: In tables.
        desired: What the desired class is, in words.
        undesired: What the other class is.
        frames: The groups.
        chats: Whether openings are requests and the rest is the beginning of an answer.
    """

    name: str
    desired: str
    undesired: str
    frames: tuple[Frame, ...]
    chats: bool = False

    def pairs(self, *, template: bool) -> ContrastivePairs:
        """All pairs; a frame is a group.

        Args:
            template: Whether the model has a chat template. Without one a request and its answer
                are written as text, "User: ... Assistant: ..." on two lines; nothing else changes.
        """
        rows = []
        for i, frame in enumerate(self.frames):
            for opening, desired, undesired in frame.filled():
                prompt: Prompt = opening
                sides = (desired, undesired)
                if self.chats and template:
                    prompt = (Message("user", opening),)
                elif self.chats:
                    prompt = f"User: {opening}\nAssistant:"
                    sides = (f" {desired}", f" {undesired}")
                rows.append((prompt, *sides, f"{self.name} {i}"))
        return ContrastivePairs.of(rows, name=self.name)
