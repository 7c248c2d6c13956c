"""Rows in .jsonl, .csv, .tsv and .json files; each is read with its place, to name in errors."""

import csv
import io
import json
import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lens_steer.arguments import shortened
from lens_steer.data.documents import document_rows
from lens_steer.files import json_value, write_whole


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        ValueError: If there is no such file, or it is not JSON in UTF-8.
    """
    content = _bytes(path)
    try:
        return json_value(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """The objects in a JSON-lines file.

    Blank lines, and a byte-order mark at the beginning, are passed over.

    Yields:
        `(place, object)` for each line.

    Raises:
        ValueError: If there is no such file, or a line is not JSON in UTF-8; its number is named.
    """
    for number, line in enumerate(_bytes(path).removeprefix(BOM_UTF8).splitlines(), start=1):
        if line.strip():
            place = f"{path} line {number}"
            try:
                yield place, json_value(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError(f"{place}: not JSON ({error})") from error


def read_text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file, blank ones too.

    Yields:
        `(place, line)` for each line.

    Raises:
        ValueError: If there is no such file, or it is not UTF-8.
    """
    for number, line in enumerate(_lines(path).read().splitlines(), start=1):
        yield f"{path} line {number}", line


def read_csv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a comma-separated file, whose first line names the columns.

    Blank lines, and rows of which every field is blank, are passed over.

    Yields:
        `(place, row)` for each row.

    Raises:
        ValueError: If there is no such file, it is not UTF-8, the first line names a column twice,
            or a row has other columns than the first line.
    """
    return _table(path, csv.DictReader(_lines(path), strict=True))


def read_tsv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a tab-separated file, whose first line names the columns.

    A line is a row and a quotation mark is text, as in the published sets that have this form
    (SST-2), and in the registered form of tab-separated values: no field is quoted.

    Yields:
        `(place, row)` for each row.

    Raises:
        ValueError: As `read_csv`.
    """
    rows = csv.DictReader(_lines(path), dialect=csv.excel_tab, quoting=csv.QUOTE_NONE)
    return _table(path, rows)


def _lines(path: Path) -> io.StringIO:
    try:
        return io.StringIO(_bytes(path).decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error


def _table(path: Path, reader: csv.DictReader) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        # spreadsheets write blank names behind the last column, which hold nothing
        names = [name for name in reader.fieldnames or [] if name.strip()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:  # a row is read by name: all but the last of them would be lost
            raise ValueError(
                f"{path} line 1: got the column {shortened(twice[0])} {names.count(twice[0])} "
                "times, expected it once: rename the others"
            )
        for row in reader:
            place = f"{path} line {reader.line_num}"
            if not any(isinstance(field, list) or (field or "").strip() for field in row.values()):
                continue
            if None in row or None in row.values():
                raise ValueError(
                    f"{place}: expected the {len(reader.fieldnames or [])} columns of line 1"
                )
            yield place, row
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num}: {error}") from error


def _bytes(path: Path) -> bytes:
    if not os.path.isfile(path):
        raise ValueError(f"no file {str(path)!r}: expected a .jsonl, .csv, .tsv or .json file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r} ({error.strerror})") from error


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one JSON object to a line, without columns that are empty."""
    filled = ({name: value for name, value in row.items() if value != ""} for row in rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in filled)
    # Half a surrogate pair, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    path.write_bytes(lines.encode("utf-8", "backslashreplace"))


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write comma-separated values under a line with the names of the first row's columns.

    Raises:
        ValueError: If a row holds a chat, or text that could not be read back.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for i, row in enumerate(rows):
        _check_fits_csv(i, row)
        writer.writerow(row)
    path.write_bytes(text.getvalue().encode("utf-8"))


def _check_fits_csv(i: int, row: dict[str, Any]) -> None:
    if "messages" in row:
        raise ValueError(f"row {i} has a chat, which .csv has no column for: save as .jsonl")
    for name, value in row.items():
        if len(value) > csv.field_size_limit():
            raise ValueError(f"row {i}: {name} is too long for .csv to be read: save as .jsonl")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError(f"row {i}: {name} has half a surrogate pair: save as .jsonl")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows into a `.jsonl` or `.csv` file, whole or not at all.

    Raises:
        ValueError: If the suffix is another, the folder does not exist, or `.csv` cannot hold a
            row.
    """
    if path.suffix not in _WRITERS:
        raise ValueError(f"got {str(path)!r}, expected a name that ends in .jsonl or .csv")
    write = _WRITERS[path.suffix]
    write_whole(path, lambda place: write(place, rows))


TABLES = {".jsonl": read_jsonl, ".csv": read_csv, ".tsv": read_tsv}
READERS = {**TABLES, ".json": lambda path: document_rows(str(path), read_json(path))}
_WRITERS = {".jsonl": write_jsonl, ".csv": write_csv}
