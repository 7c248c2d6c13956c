"""One text with its prompt, and how such examples are read from rows and written as rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from lens_steer.arguments import Accepts, ArgumentError, NotBlank, shortened
from lens_steer.data.records import SIDES, Row, as_row
from lens_steer.data.templates import Template
from lens_steer.models import Message, Prompt, as_prompt
from lens_steer.reports import short_repr


@dataclass(frozen=True)
class Example:
    """A prompt with one continuation.

    Attributes:
        prompt: Text (may be empty), or a chat.
        continuation: What follows the prompt; a leading space belongs here.
        group: Examples of one group are never split apart. Empty: the prompt is the group.

    Example:
        >>> Example("The film was", " great", group="films")
    """

    prompt: Annotated[Prompt, Accepts(str | Sequence[Message | Mapping[str, str]])]
    continuation: NotBlank
    group: str = ""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", as_prompt(self.prompt))

    def cluster(self, otherwise: str) -> str:
        """What it belongs to: its group, else its prompt, else `otherwise` without either.

        Examples of one cluster are drawn and left out together by intervals and folds. A chat is
        named by its messages, one to a line.
        """
        prompt = self.prompt
        if not isinstance(prompt, str):
            prompt = "\n".join(f"{message.role}: {message.content}" for message in prompt)
        return self.group or prompt or otherwise


Sides = tuple[tuple[Example, ...], tuple[Example, ...]]  # desired, undesired


def check_sides(desired: Sequence[Example], undesired: Sequence[Example], *, paired: bool) -> None:
    """Raise a ValueError if a side is empty, or two examples of a pair do not belong together."""
    counts = f"{len(desired)} desired and {len(undesired)} undesired"
    if not desired or not undesired:
        raise ValueError(f"got {counts} examples, expected at least one of either")
    if not paired:
        return
    if len(desired) != len(undesired):
        raise ValueError(f"got {counts} examples, expected as many: pass paired=False")
    for i, (d, u) in enumerate(zip(desired, undesired, strict=True)):
        if (d.prompt, d.group) != (u.prompt, u.group):
            raise ValueError(f"pair {i} has two prompts or groups: expected one, or paired=False")
        if d.continuation == u.continuation:
            raise ValueError(
                f"pair {i} has {shortened(d.continuation)} on both sides: nothing differs"
            )


@dataclass(frozen=True)
class ExamplesOfRows:
    """The examples in some rows.

    Attributes:
        desired: Examples that show the behaviour.
        undesired: Examples that do not.
        paired: False if the rows were single texts with a label, which have no partner.
        left_out: How many answers were left out, because the lists of both sides have them.
    """

    desired: tuple[Example, ...]
    undesired: tuple[Example, ...]
    paired: bool
    left_out: int


def read_rows(
    rows: Iterable[tuple[str, Any]], name: str, *, paired: bool, template: Template | None = None
) -> ExamplesOfRows:
    """The examples in some rows.

    Args:
        rows: `(place, row)`; the place is named in errors.
        name: What the rows are called in errors.
        paired: Whether lists of answers become pairs, as far as the shorter one goes.
        template: How prompts and answers are written; None takes them as they are.

    Raises:
        ValueError: If a row is broken, or some rows are labelled and others are not.
    """
    sides: dict[str, list[Example]] = {side: [] for side in SIDES}
    labelled, left_out = set(), 0
    for place, columns in rows:
        try:
            row = as_row(columns, paired=paired)
            for side, texts in row.texts.items():
                sides[side] += [_example(row, text, template) for text in texts]
        except ArgumentError as error:
            raise ValueError(f"{place}: {error.of_argument}") from error
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        labelled.add(row.labelled)
        left_out += row.left_out
    if len(labelled) > 1:
        raise ValueError(f"{name} mixes rows with 'desired' and rows with 'label': use one form")
    desired, undesired = (tuple(sides[side]) for side in SIDES)
    return ExamplesOfRows(desired, undesired, paired and True not in labelled, left_out)


def _example(row: Row, text: Any, template: Template | None) -> Example:
    if template is None:
        return Example(row.prompt, text, row.group)
    if not isinstance(row.prompt, str) or not row.prompt.strip():
        raise ValueError(
            f"got the prompt {shortened(row.prompt)} for the template {template.name!r}, expected "
            "a text that is not blank: leave template out"
        )
    text = Example(row.prompt, text, row.group).continuation  # checked
    return Example(template.prompt(row.prompt), template.answer(row.prompt, text), row.group)


def as_records(
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
    """The prompt, the texts and the group, by column."""
    chat = example.prompt if not isinstance(example.prompt, str) else ()
    prompt = {"messages": [asdict(m) for m in chat]} if chat else {"prompt": example.prompt}
    return {**prompt, **texts, "group": example.group}
