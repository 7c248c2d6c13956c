import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from lens_steer.cli import demo_run as demo
from lens_steer.cli.commands import app, main
from lens_steer.cli.demo_stages import DemoStages
from lens_steer.cli.options import judged_words_of
from tests.cli.test_demo import FILES, write_pairs

ENTRY = "from lens_steer.cli import main; main()"
OPTIONS = [
    *("--model", "--pairs", "--columns", "--template", "--out", "--seed", "--methods", "--words"),
    *("--read", "--scope", "--sink", "--backend", "--device", "--max-new-tokens"),
    *("--temperature", "--dev-prompts", "--minutes", "--layers", "--table"),
]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], untyped: None
) -> Command:
    """`command(*arguments)`: exit code, stdout and stderr of `lens-steer`."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lens-steer", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def test_help_lists_every_option_with_a_description(command: Command) -> None:
    code, out, err = command("demo", "--help")
    assert (code, err) == (0, "")
    shown = "".join(out.split())  # lines are broken at hyphens too
    listed: Any = typer.main.get_command(app)
    parameters = [p for p in listed.commands["demo"].params if p.name != "help"]
    assert [p.opts[0] for p in parameters] == OPTIONS
    for parameter in parameters:
        assert parameter.opts[0] in shown
        assert parameter.help
        assert "".join(parameter.help.split()) in shown
    for file in (
        "separability.png",
        "screen.png",
        "demo.json",
        "sweep.png",
        "choice.csv",
        "texts.csv",
        "method.safetensors",
    ):
        assert file in shown


def test_help_lists_the_commands_and_the_version(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    assert "demo" in out
    assert "--version" in out
    code, out, err = command("--version")
    assert (code, err) == (0, "")
    for package in ("lens-steer", "transformer-lens", "torch"):
        assert f"{package} {version(package)}" in out


def test_the_version_is_printed_by_a_process_of_its_own() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ENTRY, "--version"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert version("lens-steer") in found.stdout


def test_misuse_in_a_process_of_its_own_is_one_line_and_code_2(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ENTRY, "demo", "--model", str(tmp_path / "no")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert len(found.stderr.splitlines()) == 1
    assert "no directory" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_described_on_one_screen(command: Command) -> None:
    code, out, _ = command("describe", "--device", "cpu")
    assert code == 0
    assert out.startswith("architecture   LlamaForCausalLM, 1.1 M parameters")
    assert len(out.splitlines()) < 25
    assert max(map(len, out.splitlines())) <= 100


def test_words_are_parted_by_the_comma_of_any_script() -> None:
    assert judged_words_of("很好，好看、 good,,سعيد،x") == ("很好", "好看", "good", "سعيد", "x")


# Misuse: one line, exit code 2, nothing written, and found before the work begins.


@pytest.fixture
def place(tmp_path: Path, model_dirs: dict[str, Path]) -> Path:
    """A folder with a model, files of pairs good and bad, and a file called `taken`."""
    shutil.copytree(model_dirs["llama"], tmp_path / "model")
    for name in ("bare", "torn"):
        shutil.copytree(model_dirs["llama"], tmp_path / name)
    (tmp_path / "bare" / "config.json").unlink()
    (tmp_path / "torn" / "config.json").write_text('{"model_type": "lla')
    write_pairs(tmp_path)
    good = (tmp_path / "nouns.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "broken.jsonl").write_text("\n".join([*good[:2], '{"prompt": ', *good[2:]]))
    (tmp_path / "lacking.jsonl").write_text("\n".join([*good[:4], '{"prompt": "a"}', *good[4:]]))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "few.jsonl").write_text(good[0])
    sides = {"sided.jsonl": ["desired"], "unpaired.jsonl": ["desired", "undesired"]}
    for name, labels in sides.items():
        rows = [
            {"text": f"The {i} was", "label": labels[i % len(labels)], "group": str(i // 2)}
            for i in range(24)
        ]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "taken").write_text("mine")
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


MISUSE: dict[str, tuple[list[str], str]] = {
    "missing model": (["--model", "{}/nothing"], "no directory .*nothing"),
    "no config": (["--model", "{}/bare"], "bare has no config.json"),
    "broken config": (["--model", "{}/torn"], "config.json is not JSON"),
    "bad hub name": (["--model", "no/such-model-here"], "cannot load 'no/such-model-here'"),
    "blank model": (["--model", ""], "a text that is not empty"),
    "unknown behaviour": (["--pairs", "organism:joy"], "unknown behaviour 'joy'.*sentiment"),
    "another set": (["--pairs", "organism"], "unknown set 'organism'.*organism:sentiment"),
    "missing pairs": (["--model", "{}/model", "--pairs", "{}/no.jsonl"], "no file .*no.jsonl"),
    "broken line": (["--model", "{}/model", "--pairs", "{}/broken.jsonl"], "line 3: not JSON"),
    "lacking line": (["--model", "{}/model", "--pairs", "{}/lacking.jsonl"], "line 5: no desired"),
    "empty pairs": (["--model", "{}/model", "--pairs", "{}/empty.jsonl"], "0 desired and 0"),
    "one side": (["--model", "{}/model", "--pairs", "{}/sided.jsonl"], "24 desired and 0"),
    "too few to split": (["--model", "{}/model", "--pairs", "{}/few.jsonl"], "part . of the split"),
    "unknown set": (["--model", "{}/model", "--pairs", "stories:glad"], "unknown set.*stories:sad"),
    "no such device": (["--model", "{}/model", "--device", "cuda:99"], "device 'cuda:99'"),
    "no device": (["--model", "{}/model", "--device", "abacus"], "device 'abacus'"),
    "negative seed": (["--model", "{}/model", "--seed", "-1"], "seed"),
    "seed in words": (["--model", "{}/model", "--seed", "one"], "seed"),
    "unknown option": (["--model", "{}/model", "--sed", "1"], "--sed"),
    "unknown backend": (["--model", "{}/model", "--backend", "jax"], "backend"),
    "unknown scope": (["--model", "{}/model", "--scope", "first"], "scope"),
    "unknown method": (["--model", "{}/model", "--methods", "CAB"], "unknown methods .*'CAB'.*CAA"),
    "no tokens": (["--model", "{}/model", "--max-new-tokens", "0"], "max-new-tokens"),
    "cold": (["--model", "{}/model", "--temperature", "-1"], "temperature"),
    "not a temperature": (["--model", "{}/model", "--temperature", "nan"], "temperature"),
    "no dev prompts": (["--model", "{}/model", "--dev-prompts", "0"], "dev-prompts"),
    "too long": (["--model", "{}/model", "--max-new-tokens", "127"], "context holds 128"),
    "out is a file": (["--model", "{}/model", "--out", "{}/taken"], "taken"),
    "out is a device": (["--model", "{}/model", "--out", "/dev/full"], "/dev/full is no folder"),
    "out has a long name": (["--model", "{}/model", "--out", "a" * 300], "File name too long"),
    "out is in a file": (["--model", "{}/model", "--out", "{}/taken/out"], "taken"),
    "other columns": (["--columns", "prompt=instruction"], "'--pairs'.*'instruction'"),
    "unknown template": (["--template", "qna"], "'--template'.*did you mean 'qa'"),
    "unpaired without words": (
        ["--model", "{}/model", "--pairs", "{}/unpaired.jsonl"],
        "unpaired.*words",
    ),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_line_and_code_2_and_found_before_the_work_begins(
    name: str, place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(demo, "measured_rates", work)
    monkeypatch.setattr(DemoStages, "read", work)
    monkeypatch.chdir(place)
    before = tree(place)
    arguments, reason = MISUSE[name]
    given = [argument.format(place) for argument in arguments]
    if "--pairs" not in given:
        given += ["--pairs", str(place / "nouns.jsonl")]
    code, _, err = command("demo", *given)
    lines = [line for line in err.split("\n") if line and "\r" not in line]  # bars are no message
    assert code == 2
    assert len(lines) == 1, err
    assert lines[0].startswith("lens-steer: ")
    assert "Traceback" not in err
    assert tree(place) == before
    assert not (place / "out").exists()
    assert re.search(reason, lines[0]), lines[0]


def test_unpaired_texts_with_words_and_a_first_run_end_well(place: Path, command: Command) -> None:
    rows = [
        {"prompt": f"The {i}", "text": f" {way} it was", "label": label, "group": str(i)}
        for i in range(8)
        for way, label in (("lost", "desired"), ("found", "undesired"))
    ]
    (place / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, err = command(
        *("demo", "--model", place / "model", "--pairs", place / "own.jsonl", "--words", "a, e"),
        *("--out", place / "out", "--device", "cpu", "--max-new-tokens", 3, "--dev-prompts", 2),
        *("--methods", "CAA"),
    )
    assert code == 0, err
    written = {path.name for path in (place / "out").iterdir()}
    assert written >= FILES
    assert "unpaired" in out


def test_a_file_of_other_columns_is_compared_in_a_template_at_one_read_position(
    place: Path, command: Command
) -> None:
    rows = [
        {"instruction": f"Was it {i}", "good": " lost it", "bad": " has it", "topic": i}
        for i in range(12)
    ]
    (place / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, _, err = command(
        *("compare", "--model", place / "model", "--pairs", place / "own.jsonl"),
        *("--columns", "prompt=instruction,desired=good,undesired=bad", "--template", "qa"),
        *("--reads", "last", "--methods", "CAA", "--references", "random", "--no-timing"),
        *("--out", place / "out", "--device", "cpu", "--max-new-tokens", 2, "--multiples", 1),
    )
    assert code == 0, err
    lines = (place / "out" / "trials.jsonl").read_text(encoding="utf-8")
    terms = json.loads(lines.splitlines()[0])["terms"]
    assert terms["reads"] == ["last"]
    assert "Q: Was it" in lines
    code, _, err = command("report", place / "out", "--out", place / "page.html")
    assert code == 0, err
    again = "--columns desired=good,prompt=instruction,undesired=bad --template qa"
    page = (place / "page.html").read_text(encoding="utf-8")
    assert again in page
    assert "--reads last" in page
