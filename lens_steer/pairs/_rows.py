"""What the columns of a row mean, wherever it comes from: plain data in, plain data out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from lens_steer.tokens import Prompt, as_prompt

SIDES = ("desired", "undesired")
_LISTS = ("correct_answers", "incorrect_answers")
_COUPLES = (
    SIDES,
    ("answer_matching_behavior", "answer_not_matching_behavior"),
    ("true", "false"),
    _LISTS,
)
_COLUMNS = (
    *("prompt", "messages", "question", "group", "text", "label"),
    *(name for couple in _COUPLES for name in couple),
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
        group: Unchecked; empty if there is none.
        texts: By side, unchecked; as many of either, unless labelled or not to be paired.
        labelled: Whether the row is one text with its label, which has no partner.
    """

    prompt: Prompt
    group: Any
    texts: dict[str, list[Any]]
    labelled: bool = False


def as_row(given: Any, *, paired: bool) -> Row:
    """The parts of one row; of two lists as many texts as the shorter has, if they are paired.

    Raises:
        ValueError: If columns are missing, misspelt or empty, or both sides say the same.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"got {given!r}, expected an object with 'desired' and 'undesired'")
    columns: dict[Any, Any] = {_HEADINGS.get(name, name): value for name, value in given.items()}
    check_names(columns, _COLUMNS)
    prompt, space = _prompt(columns)
    group = "" if columns.get("group") is None else columns["group"]
    labelled = "label" in columns
    texts = _labelled(columns) if labelled else _answers(columns)
    texts = {side: [_after(space, text) for text in found] for side, found in texts.items()}
    if paired and not labelled:
        shorter = min(map(len, texts.values()))
        texts = {side: found[:shorter] for side, found in texts.items()}
        _check_differ(texts)
    return Row(as_prompt(prompt), group, texts, labelled)


def check_names(names: Iterable[Any], known: tuple[str, ...]) -> None:
    """Other columns are the user's own, but a misspelt one is lost data."""
    given = set(map(str, names))
    for name in sorted(given - set(known)):
        meant = get_close_matches(name, known, n=1, cutoff=0.8)
        if meant and meant[0] not in given and not name.startswith(f"{meant[0]}_"):
            raise ValueError(f"unknown column {name!r}: did you mean {meant[0]!r}?")


def _prompt(columns: dict[Any, Any]) -> tuple[Any, str]:
    """The prompt, and what parts it from a text that does not begin with a space itself."""
    given = [
        columns[name] for name in ("messages", "prompt") if columns.get(name) not in (None, "")
    ]
    if given or "question" not in columns:
        return (given[0] if given else ""), ""
    question = columns["question"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"got the question {question!r}, expected text that is not blank")
    return question, "" if question[-1].isspace() else " "


def _after(space: str, text: Any) -> Any:
    if not isinstance(text, str) or not text.strip() or text[0].isspace():
        return text
    return space + text


def _labelled(columns: dict[Any, Any]) -> dict[str, list[Any]]:
    if columns["label"] not in SIDES:
        raise ValueError(f"got the label {columns['label']!r}, expected 'desired' or 'undesired'")
    return {columns["label"]: [columns.get("text")]}


def _answers(columns: dict[Any, Any]) -> dict[str, list[Any]]:
    couple = next((c for c in _COUPLES if c[0] in columns or c[1] in columns), SIDES)
    missing = [name for name in couple if name not in columns]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in {sorted(map(str, columns))}")
    return {side: _texts(columns, name) for side, name in zip(SIDES, couple, strict=True)}


def _texts(columns: dict[Any, Any], name: str) -> list[Any]:
    found = columns[name]
    if name in _LISTS and isinstance(found, str):
        found = _parted(name, found)
    if name in SIDES or not is_list(found):
        return [found]
    if not len(found):
        raise ValueError(f"got no text under {name!r}, expected one or more")
    return list(found)


def _parted(name: str, found: str) -> list[str]:
    """The texts in one, as TruthfulQA.csv writes a list."""
    if found.startswith("[") and found.endswith("]"):  # what pandas makes of a list in .csv
        raise ValueError(
            f"{name!r} is the text {found!r}: part the answers by semicolons, or write .jsonl"
        )
    return [part.strip() for part in found.split(";") if part.strip()]


def _check_differ(texts: dict[str, list[Any]]) -> None:
    for desired, undesired in zip(*texts.values(), strict=True):
        if desired == undesired:
            raise ValueError(f"got {desired!r} on both sides: nothing differs")


def is_list(found: Any) -> bool:
    """Whether it is a list, or what a table library makes of one."""
    return isinstance(found, list | tuple | np.ndarray)
