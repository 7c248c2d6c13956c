"""Texts with their tokens in colour: by nats paid, or by what steering did to each token's odds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lens_steer.evaluation.generated_text import GeneratedText
from lens_steer.token_colours import (
    BLUE,
    ORANGE,
    RED,
    Colour,
    html_block,
    html_note,
    html_prompt,
    html_tokens,
    terminal_tokens,
    visible,
)


@dataclass(frozen=True)
class Colouring:
    """What the colours of tokens say.

    Attributes:
        legend: What they mean, in one line.
        values: Of each token of a text, in nats: 1 has two thirds of the full colour.
        colour: Which colour a value has.
    """

    legend: str
    values: Callable[[GeneratedText], list[float]]
    colour: Callable[[float], Colour]


BY_NATS = Colouring(
    "red: nats paid, KL(steered || unsteered)", lambda row: row.nats.tolist(), lambda _: RED
)
BY_CHANGE = Colouring(
    "orange: steering made the token likelier, blue: less likely",
    lambda row: row.log_prob_changes.tolist(),
    lambda change: ORANGE if change > 0 else BLUE,
)


def html_texts(rows: Sequence[GeneratedText], colouring: Colouring, heading: str, most: int) -> str:
    """Prompts and their texts, for a notebook.

    Args:
        rows: The texts.
        colouring: Of their tokens.
        heading: Above them.
        most: How many to show.
    """
    blocks = [html_block(html_note(f"{heading}; {colouring.legend}"))]
    for i, row in enumerate(rows[:most]):
        note = html_note(f"[{i}] {closing(row)}")
        blocks.append(html_block(html_prompt(row.prompt) + html_text(row, colouring), note))
    if len(rows) > most:
        blocks.append(html_block(html_note(f"... {len(rows) - most} more texts")))
    return '<div style="display:grid;gap:.7em">' + "".join(blocks) + "</div>"


def html_text(row: GeneratedText, colouring: Colouring) -> str:
    """The tokens of one text, each with its numbers as a note."""
    values = colouring.values(row)
    return html_tokens(row.tokens, values, list(map(colouring.colour, values)), row.notes())


def terminal_texts(rows: Sequence[GeneratedText], colouring: Colouring, heading: str) -> str:
    """Prompts and their texts with escape sequences for colours."""
    lines = [f"{heading}; {colouring.legend}"]
    for i, row in enumerate(rows):
        lines += [f"[{i}] {visible(row.prompt)}", f"    {terminal_text(row, colouring)}"]
        lines.append(f"    {closing(row)}")
    return "\n".join(lines)


def terminal_text(row: GeneratedText, colouring: Colouring) -> str:
    """The tokens of one text with escape sequences for colours."""
    values = colouring.values(row)
    return terminal_tokens(row.tokens, values, list(map(colouring.colour, values)))


def closing(row: GeneratedText) -> str:
    """How long a text is, what it cost, and why it ended."""
    tokens = "1 token" if len(row.tokens) == 1 else f"{len(row.tokens)} tokens"
    return f"{tokens}, {row.nats_per_token:.3g} nats per token, {row.stop_reason}"
