"""Who judges the texts of the papers' tables: a file, phrases, or a real server on this machine."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lens_steer as ls
from analyses.papers import lqr, odesteer, sadi
from analyses.papers.command import command_of, make_table
from analyses.papers.judging import ChosenJudge, NotRefused, chosen_judge
from analyses.papers.presets import Preset
from analyses.papers.tasks import NOT_REFUSED, TRUE
from lens_steer.evaluation import Endpoint, EndpointError, TextClassifier
from tests.analyses.paper_files import ended, written_files
from tests.evaluation.chat_server import Server, served

KEY = "LENS_STEER_TEST_KEY"
SHORT = "lens_steer.evaluation.endpoint._PAUSE"


@pytest.fixture(autouse=True)
def without_shape_checks(untyped: None) -> None:
    """Whole runs: their parts are checked where they are tested."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_files(tmp_path_factory.mktemp("data"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv(KEY, "secret-of-the-test")
    monkeypatch.setattr(SHORT, 0.01)
    with served() as running:
        running.answers = repeat("Yes.")
        yield running


@pytest.fixture
def tiny(llama: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model that every command loads."""
    monkeypatch.setattr("lens_steer.load_model", lambda _: llama)
    return llama


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model must not be loaded."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr("lens_steer.load_model", refuse)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge that knows \"yes\" from \"no\"."""
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    sides = [[f"{word} {i}" for i in range(12)] for word in ("yes it is", "no not")]
    ls.save(TextClassifier.fit(*sides, seed=0), path)
    return path


def unsteered(preset: Preset) -> Preset:
    """The first row of a table, with texts of four tokens."""
    assert preset.decoding is not None
    decoding = replace(preset.decoding, max_new_tokens=4)
    return replace(preset, rows=preset.rows[:1], decoding=decoding)


def asks(server: Server, judged: Any = NOT_REFUSED, **options: Any) -> ChosenJudge:
    found = chosen_judge(judged, server.url, "small", KEY)
    assert found is not None
    assert isinstance(found.judge, Endpoint)
    return replace(found, judge=replace(found.judge, timeout=0.3, **options))


JAILBREAK = unsteered(lqr.PRESETS["jailbreak"])


def test_an_endpoint_judges_a_table(data: Path, tiny: Any, server: Server, tmp_path: Path) -> None:
    make_table("lqr", JAILBREAK, "tiny", data, tmp_path, limit=3, chosen=asks(server))
    table: Any = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    row = table.iloc[0]
    assert [row["metric"], row["judge"]] == ["not refused", "small"]
    assert (float(row["mean"]), float(row["published"])) == (100, 1.9)
    assert set(table["judge"][1:]) == {""}
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| not refused, by small |" in page
    assert f"- Judge: the model small at {server.url}, asked: Does the answer do what" in page
    assert "secret-of-the-test" not in "".join(
        path.read_text(encoding="utf-8") for path in tmp_path.iterdir()
    )
    bodies = [body["messages"][0]["content"] for body, _ in server.seen]
    assert len(bodies) == 1 + 2 + 3  # it is tried once, time is measured on two, three are judged
    assert "What is one and one?" in bodies[0]
    assert all(text.startswith("Does the answer do what the request asks") for text in bodies)
    assert {headers["Authorization"] for _, headers in server.seen} == {"Bearer secret-of-the-test"}
    with pytest.raises(ValueError, match="other settings .judge: 'Judge: the model small"):
        make_table("lqr", JAILBREAK, "tiny", data, tmp_path, limit=3)


def test_what_it_cannot_judge_is_counted(
    data: Path, tiny: Any, server: Server, tmp_path: Path
) -> None:
    server.answers = cycle(["yes", "maybe", "no", "no json", "status 500", "hang up", "hang"])
    chosen = asks(server, most_failed=0.9, retries=0, parallel=1)
    make_table("lqr", JAILBREAK, "tiny", data, tmp_path, limit=6, chosen=chosen)
    [row] = pd.read_csv(tmp_path / "table.csv").to_dict("records")[:1]
    # One is tried and two are measured on: "no json" comes first.
    assert (row["questions"], row["unjudged"]) == (6, 5)
    assert row["mean"] == pytest.approx(100 / 6)
    why = row["why_unjudged"]
    for reason in (
        "1 x no message in the answer",
        "1 x status 500",
        "1 x no connection (RemoteDisconnected)",
        "1 x no answer within 0.3 s",
        "1 x neither yes, no nor a number from 0 to 1",
    ):
        assert reason in why
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert f"5 of 6 texts of unsteered could not be judged and count as 0 ({why})." in page


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("status 401", r"status 401 \(no such model for Bearer \.\.\.\), .*check url, model, key"),
        ("status 500", "1 of 1 texts could not be scored, .*1 x status 500"),
        ("hang", "1 of 1 texts .*no answer within 0.3 s"),
        ("perhaps", "1 of 1 texts .*neither yes, no nor a number from 0 to 1"),
    ],
)
def test_an_endpoint_that_is_no_judge_is_known_before_a_model_is_loaded(
    data: Path, no_model: None, server: Server, tmp_path: Path, answer: str, reason: str
) -> None:
    server.answers = repeat(answer)
    with pytest.raises(EndpointError, match=reason):
        make_table("lqr", JAILBREAK, "tiny", data, tmp_path / "out", chosen=asks(server))
    assert not (tmp_path / "out").exists()


def test_nothing_is_sent_before_the_files_are_read(
    no_model: None, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="harmless_train.json: expected it in --data"):
        make_table("lqr", JAILBREAK, "tiny", tmp_path, tmp_path / "out", chosen=asks(server))
    assert server.seen == []


def test_a_saved_classifier_judges_a_table(
    data: Path, tiny: Any, classifier: Path, tmp_path: Path
) -> None:
    chosen = chosen_judge(TRUE, str(classifier), None, None)
    preset = unsteered(odesteer.PRESETS["truthfulqa"])
    make_table("odesteer", preset, "tiny", data, tmp_path, limit=3, chosen=chosen)
    table: Any = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert table["judge"].tolist() == ["judge.safetensors", "", "", ""]
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| true, by judge.safetensors |" in page
    assert "- Judge: judge.safetensors, TextClassifier(" in page
    assert "stand-in judge knows" not in page


def test_phrases_judge_refusals() -> None:
    chosen = chosen_judge(NOT_REFUSED, "phrases", None, None)
    assert chosen is not None
    assert chosen.judge == NotRefused()
    assert chosen_judge(TRUE, None, None, None) is None
    assert chosen_judge(None, None, None, None) is None


def test_the_key_is_read_from_the_variable_that_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    for given, kept in ((None, "OPENAI_API_KEY"), ("none", ""), (KEY, KEY)):
        chosen = chosen_judge(TRUE, server.url, "small", given)
        assert chosen is not None
        assert isinstance(chosen.judge, Endpoint)
        assert chosen.judge.key_from == kept


def test_a_wrong_choice_is_said_in_one_line(
    data: Path,
    no_model: None,
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    url, other = "http://127.0.0.1:9/v1", tmp_path / "other.safetensors"
    ls.save(ls.Additive((ls.Site(0),), (torch.ones(4),)), other)
    truth, attack = ("--table", "truthfulqa"), ("--table", "jailbreak")
    for paper, options, said in (
        (lqr, [*attack, "--judge", "gpt-4"], "got --judge gpt-4, expected phrases (of refusal), "),
        (lqr, [*attack, "--judge", url], "without a model, expected --judge-model"),
        (lqr, [*attack, "--judge-model", "m"], "got --judge-model without a URL"),
        (lqr, [*attack, "--judge", "phrases", "--judge-key", "K"], "got --judge-key without a URL"),
        (lqr, [*truth, "--judge", "phrases"], "which knows refusals, for texts that are asked to"),
        (lqr, [*truth, "--judge", "none.safetensors"], "saved by ls.save: "),
        (lqr, [*truth, "--judge", str(other)], "expected a TextClassifier"),
        (lqr, [*truth, "--judge", "http://", "--judge-model", "m"], "begins with http(s)://host"),
        (lqr, [*truth, "--judge", url, "--judge-model", "m"], "send none with --judge-key none"),
        (sadi, ["--table", "1", "--judge", "phrases"], "for a table that writes no texts"),
        (odesteer, ["--table", "truthfulqa-mc", "--judge", str(classifier)], "writes no texts"),
    ):
        main = command_of("x", paper.PRESETS)
        common = ["--model", "organism", "--data", str(data), "--out", str(tmp_path / "out")]
        assert ended(monkeypatch, main, *common, *options) == 2
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


EVERY = [(paper, table) for paper in (sadi, lqr, odesteer) for table in paper.PRESETS]


@pytest.mark.parametrize(("paper", "table"), EVERY)
def test_a_file_of_a_wrong_form_is_found_before_a_model_is_loaded(
    data: Path, no_model: None, tmp_path: Path, paper: Any, table: str
) -> None:
    preset = paper.PRESETS[table]
    for file in {file for task in preset.tasks for file in task.files}:
        for other in {file for task in preset.tasks for file in task.files}:
            (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / other).write_bytes((data / other).read_bytes())
        (tmp_path / file).write_text('{"a": 1}\n', encoding="utf-8")
        with pytest.raises(ValueError, match=file):
            make_table("x", preset, "tiny", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
