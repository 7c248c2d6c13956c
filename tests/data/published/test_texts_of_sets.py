"""Published requests, personas and concepts, from small files of one's own."""

from pathlib import Path
from typing import Any

import pytest

from lens_steer.benchmark import load
from lens_steer.data import ContrastivePairs, Example
from lens_steer.models import Message
from tests.data.files import as_csv, as_json


def test_the_splits_of_refusal_direction_are_prompts(tmp_path: Path) -> None:
    rows = [{"instruction": text, "category": None} for text in ("Help me", " ", "Help me")]
    found = load("refusal", as_json(tmp_path / "harmful_train.json", rows), template="chat")
    assert found.prompts is not None
    assert list(found.prompts) == [(Message("user", "Help me"),)] * 2
    assert found.left_out == {"a blank instruction": 1}
    assert found.prompts.name == "refusal:harmful_train"


def test_advbench_has_goals_and_targets(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "h.csv", ["goal", "target"], ["Do it", "Sure, here"], ["Go", "Yes"])
    found = load("advbench", path)
    assert found.prompts is not None
    assert (list(found.prompts), found.targets) == (["Do it", "Go"], (" Sure, here", " Yes"))


def test_a_behaviour_of_jailbreakbench_is_a_group(tmp_path: Path) -> None:
    head = ["Index", "Goal", "Target", "Behavior", "Category", "Source"]
    path = as_csv(tmp_path / "j.csv", head, ["0", "Do it", "Sure", "Doing", "x", "Original"])
    found = load("jailbreakbench", path, template="chat")
    assert found.prompts is not None
    assert (found.prompts.groups, found.targets) == (("Doing",), ("Sure",))


OPENINGS = ["I think", " ", "Well, it is", "So"]


def test_openings_said_by_two_personas_are_pairs(tmp_path: Path) -> None:
    path = as_json(tmp_path / "all_truncated_outputs.json", OPENINGS)
    kept = load("repeng", path)
    assert kept.prompts is not None
    assert (list(kept.prompts), kept.pairs) == (["I think", "Well, it is", "So"], None)
    assert kept.left_out == {"a blank opening": 1}
    found = load("repeng", path, positive=["glad"], negative=["sad"], persona="Be {persona}.")
    assert found.pairs is not None
    glad, sad = found.pairs.desired, found.pairs.undesired
    asked = Message("user", "Be glad.")
    assert glad[0] == Example((asked, Message("assistant", "I")), " think", "I think")
    assert glad[1].prompt == (asked, Message("assistant", "Well, it"))
    assert glad[2] == Example((asked,), "So", "So")
    assert [e.continuation for e in glad] == [e.continuation for e in sad]
    assert sad[0].prompt == (Message("user", "Be sad."), Message("assistant", "I"))
    for part in found.pairs.split(0.5, 0.5, seed=0):
        assert {e.group for e in part.desired} == {e.group for e in part.undesired}


def test_openings_follow_the_persona_in_plain_text_too(tmp_path: Path) -> None:
    path = as_json(tmp_path / "o.json", OPENINGS)
    options: dict[str, Any] = {"positive": ["glad"], "negative": ["sad"]}
    found = load("repeng", path, template="Be {question}!", persona="{persona}", **options)
    assert found.pairs is not None
    texts = [f"{e.prompt}{e.continuation}" for e in found.pairs.desired]
    assert texts == ["Be glad! I think", "Be glad! Well, it is", "Be glad! So"]
    assert [e.continuation for e in found.pairs.desired] == [" think", " is", "So"]


def test_personas_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    openings = as_json(tmp_path / "o.json", OPENINGS)
    lists = {"positive_personas": ["glad"], "negative_personas": ["sad"]}
    path = as_json(tmp_path / "p.json", {**lists, "template": "Be {persona}."})
    found = load("repeng", path, suffixes=openings)
    same = load("repeng", openings, positive=["glad"], negative=["sad"], persona="Be {persona}.")
    assert found.pairs == same.pairs
    short = as_json(tmp_path / "q.json", {"positive": ["glad"], "negative": ["sad"]})
    assert load("repeng", short, suffixes=openings, persona="Be {persona}.").pairs == same.pairs
    with pytest.raises(ValueError, match="has personas, expected suffixes="):
        load("repeng", path)
    with pytest.raises(ValueError, match="got personas, expected none: .* has some itself"):
        load("repeng", path, suffixes=openings, positive=["a"], negative=["b"])
    with pytest.raises(ValueError, match="got suffixes='.*', expected none: .* has openings"):
        load("repeng", openings, suffixes=openings)
    with pytest.raises(ValueError, match="is no file of 'repeng'|expected a text"):
        load("repeng", path, suffixes=as_json(tmp_path / "s.json", [{"text": "a"}]))
    broken = as_json(tmp_path / "q.json", {"positive": "glad", "negative": ["sad"]})
    with pytest.raises(ValueError, match="'positive' is 'glad', expected a list of texts"):
        load("repeng", broken, suffixes=openings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positive": ["glad"]}, "1 positive and 0 negative personas, expected as many"),
        ({"positive": ["a", "b"], "negative": ["c"]}, "2 positive and 1 negative personas"),
        ({"positive": "glad", "negative": ["sad"]}, "positive='glad', expected a list of texts"),
        ({"positive": ["a"], "negative": ["b"], "persona": "Be."}, "expected {persona} in it"),
        ({"negatives": ["b"]}, "option 'negatives' for 'repeng', expected one of positive, neg"),
    ],
)
def test_personas_that_do_not_fit_are_refused(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        load("repeng", as_json(tmp_path / "o.json", OPENINGS), **options)


TRAIT: dict[str, Any] = {
    "instruction": [{"pos": "Be bad.", "neg": "Be good."}, {"pos": "Lie.", "neg": "Be true."}],
    "questions": ["Why?", "Who?"],
    "eval_prompt": "Rate {answer}.",
}


def test_a_trait_of_persona_vectors_puts_every_question_under_every_instruction(
    tmp_path: Path,
) -> None:
    found = load("persona-vectors", as_json(tmp_path / "evil.json", TRAIT))
    assert found.prompts is not None
    assert found.desired_prompts is not None
    assert found.undesired_prompts is not None
    assert list(found.prompts) == [(Message("user", "Why?"),), (Message("user", "Who?"),)]
    assert len(found.desired_prompts) == len(found.undesired_prompts) == 4
    assert found.desired_prompts[3] == (Message("system", "Lie."), Message("user", "Who?"))
    assert found.undesired_prompts.groups == ("Why?", "Who?") * 2
    assert found.judge_prompt == "Rate {answer}."
    plain = load("persona-vectors", tmp_path / "evil.json", template="qa").desired_prompts
    assert plain is not None
    assert plain[0] == "Be bad.\n\nQ: Why?\nA:"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"questions": []}, r"'questions' is \[\], expected a list of texts"),
        ({"questions": ["Why?", 3]}, "'questions' is .*, expected a list of texts"),
        ({"instruction": ["Be bad."]}, "'instruction' is .*, expected a list of .'pos'"),
        ({"instruction": [{"pos": "Be bad."}]}, "'instruction neg' is .None., expected"),
    ],
)
def test_a_broken_trait_is_refused(tmp_path: Path, changes: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load("persona-vectors", as_json(tmp_path / "evil.json", TRAIT | changes))


def test_sentences_of_a_concept_stand_against_those_of_the_others(tmp_path: Path) -> None:
    rows = [["ball", "They kick."], ["sea", "Waves."], ["ball", "A goal."], ["sky", " "]]
    path = as_csv(tmp_path / "concepts.csv", ["concept", "sentence"], *rows)
    found = load("concept-sentences", path, concept="ball")
    expected = ContrastivePairs.unpaired(["They kick.", "A goal."], ["Waves."])
    assert found.pairs is not None
    assert (found.pairs.desired, found.pairs.undesired) == (expected.desired, expected.undesired)
    assert found.left_out == {"a blank sentence": 1}
    with pytest.raises(ValueError, match=r"concept='', expected one of .*'ball' \(2\), 'sea' \(1"):
        load("concept-sentences", path)
    with pytest.raises(ValueError, match="template='qa', expected none"):
        load("concept-sentences", path, concept="ball", template="qa")
