"""Processes that are killed, that write into one folder, or whose disk is full."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lens_steer.artifacts import load
from tests.cli.test_cli import tree
from tests.cli.test_demo import write_pairs
from tests.thorough.scale import LONG, SEED, amount, record

COMMAND = "from lens_steer.cli import main; main()"
STUDY = "import runpy; runpy.run_module('analyses.unification', run_name='__main__')"
SAVE = """
import sys, torch
from pathlib import Path
import lens_steer as ls
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
big = torch.arange(16 * 2**20).float().view(2, 4096, -1)
for number in range(3):
    at = ls.LayerActivations.from_tensors(big[0] + number, big[1], layer=1)
    ls.save(at, out / f"big-{number}.safetensors")
"""
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
"""
SMALL = ("--device", "cpu", "--words", "a,e", "--max-new-tokens", "4", "--dev-prompts", "2")

Line = Callable[[Path], list[str]]


def line_of(name: str, model: Path, folder: Path) -> Line:
    """The command of that name, as a function of the folder that it writes to."""
    pairs = ("--model", str(model), "--pairs", str(write_pairs(folder)))
    code, options = {
        "save": (SAVE, ()),
        "compare": (
            COMMAND,
            ("compare", *pairs, *SMALL, "--kl", "0.05", "--multiples", "1", "--methods", "CAA"),
        ),
        "demo": (COMMAND, ("demo", *pairs, *SMALL, "--methods", "CAA")),
        "study": (
            STUDY,
            ("--pairs", "organism:sentiment", "--reads", "last", "--layers", "3", "--tokens", "4"),
        ),
    }[name]
    return lambda out: [sys.executable, "-c", code, *options, "--out", str(out)]


def start(line: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def results(out: Path) -> dict[str, bytes]:
    """All that a run leaves, but what names the folder or says how long it took."""
    if not out.is_dir():
        return {}
    passing = (".json", "seconds.csv", ".lock")
    return {
        name: data
        for name, data in tree(out).items()
        if not name.endswith(passing)
        and not any(p.startswith(".writing-") for p in Path(name).parts)
    }


def half_written(out: Path, whole: dict[str, bytes]) -> list[str]:
    """Files of a killed run that are not those of a whole one, or the beginning of its journal."""
    return [
        name
        for name, data in results(out).items()
        if (not whole[name].startswith(data) if name.endswith(".jsonl") else whole[name] != data)
    ]


@pytest.fixture(params=["save", "compare", "demo", "study"] if LONG else ["save"])
def command(request: pytest.FixtureRequest, model_dirs: dict[str, Path], tmp_path: Path) -> Any:
    return request.param, line_of(request.param, model_dirs["llama"], tmp_path)


def test_a_command_that_is_killed_leaves_nothing_half_written_and_a_rerun_gives_the_same_bytes(
    command: tuple[str, Line], tmp_path: Path
) -> None:
    name, line = command
    begun = time.monotonic()
    subprocess.run(line(tmp_path / "whole"), check=True, capture_output=True)
    seconds = time.monotonic() - begun
    whole = results(tmp_path / "whole")
    assert whole
    draw, kills, chain, before = random.Random(f"{SEED} {name}"), 0, 0, 0
    wanted = amount(2, 20)
    while kills < wanted:
        out = tmp_path / f"killed-{chain}"
        for _ in range(4):  # one after the other in one folder, whose run goes on or begins again
            process = start(line(out))
            time.sleep(draw.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed = process.returncode == -signal.SIGKILL
            kills, before = kills + killed, before + (killed and not results(out))
            assert half_written(out, whole) == []
            if kills == wanted:
                break
        subprocess.run(line(out), check=True, capture_output=True)
        assert results(out) == whole
        assert [path.name for path in out.rglob(".*")] == []
        chain += 1
    record(f"kills-{name}", kills=kills, folders=chain, before_any_file=before, faults=[])


def test_two_writers_into_one_folder_leave_whole_files(
    command: tuple[str, Line], tmp_path: Path
) -> None:
    """One is refused in a line, or each writes whole files, of which the later stays."""
    name, line = command
    both = [start(line(tmp_path / "out")) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2]), said
    for process, text in zip(both, said, strict=True):
        if process.returncode:
            assert "another process is writing in" in text.splitlines()[-1]
    subprocess.run(line(tmp_path / "alone"), check=True, capture_output=True)
    assert results(tmp_path / "out") == results(tmp_path / "alone")
    record(f"two-writers-{name}", exit_codes=codes, faults=[])


def test_a_full_disk_ends_in_an_error_and_leaves_nothing_half_written(
    command: tuple[str, Line], tmp_path: Path
) -> None:
    """No file may be larger than so many bytes: as on a disk with no more room."""
    name, line = command
    limits = (2**20 + 4096, 2**24) if name == "save" else (2**16, 2**21 // 8)
    for limit in limits:
        out = tmp_path / f"full-{limit}"
        python, dash_c, code, *options = line(out)
        run = subprocess.run(
            [python, dash_c, LIMITED + code, str(limit), *options], capture_output=True, text=True
        )
        assert run.returncode != 0
        if name != "save":
            assert run.returncode == 2, run.stderr
            assert len(run.stderr.strip().splitlines()[-1]) < 600
        assert "room" in run.stderr.splitlines()[-1]
        assert [path for path in out.rglob("*.safetensors") if not load(path)] == []
        assert [path.name for path in out.rglob(".*")] == []
    record(f"full-disk-{name}", limits=list(limits), faults=[])


def test_the_limit_of_a_file_is_felt(tmp_path: Path) -> None:
    code = LIMITED + "open(sys.argv[1], 'wb').write(bytes(100_000))"
    line = [sys.executable, "-c", code, "1000", os.fspath(tmp_path / "a")]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "File too large" in run.stderr
