"""Where pairs and prompts come from: a named set, a file, the hub, or rows as Python objects."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lens_steer.arguments import shortened
from lens_steer.data.documents import document_rows, subset_rows
from lens_steer.data.file_formats import READERS, TABLES, read_json
from lens_steer.data.hub import hub_rows, is_hub_name
from lens_steer.data.named_sets import named
from lens_steer.data.records import is_list

PlacedRows = Iterable[tuple[str, Any]]


def rows_of(source: Any) -> tuple[PlacedRows, str]:
    """The rows of a source of pairs, each with its place, and what the set is called.

    Args:
        source: The name of a set, the path of a file, the name of a data set on the hub, or rows as
            `ContrastivePairs.of` takes them.

    Raises:
        ValueError: If there is no such set or file, or it has another form.
    """
    if not isinstance(source, str | Path):
        return document_rows("", source), "pairs"
    path = Path(source)
    if path.suffix in READERS:
        return READERS[path.suffix](path), path.stem
    if is_hub_name(source):
        return hub_rows(str(source)), str(source)
    return document_rows("", named(str(source))), str(source)


def mapped(rows: PlacedRows, columns: Mapping[str, str], known: Sequence[str]) -> PlacedRows:
    """Rows with the columns that a mapping names, under the names that are read here.

    Args:
        rows: `(place, row)`.
        columns: The name of a column here, and what it is called in the rows: `{"prompt":
            "instruction"}`. Columns that it does not name are passed over.
        known: The names that are read here.

    Raises:
        ValueError: If a name is not read here, or a row lacks a column; its place is named.
    """
    for name in columns:
        if name not in known:
            raise ValueError(
                f"got columns={shortened(dict(columns))}: no column {name!r} is read here, "
                f"expected {', '.join(known)}"
            )
    if not columns:
        raise ValueError("got columns={}, expected {what it is here: what it is called there}")
    return _mapped(rows, columns)


def _mapped(rows: PlacedRows, columns: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for place, row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f"{place}: got {shortened(row)}, expected an object with columns")
        missing = [theirs for theirs in columns.values() if theirs not in row]
        if missing:
            raise ValueError(
                f"{place}: no column {missing[0]!r}, expected one of "
                f"{', '.join(map(repr, list(row)[:20]))} in columns={dict(columns)}"
            )
        yield place, {ours: row[theirs] for ours, theirs in columns.items()}


def records_of(path: Path) -> Any:
    """What a file holds, row by row.

    Returns:
        An iterator over `(place, row)` for a table or a list; a JSON object as it is.

    Raises:
        ValueError: If there is no such file, or it has another form.
    """
    if path.suffix in TABLES:
        return TABLES[path.suffix](path)
    if path.suffix != ".json":
        raise ValueError(f"got {str(path)!r}, expected a .jsonl, .csv, .tsv or .json file")
    document = read_json(path)
    if isinstance(document, Mapping):
        return document
    if not is_list(document):
        raise ValueError(f"{path}: got {shortened(document)}, expected a list of rows")
    return ((f"{path} row {i}", row) for i, row in enumerate(document))


def rows_of_subsets(
    source: Any, desired: str | Sequence[str], undesired: str | Sequence[str]
) -> tuple[PlacedRows, str]:
    """The texts of some subsets as labelled rows, each with its place, and what the set is called.

    Args:
        source: A mapping of subsets to lists of texts, or the path of a `.json` file of one.
        desired: The subset, or subsets, whose texts show the behaviour.
        undesired: The subset, or subsets, whose texts do not.

    Raises:
        ValueError: If there is no such file or subset, or a subset is on both sides.
    """
    if not isinstance(source, str | Path):
        return subset_rows("", source, desired, undesired), "pairs"
    path = Path(source)
    return subset_rows(str(path), read_json(path), desired, undesired), path.stem
