"""Tokens in colour: HTML for notebooks, escape sequences for terminals; both escape the text."""

import unicodedata
from collections.abc import Sequence
from html import escape
from math import exp

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255

RED, ORANGE, BLUE = (220, 50, 47), (230, 126, 0), (38, 120, 220)
_FAINTEST = 0.01  # opacity, below which nothing is seen
_STRONGEST = 0.6  # opacity: letters in black and in white can be read on it
# Of the 256 colours of terminals, from weak to strong; the letters are black on them.
_SHADES = {RED: (224, 217, 210, 203), ORANGE: (230, 223, 215, 208), BLUE: (195, 153, 117, 75)}
_JOINERS = "\u200c\u200d"  # stand inside words and emoji


def visible(text: str) -> str:
    """A text in which every line break and control character shows, such as those of terminals.

    Characters that turn the direction of writing are among them.
    """
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cf") and c not in _JOINERS else c
        for c in text
    )


def strength(value: float) -> float:
    """How strong the colour of so many nats is: 1 - exp(-|nats|), the same in every text.

    0 is no colour, 0.1 nats are a tenth, 1 nat two thirds of the full colour; NaN is none.
    """
    return 1 - exp(-abs(value)) if value == value else 0.0


def html_tokens(
    tokens: Sequence[str],
    values: Sequence[float],
    colours: Sequence[Colour],
    notes: Sequence[str],
) -> str:
    """Spans of tokens, coloured behind the letters; what a pointer rests on shows its note."""
    spans = []
    for token, value, (red, green, blue), note in zip(tokens, values, colours, notes, strict=True):
        opacity = _STRONGEST * strength(value)
        style = f' style="background:rgba({red},{green},{blue},{opacity:.2f})"'
        spans.append(
            f'<span{style if opacity >= _FAINTEST else ""} title="{escape(visible(note))}">'
            f"{escape(_shown(token))}</span>"
        )
    return "".join(spans)


def terminal_tokens(
    tokens: Sequence[str], values: Sequence[float], colours: Sequence[Colour]
) -> str:
    """The same for a terminal of 256 colours; what colours nothing stays as it is."""
    parts = []
    for token, value, colour in zip(tokens, values, colours, strict=True):
        shades = _SHADES[colour]
        level = int(strength(value) * (len(shades) + 1))
        text = visible(token)
        shade = shades[min(level, len(shades)) - 1]
        parts.append(f"\x1b[30;48;5;{shade}m{text}\x1b[0m" if level else text)
    return "".join(parts)


def html_prompt(prompt: str, most: int = 300) -> str:
    """The end of a prompt, paler than what follows it."""
    shown = prompt if len(prompt) <= most else "\u2026" + prompt[-most:]
    return f'<span style="opacity:.65">{escape(_broken(shown))}</span>'


def html_block(*lines: str) -> str:
    """Lines of HTML that keep their spaces and line breaks."""
    inner = "".join(f"<div>{line}</div>" for line in lines)
    style = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;line-height:1.5"
    return f'<div style="{style}">{inner}</div>'


def html_note(text: str) -> str:
    """A small line beside the text."""
    return f'<span style="opacity:.65;font-size:85%">{escape(visible(text))}</span>'


def _shown(token: str) -> str:
    """A token as it stands in HTML: there is something to rest the pointer on."""
    return _broken(token) or "\u00b7"


def _broken(text: str) -> str:
    """`visible`, but line breaks also break the line."""
    return "\u21b5\n".join(map(visible, text.split("\n")))
