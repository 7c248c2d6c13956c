"""Every option of every command refuses what it cannot mean, in one line and before any work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.bad_options import CONTRADICTIONS, ROOT, Command, all_commands, by_rule, outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wrong command lines name."""
    folder = tmp_path_factory.mktemp("place")
    fill(folder)
    return folder


def fill(place: Path) -> None:
    """Write what the wrong command lines name."""
    rows = [{"prompt": f"{i} is", "desired": " up", "undesired": " down"} for i in range(12)]
    lines = [json.dumps(row) for row in rows]
    sides = ("desired", "undesired")
    texts = [json.dumps({"text": f"{i} is", "label": sides[i % 2]}) for i in range(24)]
    files = {"good": lines, "broken": [lines[0], "{"], "few": lines[:1], "unpaired": texts}
    for name, content in files.items():
        (place / f"{name}.jsonl").write_text("\n".join(content), encoding="utf-8")
    (place / "file").write_text("mine", encoding="utf-8")
    for folder in ("empty", "run", "compared"):
        (place / folder).mkdir()
    (place / "compared" / "trials.jsonl").write_text("{}\n", encoding="utf-8")
    (place / "run" / "journal.jsonl").write_text("", encoding="utf-8")
    for name in ("unsteered", "steering", "doses"):
        (place / "run" / f"{name}.csv").write_text("behaviour\n", encoding="utf-8")


def names_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    "command", all_commands(), ids=lambda command: " ".join((command.name, *command.before))
)
def test_a_wrong_option_is_refused_in_one_line_before_any_work(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    monkeypatch.chdir(place)
    before = names_in(place)
    faults = []
    for word, arguments in by_rule(command):
        kind, message = outcome(command.name, word, arguments, place)
        if kind != "clear":
            faults.append((kind, arguments, message))
    assert not faults
    assert names_in(place) == before


@pytest.mark.parametrize(("name", "word", "arguments"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused_before_any_work(
    name: str,
    word: str,
    arguments: list[str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    untyped: None,
) -> None:
    monkeypatch.chdir(place)
    assert outcome(name, word, arguments, place)[0] == "clear"


def test_there_are_as_many_wrong_command_lines_as_there_were() -> None:
    assert sum(1 for command in all_commands() for _ in by_rule(command)) >= 1100


def test_a_study_refuses_an_empty_folder_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "analyses.sadi", "--out", ""],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
    assert "--out" in found.stderr
    assert not list(tmp_path.iterdir())
