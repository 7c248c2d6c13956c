"""Rows of a long run, kept as they are made: a run that was stopped goes on where it was."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lens_steer.figures import write_whole

_MARKS = ("unit", "rows", "terms")


class Journal:
    """A JSON-lines file of units: a unit's rows are written together, or are made again.

    Every row says its unit, how many rows that has, and on what terms the run was started.
    """

    def __init__(self, path: Path, terms: Mapping[str, Any]) -> None:
        """Read what is there.

        Raises:
            ValueError: If the file is of a run on other terms; what differs is named.
        """
        self._path, self._terms = path, json.loads(json.dumps(dict(terms), default=str))
        found = _rows(path) if path.is_file() else []
        for row in found:
            self._check(row)
        self.rows = _whole(found)
        if path.is_file():
            text = "".join(map(_line, self.rows))
            if path.read_text(encoding="utf-8") != text:
                write_whole(path, lambda place: place.write_text(text, encoding="utf-8"))

    @property
    def done(self) -> set[tuple[Any, ...]]:
        """Units that need not be run again."""
        return {tuple(row["unit"]) for row in self.rows}

    def add(self, unit: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep a finished unit."""
        head = {"unit": list(unit), "rows": len(rows), "terms": self._terms}
        new = [head | dict(row) for row in rows]
        with self._path.open("ab") as file:
            file.write("".join(map(_line, new)).encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows += new

    def _check(self, row: Mapping[str, Any]) -> None:
        given = row.get("terms")
        if not isinstance(given, dict) or not {"unit", "rows"} <= set(row):
            raise ValueError(f"{str(self._path)!r} is not a file of trials: choose another folder")
        names = {*given, *self._terms}
        other = sorted(n for n in names if given.get(n) != self._terms.get(n))
        if other:
            told = "; ".join(f"{n}: {given.get(n)!r}, now {self._terms.get(n)!r}" for n in other)
            raise ValueError(
                f"{str(self._path)!r} is of a run on other terms ({told}): choose another folder"
            )


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of all finished units of a file, as they are.

    Raises:
        ValueError: If a line is damaged.
    """
    return _whole(_rows(path))


def content(row: Mapping[str, Any], *besides: str) -> dict[str, Any]:
    """What was added, without the journal's own marks (nor the columns `besides`)."""
    return {name: value for name, value in row.items() if name not in (*_MARKS, *besides)}


def _whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts = Counter(json.dumps(row["unit"]) for row in rows)
    return [row for row in rows if counts[json.dumps(row["unit"])] == row["rows"]]


def _rows(path: Path) -> list[dict[str, Any]]:
    """All whole lines; one that was cut off at the end is left out."""
    found = []
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise ValueError(f"{path} line {number} is damaged ({error}): remove it") from error
        found.append(row)
    return found


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True) + "\n"
