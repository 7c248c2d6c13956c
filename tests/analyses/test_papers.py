"""The tables of the papers, end to end on a tiny model and small files of the published form."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyses.papers import lqr, odesteer, sadi
from analyses.papers.command import command_of, make_table
from analyses.papers.presets import Preset
from lens_steer.models import load_model
from tests.analyses.paper_files import ended, written_files

EVERY = {"sadi": sadi.PRESETS, "lqr": lqr.PRESETS, "odesteer": odesteer.PRESETS}


@pytest.fixture(autouse=True)
def without_shape_checks(untyped: None) -> None:
    """Whole runs: their parts are checked where they are tested."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_files(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def roomy(model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model in whose context a prompt with five examples fits, letter by letter."""
    folder = tmp_path_factory.mktemp("model") / "roomy"
    shutil.copytree(model_dirs["llama"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    return load_model(folder, device="cpu")


@pytest.fixture
def tiny(roomy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model that every command loads."""
    monkeypatch.setattr("lens_steer.load_model", lambda _: roomy)
    return roomy


# Tables whose rows are those of another one: the first and the last are enough.
ALIKE = ("3", "truthfulqa-mc", "truthfulqa-setpoints")


def shortened(preset: Preset) -> Preset:
    """The preset with texts of four tokens, and without rows that another one has."""
    rows = (preset.rows[0], preset.rows[-1]) if preset.table in ALIKE else preset.rows
    if preset.decoding is None:
        return replace(preset, rows=rows)
    return replace(preset, rows=rows, decoding=replace(preset.decoding, max_new_tokens=4))


@pytest.mark.parametrize(
    ("paper", "table"), [(paper, table) for paper, presets in EVERY.items() for table in presets]
)
def test_every_table_runs_from_files_to_markdown_and_latex(
    paper: str, table: str, data: Path, tiny: Any, tmp_path: Path
) -> None:
    preset = shortened(EVERY[paper][table])
    make_table(paper, preset, "tiny", data, tmp_path, limit=6)
    found: Any = pd.read_csv(tmp_path / "table.csv")
    assert set(found["method"]) == {row.name for row in preset.rows}
    assert found["failed"].isna().all()
    assert found["mean"].between(0, 100).all()
    judged = found[~found["metric"].str.startswith("Dist")]
    assert ((judged["low"] <= judged["mean"]) & (judged["mean"] <= judged["high"])).all()
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "A TRIAL: --limit 6" in page
    assert "weights as they were published" in page
    assert all(str(fact) in page for fact in preset.facts)
    assert all(str(one) in page for one in preset.not_run)
    latex = (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert latex.count(r" \\") == len(found) + 1
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["files"]) == {file for task in preset.tasks for file in task.files}


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    data: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = replace(sadi.PRESETS["4"], tasks=sadi.PRESETS["4"].tasks[:1])
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make_table("sadi", preset, "tiny", data, whole, limit=4)
    from analyses.papers import running

    measured: list[str] = []
    measure = running.measure

    def stopping(*given: Any) -> Any:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(given[4].name)
        return measure(*given)

    monkeypatch.setattr(running, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_table("sadi", preset, "tiny", data, stopped, limit=4)
    assert not (stopped / "table.md").exists()
    monkeypatch.setattr(
        running, "measure", lambda *given: measured.append("more") or measure(*given)
    )
    make_table("sadi", preset, "tiny", data, stopped, limit=4)
    assert measured.count("more") == 4 - 2
    names = {path.name for path in whole.iterdir()}
    assert names == {"units.jsonl", "table.csv", "table.md", "table.tex", "manifest.json"}
    for name in names:
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    with pytest.raises(ValueError, match="other settings .seed: 0, now 1"):
        make_table("sadi", preset, "tiny", data, stopped, limit=4, seed=1)


def test_what_cannot_be_run_is_said_in_one_line(
    data: Path,
    tiny: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = command_of("sadi", sadi.PRESETS)
    wrong = tmp_path / "wrong" / "copa"
    wrong.mkdir(parents=True)
    shutil.copytree(data / "sst2", wrong.parent / "sst2")
    for part in ("train", "test"):
        text = (data / "sst2" / f"{part}.tsv").read_text(encoding="utf-8")
        rows = [
            dict(zip(("sentence", "label"), x.split("\t"), strict=True))
            for x in text.split("\n")[1:-1]
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (wrong / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    for options, said in (
        (["--table", "2"], "expected one of the tables 1, 3, 4"),
        (["--data", str(data)], "no --table"),
        (["--table", "1"], "no --data"),
        (["--table", "1", "--data", str(tmp_path)], "train.jsonl: expected it in --data"),
        (["--table", "1", "--data", str(wrong.parent)], "it looks like 'sst2'"),
        (["--table", "1", "--data", str(data), "--limit", "0"], "limit"),
    ):
        common = ["--model", "organism", "--out", str(tmp_path / "out")]
        assert ended(monkeypatch, main, *common, *options) == 2
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_list_names_files_sources_and_what_is_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for paper, presets in EVERY.items():
        assert not ended(monkeypatch, command_of(paper, presets), "--list")
        said = capsys.readouterr().out
        for preset in presets.values():
            assert preset.describe() in said
            assert any(not fact.verified for fact in preset.facts)
            assert "NOT VERIFIED" in preset.describe()
