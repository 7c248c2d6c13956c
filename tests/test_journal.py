import json
import random
from pathlib import Path
from typing import Any

import pytest

from lens_steer.journal import Journal

TERMS = {"seed": 0, "versions": {"torch": "2"}, "multiples": (0.5, 1.0)}
UNITS: list[tuple[tuple[Any, ...], list[dict[str, Any]]]] = [
    (("mood", f"method {i}", 0), [{"value": i + j, "texts": ["ä b"]} for j in range(1 + i % 3)])
    for i in range(6)
]


def run(path: Path, stop: int | None = None) -> Journal:
    journal = Journal(path, TERMS)
    for number, (unit, rows) in enumerate(UNITS):
        if number == stop:
            break
        if unit not in journal.done:
            journal.add(unit, rows)
    return journal


def test_every_row_says_its_unit_its_terms_and_itself(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == sum(len(rows) for _, rows in UNITS)
    assert rows[0]["unit"] == ["mood", "method 0", 0]
    assert rows[0]["terms"]["versions"] == {"torch": "2"}
    assert rows[0]["value"] == 0


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl")
    again = Journal(tmp_path / "a.jsonl", TERMS)
    assert again.done == {unit for unit, _ in UNITS}
    assert [row["value"] for row in again.rows] == [r["value"] for _, rows in UNITS for r in rows]


@pytest.mark.parametrize("seed", range(8))
def test_a_file_cut_at_any_byte_ends_with_the_same_bytes_once_continued(
    tmp_path: Path, seed: int
) -> None:
    run(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    cut = random.Random(seed).randrange(len(whole))
    (tmp_path / "cut.jsonl").write_bytes(whole[:cut])
    run(tmp_path / "cut.jsonl")
    assert (tmp_path / "cut.jsonl").read_bytes() == whole


def test_a_unit_whose_rows_are_not_all_there_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))  # the second unit has two rows
    assert Journal(path, TERMS).done == {UNITS[0][0]}
    assert path.read_bytes() == lines[0]


def test_another_run_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl", stop=2)
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"seed: 0, now 1.*another folder"):
        Journal(tmp_path / "a.jsonl", TERMS | {"seed": 1})
    assert (tmp_path / "a.jsonl").read_bytes() == before


@pytest.mark.parametrize("text", ['{"a": 1}\n', "[1]\n", "not json\n", '{"terms": {}}\n'])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="a.jsonl"):
        Journal(path, TERMS)
    assert path.read_text() == text
