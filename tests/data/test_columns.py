"""Pairs from columns of any name, with a template, and from .tsv files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lens_steer.data import TEMPLATES, ContrastivePairs, Template, as_template
from lens_steer.models import Message
from tests.data.files import as_csv, as_json, as_jsonl, as_tsv

HEAD = ["instruction", "good", "bad", "topic"]
ROWS = [["Is it?", "No", "Yes", "x"], ["Why?", "So", "Because", "y"]]
COLUMNS = {"question": "instruction", "true": "good", "false": "bad", "group": "topic"}
PAIRS = [("Is it?", " No", " Yes", "x"), ("Why?", " So", " Because", "y")]


def test_columns_of_any_name_are_read_from_every_form_of_file(tmp_path: Path) -> None:
    objects = [dict(zip(HEAD, row, strict=True)) for row in ROWS]
    files = (
        as_csv(tmp_path / "pairs.csv", HEAD, *ROWS),
        as_tsv(tmp_path / "pairs.tsv", HEAD, *ROWS),
        as_json(tmp_path / "pairs.json", objects),
        as_jsonl(tmp_path / "pairs.jsonl", *objects),
    )
    for file in files:
        pairs = ContrastivePairs.load(file, columns=COLUMNS)
        assert pairs == ContrastivePairs.of(PAIRS, name="pairs"), file
    assert ContrastivePairs.load(objects, columns=COLUMNS) == ContrastivePairs.of(PAIRS)


def test_a_column_that_is_mapped_to_a_prompt_is_taken_as_it_is(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "pairs.csv", HEAD, *ROWS)
    columns = {"prompt": "instruction", "desired": "good", "undesired": "bad"}
    pairs = ContrastivePairs.load(path, columns=columns)
    assert pairs.desired[0].continuation == "No"
    assert {example.group for example in pairs.desired} == {""}


def test_quotation_marks_are_text_in_tsv(tmp_path: Path) -> None:
    path = as_tsv(tmp_path / "p.tsv", ["desired", "undesired"], ['"a', 'b "c"'], ["d", "e"])
    pairs = ContrastivePairs.load(path)
    assert [e.continuation for e in (*pairs.desired, *pairs.undesired)] == ['"a', "d", 'b "c"', "e"]
    as_tsv(path, ["desired", "undesired"], ["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"p\.tsv line 3: expected the 2 columns of line 1"):
        ContrastivePairs.load(path)


def test_a_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    head, row = ["desired", "undesired", "desired"], ["first", "bad", "last"]
    for file in (as_csv(tmp_path / "p.csv", head, row), as_tsv(tmp_path / "p.tsv", head, row)):
        with pytest.raises(ValueError, match="line 1: got the column 'desired' 2 times, expected"):
            ContrastivePairs.load(file)
    spare = as_csv(tmp_path / "q.csv", ["desired", "undesired", "", ""], ["a", "b", "", ""])
    assert ContrastivePairs.load(spare).desired[0].continuation == "a"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({**COLUMNS, "true": "gut"}, "line 2: no column 'gut', expected one of 'instruction', 'go"),
        ({"promt": "instruction"}, "no column 'promt' is read here, expected prompt, messages"),
        ({}, "got columns={}, expected"),
        ({"prompt": "instruction"}, "no desired and no undesired in"),
    ],
)
def test_columns_that_are_not_there_are_refused(
    tmp_path: Path, columns: dict[str, str], reason: str
) -> None:
    path = as_csv(tmp_path / "pairs.csv", HEAD, *ROWS)
    with pytest.raises(ValueError, match=reason):
        ContrastivePairs.load(path, columns=columns)


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        ("completion", "Is it?", " No"),
        ("qa", "Q: Is it?\nA:", " No"),
        ("chat", (Message("user", "Is it?"),), "No"),
        ("They ask: {question} {x}\n", "They ask: Is it? {x}\n", " No"),
        (Template("told", instruction="Be true."), "Be true.\n\nIs it?", " No"),
    ],
)
def test_a_template_writes_prompts_and_answers(template: Any, prompt: Any, answer: str) -> None:
    row = {"question": "Is it?", "true": "No", "false": "Yes"}
    pairs = ContrastivePairs.load([row], template=template)
    assert (pairs.desired[0].prompt, pairs.desired[0].continuation) == (prompt, answer)


@pytest.mark.parametrize(
    "row",
    [
        {"sentence": "fine", "label": "1"},
        {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 0},
        {"instruction": "Help me", "category": None},
        {"goal": "Do it", "target": "Sure"},
    ],
)
def test_a_published_set_of_another_form_is_sent_to_its_reader(row: Any) -> None:
    with pytest.raises(ValueError, match=r"row 0: .* with ls\.benchmark\.load\(name, path\)"):
        ContrastivePairs.load([row])


def test_a_template_parts_prompt_and_answer_once() -> None:
    assert as_template("qa").answer("Why?", " No") == " No"
    assert as_template("qa").answer("Why?", "No") == " No"
    assert as_template("A: {question}\n").answer("Why?", "No") == "No"
    assert as_template("chat").answer("Why?", " No") == "No"
    assert Template("sticky", space="").answer("Why?", "No") == "No"


def test_templates_of_sadi_ask_for_their_label_words() -> None:
    for name in (name for name in TEMPLATES if name.startswith("sadi")):
        template = TEMPLATES[name]
        assert template.instruction
        assert template.prompt("the item").count("the item") == 1
        assert template.prompt("the item")[-1] == ":"


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: as_template("qaa"), r"template='qaa' \(did you mean 'qa'.\), expected one of"),
        (lambda: as_template(""), "as_template.. got template=''"),
        (lambda: Template("mine", "no place"), "expected {question} in it once"),
        (lambda: Template("mine", "{question} {question}"), "expected {question} in it once"),
        (lambda: ContrastivePairs.load([(" a", " b")], template="qa"), "row 0: got the prompt ''"),
        (lambda: ContrastivePairs.load([("p", 3, " b")], template="qa"), "row 0: got contin"),
        (lambda: ContrastivePairs.load([("p", " a", " b")], template="q"), "got template='q'"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


def test_the_name_of_a_file_that_is_not_there_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(ValueError, match=r"unknown set 'data/pairs\.txt'"):
        ContrastivePairs.load("data/pairs.txt")


def test_answers_under_other_names_are_refused_with_what_to_write(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "pairs.csv", ["prompt", "positive", "negative"], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"load\(path, columns=\{'desired': \.\.\., 'undesired'"):
        ContrastivePairs.load(path)
