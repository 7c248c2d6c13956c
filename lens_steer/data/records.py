"""What the columns of a row mean, wherever it comes from: plain data in, plain data out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from lens_steer.arguments import shortened
from lens_steer.models import Prompt, as_prompt

SIDES = ("desired", "undesired")
_LISTS = ("correct_answers", "incorrect_answers")
# TruthfulQA's mc_task.json: answers with 1 (correct) or 0; only the first has all correct ones.
_TARGETS = ("mc2_targets", "mc1_targets")
_COUPLES = (
    SIDES,
    ("answer_matching_behavior", "answer_not_matching_behavior"),
    ("true", "false"),
    _LISTS,
)
COLUMNS = ("prompt", "messages", "question", "group", "text", "label", *_TARGETS) + tuple(
    name for couple in _COUPLES for name in couple
)
# The headings of TruthfulQA.csv as it is published.
_HEADINGS = {
    "Question": "question",
    "Correct Answers": "correct_answers",
    "Incorrect Answers": "incorrect_answers",
}


@dataclass(frozen=True)
class Row:
    """What one row holds.

    Attributes:
        prompt: Text, or a chat.
        group: The group, unchecked; empty if there is none.
        texts: The texts by side, unchecked; as many on either side if they are pairs.
        labelled: Whether the row is one text with its label, which has no partner.
        left_out: How many answers were left out, because the lists of both sides have them.
    """

    prompt: Prompt
    group: Any
    texts: dict[str, list[Any]]
    labelled: bool = False
    left_out: int = 0


def as_row(record: Any, *, paired: bool) -> Row:
    """What one row holds, from its columns by name.

    Answers that both of two lists have are left out of them and counted; a row may then have no
    text at all.

    Args:
        record: The columns of the row.
        paired: Whether to cut the longer of two lists to the length of the shorter.

    Raises:
        ValueError: If columns are missing, misspelt or empty, or both sides are one and the same
            text.
    """
    if not isinstance(record, Mapping):
        raise ValueError(
            f"got {shortened(record)}, expected an object with 'desired' and 'undesired'"
        )
    columns: dict[Any, Any] = {_HEADINGS.get(name, name): value for name, value in record.items()}
    check_names(columns, COLUMNS)
    prompt, space = _prompt(columns)
    group = "" if columns.get("group") is None else columns["group"]
    labelled = "label" in columns
    texts = _labelled(columns) if labelled else _answers(columns)
    texts = {side: [_after(space, text) for text in answers] for side, answers in texts.items()}
    shared = _shared(texts, listed=any(name in columns for name in (*_LISTS, *_TARGETS)))
    texts = {side: [t for t in answers if t not in shared] for side, answers in texts.items()}
    if paired and not labelled:
        shorter = min(map(len, texts.values()))
        texts = {side: answers[:shorter] for side, answers in texts.items()}
    return Row(as_prompt(prompt), group, texts, labelled, len(shared))


def check_names(names: Iterable[Any], expected: tuple[str, ...]) -> None:
    """Raise a ValueError for a misspelt column, whose data would be lost; others are permitted."""
    columns = set(map(str, names))
    for name in sorted(columns - set(expected)):
        meant = get_close_matches(name, expected, n=1, cutoff=0.8)
        if meant and meant[0] not in columns and not name.startswith(f"{meant[0]}_"):
            raise ValueError(f"unknown column {shortened(name)}: did you mean {meant[0]!r}?")


def _prompt(columns: dict[Any, Any]) -> tuple[Any, str]:
    """The prompt, and the space to put before a text that does not begin with one."""
    prompts = [
        columns[name] for name in ("messages", "prompt") if columns.get(name) not in (None, "")
    ]
    if prompts or "question" not in columns:
        return (prompts[0] if prompts else ""), ""
    question = columns["question"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"got the question {shortened(question)}, expected text that is not blank")
    return question, "" if question[-1].isspace() else " "


def _after(space: str, text: Any) -> Any:
    if not isinstance(text, str) or not text.strip() or text[0].isspace():
        return text
    return space + text


def _labelled(columns: dict[Any, Any]) -> dict[str, list[Any]]:
    if columns["label"] not in SIDES:
        raise ValueError(
            f"got the label {shortened(columns['label'])}, expected 'desired' or 'undesired': read "
            "a published set (COPA, SST-2) with ls.benchmark.load(name, path).pairs"
        )
    return {columns["label"]: [columns.get("text")]}


def _answers(columns: dict[Any, Any]) -> dict[str, list[Any]]:
    targets = next((name for name in _TARGETS if name in columns), None)
    if targets is not None:
        columns = columns | _by_target(targets, columns[targets])
    couple = next((c for c in _COUPLES if c[0] in columns or c[1] in columns), SIDES)
    missing = [name for name in couple if name not in columns]
    if missing:
        names = ", ".join(shortened(name) for name in sorted(map(str, columns))[:20])
        raise ValueError(
            f"no {' and no '.join(missing)} in [{names}], expected both: rename them, say "
            "load(path, columns={'desired': ..., 'undesired': ...}) with their names, or read a "
            "published set with ls.benchmark.load(name, path).pairs"
        )
    return {side: _texts(columns, name) for side, name in zip(SIDES, couple, strict=True)}


def _by_target(name: str, targets: Any) -> dict[str, list[str]]:
    """Correct and incorrect answers, from `{answer: 1 or 0}` or lists of choices and labels."""
    if isinstance(targets, Mapping) and set(targets) == {"choices", "labels"}:
        couples = list(zip(targets["choices"], targets["labels"], strict=True))
    elif isinstance(targets, Mapping):
        couples = list(targets.items())
    else:
        raise ValueError(
            f"{name!r} is {shortened(targets)}, expected {{answer: 1 if correct, else 0}}"
        )
    wrong = [label for _, label in couples if label not in (0, 1)]
    if wrong:
        raise ValueError(f"{name!r} has the label {shortened(wrong[0])}, expected 1 (correct) or 0")
    sides = {1: _LISTS[0], 0: _LISTS[1]}
    return {sides[k]: [answer for answer, label in couples if label == k] for k in sides}


def _texts(columns: dict[Any, Any], name: str) -> list[Any]:
    value = columns[name]
    if name in _LISTS and isinstance(value, str):
        value = _split(name, value)
    if name in SIDES or not is_list(value):
        return [value]
    if not len(value):
        raise ValueError(f"got no text under {name!r}, expected one or more")
    return list(value)


def _split(name: str, text: str) -> list[str]:
    """The answers in one text, as TruthfulQA.csv writes a list."""
    if text.startswith("[") and text.endswith("]"):  # what pandas makes of a list in .csv
        raise ValueError(
            f"{name!r} is the text {shortened(text)}: part the answers by semicolons, "
            "or write .jsonl"
        )
    return [part.strip() for part in text.split(";") if part.strip()]


def _shared(texts: dict[str, list[Any]], *, listed: bool) -> list[Any]:
    """The texts that both sides have, each named once.

    Raises:
        ValueError: If both are the same one text, unless they are `listed` in columns of lists.
    """
    if len(texts) < 2:
        return []
    desired, undesired = texts[SIDES[0]], texts[SIDES[1]]
    if not listed and desired == undesired and len(desired) == 1:
        raise ValueError(f"got {shortened(desired[0])} on both sides: nothing differs, remove it")
    shared: list[Any] = []
    shared += (text for text in desired if text in undesired and text not in shared)
    return shared


def is_list(value: Any) -> bool:
    """Whether a value is a list, or what a table library makes of one."""
    return isinstance(value, list | tuple | np.ndarray)
