import json
import random
from pathlib import Path
from typing import Any

import pytest

from lens_steer.benchmark import Journal

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


DEEP = "[" * 200_000
FOREIGN = [
    '{"a": 1}\n',
    "[1]\n",
    "not json\n",
    '{"terms": {}}\n',
    "my notes",
    '{"a": 1}',
    "[1, 2",
    DEEP,
]


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:20])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="a.jsonl"):
        Journal(path, TERMS)
    assert path.read_text() == text


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:20])
def test_what_was_added_to_a_journal_by_others_is_never_dropped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    run(path, stop=2)
    whole = path.read_text() + text
    path.write_text(whole)
    with pytest.raises(ValueError, match=r"a\.jsonl' line 4"):
        Journal(path, TERMS)
    assert path.read_text() == whole


def test_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    run(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert Journal(path, TERMS).done == {unit for unit, _ in UNITS}
    assert path.read_bytes() == whole


@pytest.mark.parametrize("seed", range(8))
def test_a_changed_byte_is_noticed_and_its_line_named(tmp_path: Path, seed: int) -> None:
    path, draw = tmp_path / "a.jsonl", random.Random(seed)
    run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    number = draw.randrange(len(lines))
    at = draw.randrange(len(lines[number]) - 1)
    byte = lines[number][at]
    changed = draw.choice([b for b in b"0123456789abc" if b != byte])
    lines[number] = lines[number][:at] + bytes([changed]) + lines[number][at + 1 :]
    path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match=rf"a\.jsonl' line {number + 1} "):
        Journal(path, TERMS)
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 3, 4],
        [0, 1, 1, 2, 3, 4, 5],
        [0, 1, 1, 3, 4, 5],
        [0, 1, 3, 2, 4, 5],
        [0, 1, 2, 3, 4, 5, 0],
        [0, 1, 2, 3, 4, 5, 6, 6],
        [0, 1, 2, 3, 3],
    ],
    ids=["missing", "twice", "one instead of another", "exchanged", "again", "last", "begun"],
)
def test_lines_that_are_missing_exchanged_or_there_twice_are_noticed(
    tmp_path: Path, order: list[int]
) -> None:
    path = tmp_path / "a.jsonl"
    run(path, stop=4)  # units of 1, 2, 3 and 1 rows
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[i] for i in order))
    with pytest.raises(ValueError, match="lines are missing, exchanged or there twice"):
        Journal(path, TERMS)
    assert path.read_bytes() == b"".join(lines[i] for i in order)


def test_equal_rows_of_a_unit_are_refused_before_they_are_written(tmp_path: Path) -> None:
    journal = run(tmp_path / "a.jsonl", stop=2)
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(ValueError, match="two rows of the unit .* are equal"):
        journal.add(("mood", 9), [{"value": 1}, {"value": 1}])
    assert (tmp_path / "a.jsonl").read_bytes() == before


def test_a_journal_without_checksums_is_refused(tmp_path: Path) -> None:
    row = {"unit": ["mood", 0], "rows": 1, "terms": TERMS, "value": 3}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="line 1 has no checksum, as an earlier version wrote it"):
        Journal(tmp_path / "a.jsonl", TERMS)


def test_terms_that_lie_deeper_are_named_by_their_place(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl", stop=1)
    later = TERMS | {"versions": {"torch": "3"}}
    with pytest.raises(ValueError, match=r"\(versions.torch: '2', now '3'\)"):
        Journal(tmp_path / "a.jsonl", later)


def test_a_row_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = run(tmp_path / "a.jsonl", stop=2)
    before = (tmp_path / "a.jsonl").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=r"cannot write .*No space left on device.*make room"):
        journal.add(*UNITS[2])
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert UNITS[2][0] not in journal.done
