"""Rows in a JSON document, or in Python objects of that form, each with its place in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lens_steer.arguments import shortened
from lens_steer.data.records import SIDES, check_names, is_list

_TABLE = {"prompts": "prompt", "positives": "desired", "negatives": "undesired"}


def document_rows(place: str, document: Any) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON document, or of Python objects of that form.

    Args:
        place: Where the document is, for messages; may be empty.
        document: A list of mappings or tuples; or a mapping of `positives` and `negatives`, or of
            the subsets `desired` and `undesired`.

    Yields:
        `(place, row)` for each row.

    Raises:
        ValueError: If the document has another form.
    """
    if isinstance(document, Mapping):
        yield from _object_rows(place, document)
        return
    if isinstance(document, str) or not isinstance(document, Iterable):
        raise ValueError(f"{place or 'pairs'}: got {shortened(document)}, expected a list of rows")
    for i, row in enumerate(document):
        where = f"{place} row {i}".strip()
        yield where, row if isinstance(row, Mapping) else _triple(where, row)


def subset_rows(
    place: str, subsets: Any, desired: str | Sequence[str], undesired: str | Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """The texts of some subsets as rows.

    Args:
        place: Where the subsets are, for messages; may be empty.
        subsets: A mapping of subsets to lists of texts.
        desired: The subset, or subsets, whose texts show the behaviour.
        undesired: The subset, or subsets, whose texts do not.

    Yields:
        `(place, row)` for each text; the row has the text and its side as the label.

    Raises:
        ValueError: If there is no such subset, it is not a list, or it is named on both sides.
    """
    chosen = [[names] if isinstance(names, str) else list(names) for names in (desired, undesired)]
    if not isinstance(subsets, Mapping):
        raise ValueError(
            f"{place or 'subsets'}: got {shortened(subsets)}, expected {{subset: [text, ...]}}"
        )
    both = sorted(set(chosen[0]) & set(chosen[1]))
    if both:
        raise ValueError(f"got the subset {both[0]!r} as desired and as undesired: choose one")
    for side, names in zip(SIDES, chosen, strict=True):
        for name in names:
            for i, text in enumerate(_subset(place, subsets, name)):
                yield f"{place} {name} {i}".strip(), {"text": text, "label": side}


def _subset(place: str, subsets: Mapping[Any, Any], name: str) -> Sequence[Any]:
    if name not in subsets:
        listed = ", ".join(map(repr, subsets))
        raise ValueError(f"{place or 'subsets'}: no subset {name!r}, expected one of {listed}")
    if not is_list(subsets[name]):
        raise ValueError(
            f"{place or 'subsets'}: {name!r} is {shortened(subsets[name])}, expected a list"
        )
    return subsets[name]


def _object_rows(place: str, document: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    if {"positives", "negatives"} <= set(document):
        return _table_rows(place, document)
    if set(document) == set(SIDES) and all(map(is_list, document.values())):
        return subset_rows(place, document, *SIDES)
    if document and all(map(is_list, document.values())):
        names = ", ".join(map(repr, document))
        raise ValueError(
            f"{place or 'pairs'}: got the subsets {names}: say which of them show the behaviour, "
            f"ContrastivePairs.from_subsets({place or '...'!r}, desired=..., undesired=...)"
        )
    raise ValueError(
        f"{place or 'pairs'}: got an object with {sorted(map(str, document))}, expected a list of "
        "rows, {'positives': [...], 'negatives': [...]} or {subset: [text, ...]}"
    )


def _table_rows(place: str, table: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    columns = {name: table[name] for name in _TABLE if table.get(name) is not None}
    try:
        check_names(table, tuple(_TABLE))
        _check_lengths(columns)
    except ValueError as error:
        raise ValueError(f"{place or 'pairs'}: {error}") from error
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        row = {_TABLE[name]: value for name, value in zip(columns, values, strict=True)}
        yield f"{place} row {i}".strip(), row


def _check_lengths(columns: dict[str, Any]) -> None:
    if not all(map(is_list, columns.values())):
        raise ValueError(f"expected lists under {' and '.join(map(repr, columns))}")
    if len(set(map(len, columns.values()))) > 1:
        counts = ", ".join(f"{len(values)} {name}" for name, values in columns.items())
        raise ValueError(
            f"got {counts}, expected as many of each: for texts that are no pairs use "
            "ContrastivePairs.from_subsets(..., desired='positives', undesired='negatives')"
        )


def _triple(place: str, row: Any) -> dict[str, Any]:
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) not in (2, 3, 4):
        raise ValueError(
            f"{place}: got {shortened(row)}, expected (prompt, desired, undesired), "
            "(desired, undesired), (prompt, desired, undesired, group) or columns by name"
        )
    prompt, desired, undesired, group = ("", *row, "") if len(row) == 2 else (*row, "")[:4]
    return {"prompt": prompt, "desired": desired, "undesired": undesired, "group": group}
