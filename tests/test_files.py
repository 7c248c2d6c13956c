"""One writer to a folder, every file whole, nothing left behind: with real processes."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lens_steer import files
from lens_steer.files import json_value, write_whole, writing_in

# Reads the module alone, which is quick: the package brings torch with it.
BEGIN = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
out = Path(sys.argv[2])

def wait(place=None):
    if place is not None:
        place.write_bytes(b"half")
    print("there", flush=True)
    time.sleep(60)
"""
HOLD = BEGIN + "with files.writing_in(out): wait()"
WRITE = BEGIN + "files.write_whole(out / 'table.csv', wait)"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """`started(code)`: a process that has come as far as `wait`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", code, files.__file__, str(tmp_path)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, text: str = "whole") -> None:
    write_whole(path, lambda place: place.write_text(text))


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(
    tmp_path: Path, started: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    first = started(HOLD)
    before = names(tmp_path)
    refused = pytest.raises(ValueError, match="another process is writing in .*another folder")
    with refused, writing_in(tmp_path):
        raise AssertionError("it was let in")
    assert names(tmp_path) == before
    first.send_signal(signal.SIGKILL)
    first.wait()
    with writing_in(tmp_path):
        write(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_what_a_killed_process_has_left_half_written_is_removed_and_nothing_else(
    tmp_path: Path, started: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    (tmp_path / ".writing-notes").mkdir()
    (tmp_path / ".writing-chapter1").mkdir()
    for name in ("a", "b"):
        (tmp_path / ".writing-chapter1" / name).write_text("mine")
    kept = names(tmp_path)
    living, killed = started(WRITE), started(WRITE)
    assert len(names(tmp_path)) == len(kept) + 2
    killed.kill()
    killed.wait()
    older = tempfile.mkdtemp(dir=tmp_path, prefix=".writing-")  # of a version that took no locks
    (Path(older) / "table.csv").write_text("half")
    write(tmp_path / "table.csv")
    [of_living] = set(names(tmp_path)) - {*kept, "table.csv"}
    assert (tmp_path / of_living / "table.csv").read_bytes() == b"half"
    assert living.poll() is None


TAKEN = {
    "a file": "taken",
    "in a file": "taken/a/b",
    "a device": os.devnull,
    "a link to nowhere": "nowhere",
    "a name that is too long": "a" * 300,
    "where nothing can be made": "/proc/lens-steer",
    "where nothing can be written": "/proc/self",
    "a folder in the place of a table": "full",
}


@pytest.mark.parametrize("kind", TAKEN)
def test_a_place_that_cannot_be_written_to_is_refused_in_one_line(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "full" / "table.csv").mkdir(parents=True)
    before = names(tmp_path)
    refused = pytest.raises(ValueError, match="choose another|is a file|is no folder")
    with refused as found, writing_in(tmp_path / TAKEN[kind]):
        raise AssertionError("the work began")
    assert "\n" not in str(found.value)
    assert names(tmp_path) == before
    assert (tmp_path / "taken").read_text() == "mine"
    assert names(tmp_path / "full") == ["table.csv"]


@pytest.mark.parametrize("made", [False, True])
def test_a_full_disk_is_refused_before_the_work_begins(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a" / "b"
    if made:
        out.mkdir(parents=True)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = pytest.raises(ValueError, match=r"1 MiB .*No space left on device.*make room")
    with refused, writing_in(out):
        raise AssertionError("the work began")
    assert names(tmp_path) == (["a"] if made else [])
    assert not made or names(out) == []


@pytest.mark.parametrize("written", [[], ["kept"]])
def test_folders_that_were_made_for_nothing_are_removed(tmp_path: Path, written: list[str]) -> None:
    out = tmp_path / "a" / "b"

    def stopped() -> None:
        with writing_in(out):
            for name in written:
                write(out / name)
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stopped()
    assert [path.name for path in tmp_path.rglob("*")] == (["a", "b", *written] if written else [])


def test_a_file_that_cannot_be_written_is_an_error_of_values_and_of_the_system(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a", "older")

    def fail(place: Path) -> None:
        place.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    for kind in (ValueError, OSError):
        with pytest.raises(kind, match=r"cannot write '.*a' \(No space left on device\)"):
            write_whole(tmp_path / "a", fail)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "older"


def test_json_that_is_nested_too_deeply_is_a_value_error() -> None:
    assert json_value(b'{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="nested too deeply"):
        json_value("[" * 200_000)
