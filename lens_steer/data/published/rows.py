"""The rows of a published file: read once, recognised by their columns, left out with a reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lens_steer.arguments import shortened
from lens_steer.data.hub import hub_rows, is_hub_name
from lens_steer.data.left_out import LeftOut
from lens_steer.data.sources import records_of

Item = TypeVar("Item")

TEXT = "a list of texts"  # stands for the columns of a row that is no object


class LeaveOutError(Exception):
    """A row is to be left out; the message is the reason, worded to follow "with"."""


@dataclass(frozen=True)
class FileRows:
    """What a published file holds, or one split of a data set on the hub.

    Attributes:
        path: The file; as text the name of a data set on the hub.
        rows: Each row with its place; none if the file is one JSON object.
        document: That object; empty if there is none.
    """

    path: Path | str
    rows: tuple[tuple[str, Any], ...] = ()
    document: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What a set made of it is called: the name of the file, or that on the hub."""
        return self.path if isinstance(self.path, str) else self.path.stem

    @property
    def name_with_folder(self) -> str:
        """The same, after the name of the folder that the file is in."""
        if isinstance(self.path, str):
            return self.path
        return f"{self.path.resolve().parent.name}/{self.path.stem}"

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the first row, or the keys of the object."""
        first = self.rows[0][1] if self.document is None else self.document
        return frozenset(map(str, first)) if isinstance(first, Mapping) else frozenset({TEXT})


def read_file(source: str | Path) -> FileRows:
    """The rows of a file, or of a data set on the hub.

    Args:
        source: The path of a file, or the name of a data set as `ContrastivePairs.load` takes it.

    Raises:
        ValueError: If there is no such file, it is of another kind, or it is empty.
    """
    if is_hub_name(source):
        return FileRows(str(source), tuple(hub_rows(str(source))))
    path = Path(source)
    records = records_of(path)
    if isinstance(records, Mapping):
        return FileRows(path, document=records)
    rows = tuple(records)
    if not rows:
        raise ValueError(f"{path} has no rows, expected at least one: is it whole?")
    return FileRows(path, rows)


def gathered(file: FileRows, make: Callable[[Any], Item]) -> tuple[list[Item], LeftOut]:
    """What is made of each row, and which rows were left out.

    Args:
        file: The rows.
        make: Makes one item of a row; raises `LeaveOutError` to leave it out.

    Raises:
        ValueError: If a row is broken (it is named), or none is left.
    """
    items: list[Item] = []
    found: list[tuple[str, str]] = []
    for place, row in file.rows:
        try:
            items.append(make(row))
        except LeaveOutError as reason:
            found.append((str(reason), place.removeprefix(f"{file.path} ")))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    left_out = LeftOut.of(found)
    if not items:
        raise ValueError(f"{file.path}: no row is left, {left_out}")
    return items, left_out


def text_in(row: Any, column: str) -> str:
    """The text in a column of a row.

    Raises:
        LeaveOutError: If it is blank.
        ValueError: If there is no such column, or it holds no text.
    """
    if not isinstance(row, Mapping) or column not in row:
        listed = shortened(list(row)) if isinstance(row, Mapping) else shortened(row)
        raise ValueError(f"no column {column!r} in {listed}, expected a text there")
    text = row[column]
    if not isinstance(text, str):
        raise ValueError(f"{column!r} is {shortened(text)}, expected a text")
    if not text.strip():
        raise LeaveOutError(f"a blank {column}")
    return text


def one_of(row: Mapping[str, Any], column: str, values: tuple[Any, ...]) -> int:
    """Which of some values a column has, as its number; a number may be written as text.

    Raises:
        ValueError: If it has none of them.
    """
    value = row.get(column)
    for number, each in enumerate(values):
        if not isinstance(value, bool) and value in (each, str(each)):
            return number
    raise ValueError(f"{column!r} is {shortened(value)}, expected {' or '.join(map(repr, values))}")
