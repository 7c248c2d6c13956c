"""Reading rows of pairs from files, each with its place, so that what is broken can be named."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """`(place, object)` for each line of a JSON-lines file; blank lines are passed over.

    Raises:
        ValueError: If a line is not JSON in UTF-8; its number is named.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            place = f"{path} line {number}"
            try:
                yield place, json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError(f"{place}: not JSON ({error})") from error


def read_csv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """`(place, row)` for each row of a comma-separated file whose first line names the columns.

    Raises:
        ValueError: If a row has other columns than the first line, or the file is not UTF-8.
    """
    try:
        lines = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            place = f"{path} line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(
                    f"{place}: expected the {len(reader.fieldnames or [])} columns of line 1"
                )
            yield place, row
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num}: {error}") from error
