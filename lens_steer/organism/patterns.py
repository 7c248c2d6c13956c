"""Grammars written as text, such as `the {part} (was|felt) (very|) {adjective}.`."""

import re
from collections.abc import Callable, Mapping, Sequence

from lens_steer.organism.machine import Node, Word, sequence, uniform

_WORDS = re.compile(r"[^\s.,:]+|[.,:]")
_PIECES = re.compile(r"\((?P<options>[^()]*)\)|\{(?P<slot>\w+)\}|(?P<word>[^\s.,:(){}]+|[.,:])")


def pattern(
    text: str,
    slots: Mapping[str, Sequence[str]],
    either: Callable[[Sequence[Node]], Node] = uniform,
) -> Node:
    """The grammar of the texts that a pattern stands for.

    Args:
        text: Words; `(a|b|)` stands for `a`, `b` or nothing, and `{name}` for one of `slots[name]`.
        slots: The words of each slot, all as likely.
        either: Makes a choice of the options of `(a|b|)`; by default all are as likely.
    """
    parts: list[Node] = []
    for piece in _PIECES.finditer(text):
        if piece["options"] is not None:
            parts.append(either([pattern(option, slots) for option in piece["options"].split("|")]))
        elif piece["slot"] is not None:
            parts.append(uniform(Word(word) for word in slots[piece["slot"]]))
        else:
            parts.append(Word(piece["word"]))
    return parts[0] if len(parts) == 1 else sequence(*parts)


def words_in(text: str) -> list[str]:
    """The words of a text; full stops, commas and colons are words."""
    return _WORDS.findall(text)


def text_of(words: Sequence[str]) -> str:
    """Words as a text, with no space before full stops, commas and colons."""
    return re.sub(r" (?=[.,:])", "", " ".join(words))
