"""Data sets by their name on the hub, from folders that `datasets` finds under that name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from tests.data.files import as_jsonl

CARD = """---
configs:
- config_name: multiple_choice
  data_files:
  - split: validation
    path: mc/validation.parquet
- config_name: copa
  data_files:
  - split: train
    path: copa/train.parquet
  - split: test
    path: copa/test.parquet
---
"""
MARKED = {"choices": ["Air.", "Gas.", "Stone."], "labels": [1, 1, 0]}
COPA = {"premise": "It rained.", "choice1": "I got wet.", "choice2": "I sang."}
READERS: tuple[Callable[[str], Any], ...] = (
    ContrastivePairs.load,
    ls.prompts.load,
    lambda name: ls.benchmark.load("copa", name),
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `datasets` finds owner/name as if it had been downloaded."""
    datasets: Any = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def sets(hub: Path) -> str:
    """A data set of two configurations in .parquet files, with a card that names them."""
    (hub / "README.md").write_text(CARD, encoding="utf-8")
    for part in ("mc", "copa"):
        (hub / part).mkdir()
    rows = [{"question": "What is it?", "mc1_targets": MARKED, "mc2_targets": MARKED}]
    pd.DataFrame(rows).to_parquet(hub / "mc" / "validation.parquet")
    for part, label in (("train", 0), ("test", 1)):
        rows = [{**COPA, "question": "effect", "idx": 0, "label": label}]
        pd.DataFrame(rows).to_parquet(hub / "copa" / f"{part}.parquet")
    return "owner/name"


def test_pairs_and_prompts_are_read_and_columns_mapped(hub: Path) -> None:
    rows = [{"ask": "The sea is", "good": " wide", "bad": " dry"}]
    as_jsonl(hub / "train.jsonl", *rows)
    columns = {"prompt": "ask", "desired": "good", "undesired": "bad"}
    expected = ContrastivePairs.of([("The sea is", " wide", " dry")], name="owner/name")
    assert ContrastivePairs.load("owner/name", columns=columns) == expected
    found = ls.prompts.load("owner/name:train", columns={"prompt": "ask"}, template="qa")
    assert (list(found), found.name) == (["Q: The sea is\nA:"], "owner/name:train")
    as_jsonl(hub / "test.jsonl", *rows)
    assert len(ContrastivePairs.load("owner/name:test", columns=columns)) == 1
    with pytest.raises(ValueError, match="a split of it: owner/name:train, owner/name:test"):
        ContrastivePairs.load("owner/name", columns=columns)
    with pytest.raises(ValueError, match="owner/name:train row 0: no column 'gut'"):
        ContrastivePairs.load("owner/name:train", columns={"true": "gut"})


def test_a_published_set_is_read_by_configuration_and_split(sets: str) -> None:
    name = f"{sets}:multiple_choice:validation"
    questions = ls.benchmark.load("truthfulqa-mc", name).questions
    assert questions is not None
    [question] = questions
    assert question.choices == (" Air.", " Gas.", " Stone.")
    assert question.correct == (True, True, False)
    assert list(ls.prompts.load(name)) == ["What is it?"]
    pairs = ContrastivePairs.load(name)
    assert [e.continuation for e in (*pairs.desired, *pairs.undesired)] == [" Air.", " Stone."]
    for part, right in (("train", " I got wet."), ("test", " I sang.")):
        found = ls.benchmark.load("copa", f"{sets}:copa:{part}", template="qa").questions
        assert found is not None
        assert found[0].right == right
        assert found.name == f"copa:{sets}:copa:{part}"
    with pytest.raises(ValueError, match="name:copa:test is no file of 'sst2'.*looks like 'copa'"):
        ls.benchmark.load("sst2", f"{sets}:copa:test")


def test_a_questions_set_of_the_hub_is_benchmarked_by_its_name(sets: str, llama: Any) -> None:
    from tests.interventions import push

    data, train = f"{sets}:copa:test", f"{sets}:multiple_choice:validation"
    asked = ls.benchmark.load("truthfulqa-mc", train).questions
    how = {"data": data, "train": asked, "controls": False, "progress": False}
    table = ls.benchmark.run("copa", llama, [push(llama)], **how)
    assert table.table()["questions"].tolist() == [1, 1]


@pytest.mark.parametrize("read", READERS)
def test_what_cannot_be_had_is_said_in_one_line(read: Callable[[str], Any], sets: str) -> None:
    broken = Path("owner/broken")
    script = Path("owner/script")
    for folder in (broken, script):
        folder.mkdir()
    (broken / "train.csv").write_text('question,label\nx,"y\n', encoding="utf-8")
    (script / "script.py").write_text("", encoding="utf-8")
    for name, reason in (
        ("no-such/set", r"no-such/set' on the Hub .*the connection, .* give its path"),
        (sets, r"one among the available configs: \['multiple_choice', 'copa'\].*:config:split"),
        (f"{sets}:nope:train", "'nope' not found"),
        (f"{sets}:copa:dev", f"expected a split of it: {sets}:copa:train, {sets}:copa:test$"),
        ("owner/broken", r"cannot load 'owner/broken' from the hub \(Error tokenizing"),
        ("owner/script", "scripts are no longer supported"),
    ):
        with pytest.raises(ValueError, match=reason) as error:
            read(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", READERS)
def test_without_datasets_it_is_said_what_to_install(
    read: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=r"^'owner/name' is read .* pip install lens-steer\[datasets\], or downl"
    ):
        read("owner/name")
