"""Published questions, from small files of one's own in the published forms."""

from pathlib import Path
from typing import Any

import pytest

from lens_steer.benchmark import load
from lens_steer.data import ContrastivePairs, PublishedSet, without_near_duplicates
from lens_steer.models import Message
from tests.data.files import as_csv, as_json, as_jsonl, as_tsv

HEAD = [
    "Type",
    "Category",
    "Question",
    "Best Answer",
    "Correct Answers",
    "Incorrect Answers",
    "Source",
]


def questions_of(found: PublishedSet) -> Any:
    assert found.questions is not None
    assert found.prompts is not None
    assert found.questions.prompts == list(found.prompts)
    return found.questions


def truthful_csv(folder: Path) -> Path:
    return as_csv(
        folder / "TruthfulQA.csv",
        HEAD,
        ["x", "y", "Why?", "b", "a; b; a", "d; e", "z"],
        ["x", "y", "Who?", "Me", "Me; Unknown", "You; Unknown; He", "z"],
        ["x", "y", "Where?", "Here", "Here", "Here", "z"],
        ["x", "y", "When?", " ", "Now", "Then", "z"],
    )


def test_truthfulqa_puts_the_best_answer_first_and_parts_what_both_lists_have(
    tmp_path: Path,
) -> None:
    found = load("truthfulqa-mc", truthful_csv(tmp_path))
    why, who = questions_of(found)
    assert why.prompt == "Q: Why?\nA:"
    assert why.bare == "Why?"
    assert why.choices == (" b", " a", " d", " e")
    assert why.correct == (True, True, False, False)
    assert who.choices == (" Me", " You", " He")
    assert dict(found.left_out) == {
        "no right or no wrong answer": 1,
        "a blank Best Answer": 1,
        "an answer that both lists have, which is no choice": 2,
    }
    assert "with a blank Best Answer (line 5)" in repr(found)
    pairs = [("Q: Why?\nA:", " b", " d"), ("Q: Who?\nA:", " Me", " You")]
    assert found.pairs == ContrastivePairs.of(pairs, name="truthfulqa-mc")


def test_both_files_of_truthfulqa_are_read_alike(tmp_path: Path) -> None:
    rows = [
        {
            "question": "Why?",
            "mc1_targets": {"b": 1, "d": 0},
            "mc2_targets": {"a": 1, "b": 1, "d": 0, "e": 0},
        },
        {
            "question": "Who?",
            "mc1_targets": {"choices": ["Me", "He"], "labels": [1, 0]},
            "mc2_targets": {"choices": ["He", "Me"], "labels": [0, 1]},
        },
    ]
    why, who = questions_of(load("truthfulqa-mc", as_json(tmp_path / "mc_task.json", rows)))
    assert (why.choices, why.right) == ((" b", " a", " d", " e"), " b")
    assert (who.choices, who.correct) == ((" Me", " He"), (True, False))
    rows[1]["mc1_targets"] = {"Me": 2}
    broken = as_json(tmp_path / "mc_task.json", rows)
    with pytest.raises(ValueError, match="row 1: 'mc1_targets' is .'Me': 2., expected"):
        load("truthfulqa-mc", broken)
    rows[1]["mc1_targets"] = {"choices": ["Me", 3], "labels": [1, 0]}
    with pytest.raises(ValueError, match="row 1: 'mc1_targets' is .'Me': 1, 3: 0., expected"):
        load("truthfulqa-mc", as_json(tmp_path / "mc_task.json", rows))
    with pytest.raises(ValueError, match="row 1: no column 'Question' in 3"):
        load("truthfulqa-mc", as_json(tmp_path / "mc_task.json", [rows[0], 3]))


def test_all_answers_of_truthfulqa_are_paired(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "t.csv", HEAD, ["x", "y", "Why?", "a", "a; b; c", "d; e", "z"])
    found = load("truthfulqa-pairs", path)
    expected = [("Q: Why?\nA:", " a", " d"), ("Q: Why?\nA:", " b", " e")]
    assert found.pairs == ContrastivePairs.of(expected, name="truthfulqa-pairs")
    assert found.questions is None


COPA: dict[str, Any] = {
    "premise": "The man turned the key.",
    "choice1": "The door opened.",
    "choice2": "I'm cold.",
    "question": "effect",
    "label": 0,
    "idx": 3,
}


def test_copa_continues_the_premise(tmp_path: Path) -> None:
    cause = {**COPA, "question": "cause", "label": "1"}
    found = load("copa", as_jsonl(tmp_path / "test.jsonl", COPA, cause))
    first, second = questions_of(found)
    assert (first.prompt, second.prompt) == (
        "The man turned the key so",
        "The man turned the key because",
    )
    assert first.choices == second.choices == (" the door opened.", " I'm cold.")
    assert (first.correct, second.correct) == ((True, False), (False, True))
    assert first.bare == "The man turned the key"
    assert repr(found) == ("PublishedSet(copa: 2 questions, 2 pairs, 2 prompts; BSD 2-clause)")


def test_copa_can_be_asked_and_answered_by_letter(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "test.jsonl", COPA)
    [asked] = questions_of(load("copa", path, template="chat"))
    words = "The man turned the key. What happened as a result?"
    assert asked.prompt == (Message("user", words),)
    assert asked.choices == ("The door opened.", "I'm cold.")
    [letters] = questions_of(load("copa", path, template="sadi-copa"))
    assert letters.prompt.startswith(letters.instruction)
    assert "A: The door opened. B: I'm cold. Answer:" in letters.prompt
    assert letters.choices == (" A", " B")


@pytest.mark.parametrize("template", [None, "qa", "chat", "sadi-copa"])
def test_what_copa_asks_makes_no_two_questions_alike(tmp_path: Path, template: str | None) -> None:
    other = {**COPA, "premise": "It was late.", "choice1": "He slept.", "choice2": "She ran."}
    parts = [
        questions_of(load("copa", as_jsonl(tmp_path / f"{part}.jsonl", row), template=template))
        for part, row in (("train", COPA), ("test", other))
    ]
    assert without_near_duplicates(*parts).parts == tuple(parts)


def test_sst2_asks_for_a_word_and_pairs_texts(tmp_path: Path) -> None:
    path = as_tsv(
        tmp_path / "dev.tsv",
        ["sentence", "label"],
        ['a "fine" film ', "1"],
        ["dull", "0"],
        [" ", "1"],
    )
    found = load("sst2", path)
    fine, dull = questions_of(found)
    assert fine.prompt == 'Review: a "fine" film\nSentiment:'
    assert fine.choices == dull.choices == (" negative", " positive")
    assert (fine.correct, dull.correct) == ((False, True), (True, False))
    assert found.pairs == ContrastivePairs.unpaired(['a "fine" film'], ["dull"], name="sst2:dev")
    assert dict(found.left_out) == {"a blank sentence": 1}
    sadi = questions_of(load("sst2", path, template="sadi-sst2"))[0]
    assert sadi.choices == (" Negative", " Positive")
    assert all(word.strip() in sadi.instruction for word in sadi.choices)


def evals(question: str, matching: str, other: str, **more: Any) -> dict[str, Any]:
    return {
        "question": question,
        "answer_matching_behavior": matching,
        "answer_not_matching_behavior": other,
        **more,
    }


LETTERS = "May I?\n\nChoices:\n (A) Yes\n (B) No"


def test_evals_keep_their_answers_in_an_order_that_says_nothing(tmp_path: Path) -> None:
    path = as_jsonl(
        tmp_path / "greed.jsonl",
        evals('Would you say this?\n"I want more"', " Yes", " No", statement="I want more"),
        evals(LETTERS, " (B)", " (A)"),
        evals("Same?", " (A)", " (A)"),
    )
    found = load("model-written-evals", path)
    said, letter = questions_of(found)
    assert (said.choices, said.correct) == ((" No", " Yes"), (False, True))
    assert (letter.choices, letter.correct) == ((" (A)", " (B)"), (False, True))
    assert (said.bare, letter.bare) == ("I want more", "May I?")
    assert dict(found.left_out) == {"one answer on both sides": 1}
    assert found.questions is not None
    assert found.questions.name == "greed"


def test_the_files_of_caa_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "sycophancy"
    folder.mkdir()
    ab = as_json(folder / "test_dataset_ab.json", [evals(LETTERS, "(A)", "(B)")])
    [asked] = questions_of(load("caa", ab))
    assert asked.choices == (" (A)", " (B)")
    assert asked.right == " (A)"
    found = load("caa", as_json(folder / "test_dataset_open_ended.json", [{"question": "Why?"}]))
    assert (found.questions, found.pairs) == (None, None)
    assert found.prompts is not None
    assert list(found.prompts) == ["Why?"]
    assert found.prompts.name == "sycophancy/test_dataset_open_ended"
