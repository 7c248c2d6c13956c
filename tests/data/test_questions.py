"""Questions hold what they say, split without cutting ties, and become pairs."""

from typing import Any

import pytest

from lens_steer.data import ContrastivePairs, LeftOut, Question, Questions
from lens_steer.models import Message

FLAT = Question(
    "Q: Is the Earth flat?\nA:", (" Yes.", " No.", " It is round."), (False, True, True)
)


def question(i: int, group: str = "") -> Question:
    return Question(f"Question {i}:", (" a", " b"), (True, False), group)


@pytest.mark.usefixtures("untyped")
def test_the_first_right_and_the_first_wrong_choice_make_the_pair() -> None:
    grouped = Question("p", [" x", " y"], [True, False], "g")  # pyright: ignore[reportArgumentType]
    pairs = Questions((FLAT, grouped), "shapes").pairs()
    expected = [(FLAT.prompt, " No.", " Yes."), ("p", " x", " y", "g")]
    assert pairs == ContrastivePairs.of(expected, name="shapes")
    assert (FLAT.right, FLAT.wrong) == (" No.", " Yes.")


def test_questions_are_a_sequence_that_prints_short() -> None:
    questions = Questions((FLAT, question(1)), "mine", {"a blank prompt": 2})
    assert (len(questions), questions[0], list(questions)[1]) == (2, FLAT, question(1))
    assert questions.prompts == [FLAT.prompt, "Question 1:"]
    words = "Questions(mine: 2 with 2 to 3 choices; left out: 2 with a blank prompt)"
    assert repr(questions) == words
    assert questions == Questions((FLAT, question(1)), "mine")
    assert questions.first(1).items == (FLAT,)


@pytest.mark.usefixtures("untyped")
def test_a_chat_is_a_prompt_and_its_parts_are_found_in_it() -> None:
    chat: Any = [{"role": "user", "content": "Be brief.\n\nWhy?"}]
    asked = Question(chat, (" a", " b"), (True, False), instruction="Be brief.", bare="Why?")
    assert asked.prompt == (Message("user", "Be brief.\n\nWhy?"),)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"choices": (" a",), "correct": (True,)}, "1 choices and 1 marks.*at least two"),
        ({"correct": (True,)}, "2 choices and 1 marks"),
        ({"choices": (" a", " ")}, "expected texts, none of them blank"),
        ({"choices": (" a", " a")}, "got the choice ' a' twice"),
        ({"correct": (True, True)}, "at least one True and one False"),
        ({"correct": (False, False)}, "at least one True and one False"),
        ({"bare": "Who?"}, "got bare='Who.', expected a part of the prompt 'Why.'"),
        ({"instruction": "Say."}, "got instruction='Say.', expected a part of the prompt"),
        ({"prompt": 3}, "got prompt=3, expected"),
        ({"choices": " ab"}, "choices"),
        ({"correct": (1.5, 0)}, "correct"),
    ],
)
def test_a_broken_question_is_refused(changes: dict[str, Any], reason: str) -> None:
    whole = {"prompt": "Why?", "choices": (" a", " b"), "correct": (True, False)}
    with pytest.raises(ValueError, match=reason):
        Question(**whole | changes)


def test_no_question_is_no_set() -> None:
    with pytest.raises(ValueError, match="got no items, expected at least one question"):
        Questions(())


def test_a_split_keeps_groups_and_equal_prompts_together() -> None:
    items = [question(i, f"group {i // 3}") for i in range(30)] + [question(0), question(29)]
    questions = Questions(tuple(items), "mine")
    parts = questions.split(0.5, 0.3, 0.2, seed=1)
    assert sorted(q.prompt for part in parts for q in part) == sorted(questions.prompts)
    of_prompt = {q.prompt: n for n, part in enumerate(parts) for q in part}
    for n, part in enumerate(parts):
        for q in part:
            assert of_prompt[q.prompt] == n
    groups = [{q.group for q in part if q.group} for part in parts]
    assert not any(a & b for i, a in enumerate(groups) for b in groups[:i])
    assert parts == questions.split(0.5, 0.3, 0.2, seed=1)
    assert parts != questions.split(0.5, 0.3, 0.2, seed=2)
    assert {part.name for part in parts} == {"mine"}


@pytest.mark.parametrize(
    ("fractions", "reason"),
    [
        ((0.5, 0.6), "positive ones that add up to 1"),
        ((), "positive ones that add up to 1"),
        ((0.9, 0.1), "part 1 of the split .* of 2 questions would have no questions"),
    ],
)
def test_a_split_that_cannot_be_is_refused(fractions: tuple[float, ...], reason: str) -> None:
    two = Questions((question(0, "g"), question(1, "g")))
    with pytest.raises(ValueError, match=reason):
        two.split(*fractions, seed=0)


def test_what_was_left_out_is_counted_and_named() -> None:
    rows = [("a blank prompt", f"line {i}") for i in range(5)] + [("no answer", "line 9")]
    left_out = LeftOut.of(rows)
    assert dict(left_out) == {"a blank prompt": 5, "no answer": 1}
    assert left_out.total == 6
    assert left_out.rows["no answer"] == ("line 9",)
    assert repr(left_out) == (
        "5 with a blank prompt (line 0, line 1, line 2, ...); 1 with no answer (line 9)"
    )
    assert not LeftOut()
