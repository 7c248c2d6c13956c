"""Files with all columns, quotation marks and line breaks of published ones."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

import lens_steer as ls
from lens_steer.benchmark import load
from lens_steer.data import ContrastivePairs
from tests.data.files import as_json

BEHAVIOURS = ("Index", "Goal", "Target", "Behavior", "Category", "Source")
JUDGEMENTS = (
    "Index", "goal", "prompt", "target_response", "human1", "human2", "human3", "human_majority",
    "harmbench_cf", "gpt4_cf", "llamaguard2_cf", "llama3_cf",
)  # fmt: skip
LETTERS = "Is it?\n\nChoices:\n(A) It is.\n(B) It is not."
ANSWERS = {"answer_matching_behavior": "(B)", "answer_not_matching_behavior": "(A)"}


@pytest.fixture(params=["", "BOM"])
def mark(request: pytest.FixtureRequest) -> bytes:
    return b"\xef\xbb\xbf" if request.param else b""


@pytest.fixture(params=["\n", "\r\n"], ids=["LF", "CRLF"])
def end(request: pytest.FixtureRequest) -> str:
    return request.param


def table(path: Path, mark: bytes, end: str, rows: Sequence[Sequence[str]], quoted: bool) -> Path:
    text = io.StringIO(newline="")
    how = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=end, quoting=how).writerows(rows)
    path.write_bytes(mark + text.getvalue().encode("utf-8"))
    return path


@pytest.mark.parametrize("quoted", [False, True])
def test_advbench(tmp_path: Path, mark: bytes, end: str, quoted: bool) -> None:
    rows = [["goal", "target"], ["Pick, then open", 'Sure, "here" is'], ["Say\nit", "Sure:\n\n1."]]
    path = table(tmp_path / "harmful_behaviors.csv", mark, end, rows, quoted)
    found = load("advbench", path)
    assert found.prompts is not None
    assert list(found.prompts) == ["Pick, then open", "Say\nit"]
    assert found.targets == (' Sure, "here" is', " Sure:\n\n1.")
    assert list(ls.prompts.load(path)) == list(found.prompts)


@pytest.mark.parametrize("quoted", [False, True])
def test_behaviours_of_jailbreakbench(tmp_path: Path, mark: bytes, end: str, quoted: bool) -> None:
    row = ["0", "Write, then\nsend it", "Sure, here", "Fraud", "Fraud/Deception", "Original"]
    path = table(tmp_path / "harmful-behaviors.csv", mark, end, [BEHAVIOURS, row], quoted)
    found = load("jailbreakbench", path, template="chat")
    assert found.prompts is not None
    assert (found.prompts.groups, found.targets) == (("Fraud",), ("Sure, here",))
    columns = {"prompt": "Goal", "group": "Category"}
    mapped = ls.prompts.load(path, columns=columns, template="chat")
    assert (list(mapped), mapped.groups) == (list(found.prompts), ("Fraud/Deception",))


def test_judgements_of_jailbreakbench(tmp_path: Path, mark: bytes, end: str) -> None:
    rows = [
        ["0", "Do x", 'Please, "do" x\nnow', "Sure:\n\n1. x", *"1101", *"1100"],
        ["1", "Do y", "Do y", "I cannot.", *"0000", *"1000"],
        ["2", "Do y", "Do y, please", " ", *"0000", *"0000"],
        ["3", "Do y", "Do y!", "No.", *"0010", *"1111"],
    ]
    path = table(tmp_path / "judge-comparison.csv", mark, end, [JUDGEMENTS, *rows], False)
    found = load("jailbreakbench-judged", path)
    assert found.pairs is not None
    assert found.prompts is not None
    assert [e.continuation for e in found.pairs.desired] == [" Sure:\n\n1. x"]
    assert [e.continuation for e in found.pairs.undesired] == [" I cannot.", " No."]
    assert found.pairs.undesired[1].group == "Do y"
    assert list(found.prompts) == ['Please, "do" x\nnow', "Do y", "Do y!"]
    assert found.left_out == {"a blank target_response": 1}
    alone = table(tmp_path / "one.csv", mark, end, [JUDGEMENTS, rows[1]], False)
    assert load("jailbreakbench-judged", alone).pairs is None
    rows[1][7] = "yes"
    broken = table(tmp_path / "broken.csv", mark, end, [JUDGEMENTS, *rows], False)
    with pytest.raises(ValueError, match="'human_majority' is 'yes', expected 0 or 1"):
        load("jailbreakbench-judged", broken)
    with pytest.raises(ValueError, match="it looks like 'jailbreakbench-judged': give that name"):
        load("jailbreakbench", path)


def test_facts_of_repeng(tmp_path: Path) -> None:
    facts = ['It is "so".', "C\u00c3\u00a9sar.", 'It is "so".']
    path = as_json(tmp_path / "true_facts.json", facts)
    said = "Pretend you're {persona} making statements about the world."
    positive, negative = ["an honest person"], ["a liar"]
    found = load("repeng", path, persona=said, positive=positive, negative=negative)
    assert found.pairs is not None
    assert len(found.pairs.desired) == len(found.pairs.undesired) == 3
    assert found.pairs.desired[0].continuation == ' "so".'
    assert list(ls.prompts.load(path)) == facts


def test_a_trait_of_persona_vectors(tmp_path: Path) -> None:
    trait = {
        "instruction": [{"pos": f"Be bad {i}.", "neg": f"Be good {i}."} for i in range(5)],
        "questions": [f"What is {i}?" for i in range(20)],
        "eval_prompt": "Rate it.\n\n[QUESTION START]\n{question}\n\n{answer}\n\nJust the number.",
    }
    found = load("persona-vectors", as_json(tmp_path / "evil.json", trait))
    assert found.desired_prompts is not None
    assert found.undesired_prompts is not None
    assert len(found.desired_prompts) == len(found.undesired_prompts) == 100
    assert found.judge_prompt == trait["eval_prompt"]


def test_the_three_files_of_caa(tmp_path: Path) -> None:
    folder = tmp_path / "refusal"
    folder.mkdir()
    other = {"answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"}
    rows = [{"question": LETTERS, **ANSWERS}, {"question": LETTERS + "!", **other}]
    for name in ("generate_dataset", "test_dataset_ab"):
        path = as_json(folder / f"{name}.json", rows)
        found = load("caa", path).questions
        assert found is not None
        assert found.name == f"refusal/{name}"
        assert [q.choices for q in found] == [(" (A)", " (B)")] * 2
        assert [q.right for q in found] == [" (B)", " (A)"]
        assert found[0].bare == "Is it?"
        assert len(ContrastivePairs.load(path)) == 2
    asked = as_json(folder / "test_dataset_open_ended.json", [{"question": "Why?\nSay."}])
    found = load("caa", asked)
    assert found.prompts is not None
    assert list(found.prompts) == list(ls.prompts.load(asked)) == ["Why?\nSay."]
    both = {"prompt": LETTERS, "correct": "(A)", "incorrect": "(B)", "category": "Law"}
    more = {"correct_full_text": "It is.", "incorrect_full_text": "It is not."}
    columns = {"prompt": "prompt", "desired": "correct", "undesired": "incorrect"}
    path = as_json(folder / "truthful_qa.json", [both | more])
    pairs = ContrastivePairs.load(path, columns=columns | {"group": "category"})
    assert (pairs.desired[0].continuation, pairs.groups) == ("(A)", ("Law",))
