"""A file is read as what it is: that of another set, or a broken one, is refused and named."""

import inspect
from pathlib import Path
from typing import Any

import pytest

import lens_steer as ls
from lens_steer.benchmark import load
from lens_steer.data import PUBLISHED
from lens_steer.data.published import loading
from tests.data.files import as_csv, as_json, as_jsonl, as_tsv


def one_of_each(folder: Path) -> dict[str, Path]:
    """A file for each published form, by the name of its set."""
    answers = {"answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}
    copa = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 0}
    targets = {"question": "q", "mc1_targets": {"a": 1, "b": 0}, "mc2_targets": {"a": 1, "b": 0}}
    jailbreaks = ["Index", "Goal", "Target", "Behavior", "Category", "Source"]
    judged = ["Index", "goal", "prompt", "target_response", "human_majority"]
    trait = {"instruction": [{"pos": "a", "neg": "b"}], "questions": ["q"]}
    return {
        "truthfulqa-mc": as_json(folder / "mc_task.json", [targets]),
        "copa": as_jsonl(folder / "copa.jsonl", copa),
        "sst2": as_tsv(folder / "sst2.tsv", ["sentence", "label"], ["a", "1"]),
        "model-written-evals": as_jsonl(folder / "evals.jsonl", {"question": "q", **answers}),
        "caa": as_json(folder / "open.json", [{"question": "q"}]),
        "refusal": as_json(folder / "refusal.json", [{"instruction": "a", "category": None}]),
        "advbench": as_csv(folder / "adv.csv", ["goal", "target"], ["a", "b"]),
        "jailbreakbench": as_csv(folder / "jbb.csv", jailbreaks, list("abcdef")),
        "jailbreakbench-judged": as_csv(folder / "judge.csv", judged, list("abcd0")),
        "repeng": as_json(folder / "openings.json", ["a"]),
        "persona-vectors": as_json(folder / "trait.json", trait),
        "concept-sentences": as_csv(folder / "c.csv", ["concept", "sentence"], ["a", "b"]),
    }


def test_the_file_of_another_set_is_refused_by_what_it_looks_like(tmp_path: Path) -> None:
    files = one_of_each(tmp_path)
    for name in PUBLISHED:
        for other, path in files.items():
            if PUBLISHED[name].fits(loading.read_file(path).columns):
                continue
            with pytest.raises(ValueError, match=f"no file of '{name}'.*looks like .*'{other}'"):
                load(name, path)
    alike = {n: [o for o in PUBLISHED if _fits(o, path)] for n, path in files.items()}
    assert alike.pop("truthfulqa-mc") == ["truthfulqa-mc", "truthfulqa-pairs"]
    assert alike.pop("model-written-evals") == ["model-written-evals", "caa"]
    assert alike == {name: [name] for name in alike}


def _fits(name: str, path: Path) -> bool:
    return PUBLISHED[name].fits(loading.read_file(path).columns)


def test_a_file_of_no_set_is_told_what_is_expected(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "mine.csv", ["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="it has a, b, expected label, sentence$"):
        load("sst2", path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sst2", "sentence\tlabel\n", "has no rows, expected at least one"),
        ("sst2", "sentence\tlabel\n \t1\n", "no row is left, 1 with a blank sentence .line 2"),
        ("sst2", "sentence\tlabel\na\t2\n", "line 2: 'label' is '2', expected 0 or 1"),
        ("sst2", "sentence\tlabel\na\tTrue\n", "line 2: 'label' is 'True', expected 0 or 1"),
        ("sst2", "sentence\tlabel\na\n", "line 2: expected the 2 columns of line 1"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, name: str, content: str, reason: str) -> None:
    path = tmp_path / "file.tsv"
    path.write_text(content)
    with pytest.raises(ValueError, match=reason):
        load(name, path)


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("refusal", [{"instruction": "a", "category": 1}, {"category": 1}], "row 1: no column 'in"),
        ("refusal", [{"instruction": 3, "category": 1}], "row 0: 'instruction' is 3, expected"),
        ("refusal", [{"instruction": "a", "category": 1}, "b"], "row 1: no column 'instruction'"),
        ("refusal", [], "has no rows"),
        ("repeng", ["a", 3], "row 1: got 3, expected a text"),
        ("repeng", "a", "expected a list of rows"),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, name: str, rows: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load(name, as_json(tmp_path / "file.json", rows))


@pytest.mark.parametrize(
    ("name", "path", "options", "reason"),
    [
        ("cop", "x.jsonl", {}, r"name='cop' .did you mean 'copa'.*'sst2'.*ContrastivePairs.load"),
        ("copa", "none.jsonl", {}, r"no file 'none\.jsonl'"),
        ("copa", "none.parquet", {}, "expected a .jsonl, .csv, .tsv or .json file"),
        ("copa", "x.jsonl", {"concept": "a"}, "got the option 'concept' for 'copa', expected none"),
        ("copa", "", {}, "load.. got path='', expected the path of a file"),
    ],
)
def test_a_set_or_file_or_option_that_is_not_there_is_named(
    name: str, path: str, options: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        load(name, path, **options)


def test_a_template_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got template='q' .did you mean 'qa'.., expected one of"):
        load("copa", one_of_each(tmp_path)["copa"], template="q")


def test_every_set_says_its_licence_and_source() -> None:
    assert ls.benchmark.load is load
    for about, read in loading.READERS.items():
        documented = inspect.getdoc(read) or ""
        assert about.licence
        assert about.citation
        assert "Licence" in documented, about.name
        assert "ource:" in documented or "source:" in documented, about.name
        assert about.name in (load.__doc__ or "")


def test_a_path_before_the_name_is_refused_with_what_to_write(tmp_path: Path) -> None:
    path = str(one_of_each(tmp_path)["copa"])
    with pytest.raises(ValueError, match=r"expected the name first: write load\('copa', "):
        load(path, "copa")
