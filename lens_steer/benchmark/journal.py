"""Rows of a long run, kept as they are made: a run that was stopped goes on where it was."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lens_steer.files import json_value

_COLUMNS = ("sha256", "terms", "unit", "rows")  # first in a line, in this order


class Journal:
    """A JSON-lines file of units: a unit's rows are written together, or are made again.

    Every row says its unit, how many rows that has, what the run was started with (`terms`), and
    the SHA-256 of all that, by which a damaged row and a file of something else are known. Only one
    process may write (see `lens_steer.files.writing_in`).

    Example:
        >>> journal = ls.benchmark.Journal(Path("trials.jsonl"), {"seed": 0})
        >>> if ("sentiment", 1) not in journal.done:
        ...     journal.add(("sentiment", 1), [{"value": 0.5}])
    """

    def __init__(self, path: Path, terms: Mapping[str, Any]) -> None:
        """Read what is there; drop what a killed run has left half-written at its end.

        That is the beginning of a line of this journal, with these terms, and the rows of a last
        unit that are not all there. Nothing else is ever dropped or written over.

        Args:
            terms: What the run is started with: it may only go on with the same.

        Raises:
            ValueError: If the file is of a run with other terms (what differs is named), a line is
                damaged or not of a journal (its number is named), or it cannot be read or written.
        """
        self._path, self._terms = path, json.loads(json.dumps(dict(terms), default=str))
        self.rows: list[dict[str, Any]] = []
        if os.path.lexists(path):
            self.rows, size = _read(path, self._terms)
            self._cut(size)

    @property
    def done(self) -> set[tuple[Any, ...]]:
        """The units that need not be run again."""
        return {tuple(row["unit"]) for row in self.rows}

    def add(self, unit: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep a finished unit.

        Raises:
            ValueError: If two rows are equal, or it cannot be written; the file is then as it was.
        """
        head = {"terms": self._terms, "unit": list(unit), "rows": len(rows)}
        new = [head | dict(row) for row in rows]
        lines = [_line(row) for row in new]
        if len(set(lines)) < len(lines):
            raise ValueError(
                f"two rows of the unit {list(unit)} are equal: expected different ones"
            )
        data = "".join(lines).encode()
        size = self._path.stat().st_size if self._path.is_file() else 0
        try:
            with self._path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self._path.is_file():
                os.truncate(self._path, size)
            raise _unwritable(self._path, error) from error
        self.rows += json.loads(json.dumps(new))

    def _cut(self, size: int) -> None:
        """Let the file end after so many bytes, of which the last is a line end."""
        try:
            with self._path.open("r+b") as file:
                if file.seek(0, os.SEEK_END) < size:
                    file.write(b"\n")
                file.truncate(size)
        except OSError as error:
            raise _unwritable(self._path, error) from error


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of all finished units of a file, as they are.

    Raises:
        ValueError: If a line is damaged or not of a journal; its number is named.
    """
    return _read(path, None)[0]


def content(row: Mapping[str, Any], *besides: str) -> dict[str, Any]:
    """What was added, without the journal's own columns (nor those of `besides`)."""
    return {name: value for name, value in row.items() if name not in (*_COLUMNS, *besides)}


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What terms differ in, in words; empty where they are equal.

    Of a run that a version kept in another form only that is said: its names are other ones.
    """
    if then.get("form") != now.get("form"):
        return f"{writer_of(then)}, this version keeps form {now.get('form')}"
    old, new = dict(_flat(then)), dict(_flat(now))
    names = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
    return "; ".join(f"{n}: {_short(old.get(n))}, now {_short(new.get(n))}" for n in names)


def writer_of(terms: Mapping[str, Any]) -> str:
    """Which version kept a run, in words, and in what form."""
    version = (terms.get("versions") or {}).get("lens-steer", "of unknown number")
    return f"kept by lens-steer {version} in form {terms.get('form')}"


def _flat(terms: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in terms.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _short(value: Any) -> str:
    text = repr(value)
    if re.fullmatch(r"'[0-9a-f]{64}'", text):
        return f"SHA-256 {text[1:9]}..."
    return text if len(text) <= 200 else f"{text[:200]}..."


def _read(path: Path, terms: dict[str, Any] | None) -> tuple[list[dict[str, Any]], int]:
    """The rows of finished units, and how many bytes they take; with `terms`, only with these."""
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({error.strerror}): expected trials"
        ) from error
    rows = [_row(path, number, line, terms) for number, line in enumerate(lines, start=1)]
    if last:
        tail = _tail(path, len(lines) + 1, last, rows, terms)
        rows, lines = rows + tail, lines + [last] * len(tail)
    kept = _finished(path, rows)
    return kept, sum(len(line) + 1 for line in lines[: len(kept)])


def _row(path: Path, number: int, line: bytes, terms: dict[str, Any] | None) -> dict[str, Any]:
    place = f"{str(path)!r} line {number}"
    try:
        row = json_value(line)
    except ValueError as error:
        raise ValueError(
            f"{place} is damaged or not of a run of lens_steer ({error}): choose another folder, "
            "or move the file away"
        ) from error
    if not isinstance(row, dict) or not {"unit", "rows", "terms"} <= set(row):
        raise ValueError(f"{place} is not of a run of lens_steer: choose another folder")
    if "sha256" not in row:
        raise ValueError(
            f"{place} has no checksum, as an earlier version wrote it: choose another folder"
        )
    if _line(row).encode() != line + b"\n":
        raise ValueError(
            f"{place} is damaged (its SHA-256 is another one): move the file away, or restore it"
        )
    difference = "" if terms is None else differing(row["terms"], terms)
    if difference:
        raise ValueError(
            f"{str(path)!r} is of a run with other settings ({difference}): choose another folder"
        )
    return row


def _tail(
    path: Path,
    number: int,
    last: bytes,
    rows: list[dict[str, Any]],
    terms: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """The row that lacks nothing but its line end; nothing for the beginning of one of ours."""
    kept_terms = rows[0]["terms"] if rows else terms
    if kept_terms is not None and _begins(last, kept_terms):
        return []
    return [_row(path, number, last, terms)]


def _begins(last: bytes, terms: Mapping[str, Any]) -> bool:
    """Whether this is a line with these terms that was cut off."""
    try:
        json_value(last)
    except ValueError:
        head = '{"sha256": "' + "0" * 64 + '", "terms": ' + _sorted(terms) + ", "
        masked = re.sub(rb'(?<=^\{"sha256": ")[0-9a-f]{1,64}', lambda m: b"0" * len(m[0]), last)
        n = min(len(masked), len(head))
        return masked[:n] == head.encode()[:n]
    return False


def _finished(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All but the last unit, where that is not whole."""
    units: set[str] = set()
    start = 0
    for unit, members in groupby(rows, key=lambda row: json.dumps(row["unit"])):
        group = list(members)
        different = len({row["sha256"] for row in group})
        expected, stop = group[0]["rows"], start + len(group)
        begun = stop == len(rows) and isinstance(expected, int) and different < expected
        if unit in units or different < len(group) or not (begun or different == expected):
            raise ValueError(
                f"{str(path)!r} line {start + 1}: of the unit {unit} {different} different rows "
                f"follow each other{' a second time' if unit in units else ''}, expected "
                f"{expected}, once: lines are missing, exchanged or there twice, restore the file"
            )
        if begun:
            return rows[:start]
        units.add(unit)
        start = stop
    return rows


def _line(row: Mapping[str, Any]) -> str:
    """The row with its checksum, the journal's own columns first: so a line says what it is."""
    names = [*_COLUMNS[1:], *sorted(set(row) - set(_COLUMNS))]
    whole = ", ".join(f"{json.dumps(name)}: {_sorted(row[name])}" for name in names)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return f'{{"sha256": "{digest}", {whole}}}\n'


def _sorted(value: Any) -> str:
    """JSON of one form only."""
    return json.dumps(value, sort_keys=True)


def _unwritable(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"cannot write {str(path)!r} ({error.strerror or error}): make room or permit it; what was "
        "kept before is whole"
    )
