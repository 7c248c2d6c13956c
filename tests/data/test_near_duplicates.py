"""Near-duplicates across parts are found, counted and named; a brute-force search agrees."""

import string
from typing import Any

import numpy as np
import pytest

from lens_steer.data import ContrastivePairs, Prompts, Question, Questions, without_near_duplicates
from lens_steer.models import Message

LEARNED = "The quick brown fox jumps over the lazy dog."


def asked(text: str, instruction: str = "") -> Question:
    prompt = f"{instruction}\n\n{text}" if instruction else text
    return Question(prompt, (" a", " b"), (True, False), "", instruction, text)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("A QUICK brown fox, jumps OVER!", True),
        ("Quick brown fox jumps under", False),
        ("quick-brown fox jumps over the wall", False),
        ('He said: "brown fox jumps over the" and left', True),
        ("the lazy dog", False),
        ("over the lazy dog", False),
        ("fox jumps over the lazy", True),
        ("The quick brown fox jumps over the lazy dog.", True),
    ],
)
def test_five_words_in_a_row_are_a_near_duplicate(text: str, near: bool) -> None:
    other = "Nothing is shared by these words at all"
    parts = without_near_duplicates(Prompts((LEARNED,)), Prompts((text, other)))
    _, test = parts
    assert list(test) == ([other] if near else [text, other])
    assert parts.left_out[1].total == near


def test_a_short_text_is_a_near_duplicate_of_its_equal_alone() -> None:
    train = Prompts(("Very good", "a very fine film indeed it was"))
    _, test = without_near_duplicates(train, Prompts(("very GOOD!", "fine film", "very", "!")))
    assert list(test) == ["fine film", "very", "!"]


def test_what_is_left_out_is_counted_and_named() -> None:
    parts = without_near_duplicates(
        Questions((asked("one two three four five"),), "train"),
        Questions((asked("six"), asked("zero one two three four five"), asked("seven")), "dev"),
        Questions((asked("zero one two three four"), asked("eight")), "test"),
    )
    assert parts.counts == (1, 3, 2)
    assert [left.total for left in parts.left_out] == [0, 1, 0]
    [(reason, places)] = parts.left_out[1].rows.items()
    assert reason == "5 words in a row of an earlier part"
    assert places == ("1: 'zero one two three four five'",)
    dev = parts.parts[1]
    assert isinstance(dev, Questions)
    assert dev.left_out == parts.left_out[1]
    assert "dev: 3 items, left out 1 with 5 words in a row" in repr(parts)
    assert "(33.3%)" in repr(parts)


def test_the_bare_question_is_compared_and_not_its_instruction() -> None:
    told = "Say which of the two answers is right."
    parts = [Questions((asked(f"{x} is so", told),)) for x in ("This", "That")]
    assert without_near_duplicates(*parts).parts == tuple(parts)
    prompts = [Prompts(tuple(part.prompts)) for part in parts]
    with pytest.raises(ValueError, match="nothing remains of part 1 .*ignore="):
        without_near_duplicates(*prompts)
    assert without_near_duplicates(*prompts, ignore=[told]).parts == tuple(prompts)


FORM = ("What was the cause of this?", "What happened as a result?")


def test_what_belongs_to_the_form_of_questions_does_not_count() -> None:
    texts = (f"It rained. {FORM[0]} A: sea B: sky", f"He fell. {FORM[0]} A: one B: two")
    train, test = (Questions((asked(text),), form=FORM) for text in texts)
    assert without_near_duplicates(train, test).parts == (train, test)
    assert without_near_duplicates(train, Questions(test.items)).parts == (train, test)
    again = Questions((asked(f"It rained. {FORM[1]} A: sea B: sky"), *test), form=FORM)
    assert list(without_near_duplicates(train, again).parts[1]) == list(test)
    bare = [Questions(part.items) for part in (train, test)]
    with pytest.raises(ValueError, match="nothing remains of part 1"):
        without_near_duplicates(*bare)
    assert [part.form for part in train.split(1.0, seed=0)] == [train.first(1).form] == [FORM]
    assert again.form == without_near_duplicates(train, again).parts[1].form


def test_instructions_do_not_count_where_the_bare_question_is_unknown() -> None:
    told = "Say which of the two answers is right."
    sides = [
        Questions((Question(f"{told}\n\n{x} is so", (" a", " b"), (True, False), "", told),))
        for x in ("This", "That")
    ]
    assert without_near_duplicates(*sides).parts == tuple(sides)


def test_what_a_form_leaves_over_is_no_near_duplicate_by_itself() -> None:
    """A form in the middle leaves "Q:" and "A:": both prompts have them."""
    train, test = (
        Prompts((f"A question: {x} one two three say what is so A:",)) for x in ("sea", "sky")
    )
    form = [" say what is so"]
    assert without_near_duplicates(train, test, ignore=form).parts == (train, test)
    short = [Prompts((f"{x} say what is so A:",)) for x in ("sea", "sky", "SEA")]
    assert without_near_duplicates(*short[:2], ignore=form).parts == tuple(short[:2])
    with pytest.raises(ValueError, match="nothing remains of part 1"):
        without_near_duplicates(short[0], short[2], ignore=form)


def test_pairs_are_compared_by_prompt_or_else_by_text() -> None:
    train = ContrastivePairs.of([("a b c d e f", " x", " y"), ("", "k l m n o", "p q r s t")])
    rows = [
        ("b c d e f", " z", " w"),
        ("h", "k l m n o", "u"),
        ("", "i", "z p q r s t"),
        ("", "j", "k"),
    ]
    _, test = without_near_duplicates(train, ContrastivePairs.of(rows))
    assert test == ContrastivePairs.of([rows[1], rows[3]])
    texts = ContrastivePairs.unpaired(["a b c d e", "new"], ["old", "z k l m n o", "b c d e f"])
    _, unpaired = without_near_duplicates(train, texts)
    assert unpaired == ContrastivePairs.unpaired(["a b c d e", "new"][1:], ["old"])
    with pytest.raises(ValueError, match="nothing remains of one side of pairs: 0 desired and 1"):
        without_near_duplicates(train, ContrastivePairs.unpaired(["a b c d e"], ["old"]))


def test_chats_are_compared_by_what_is_said() -> None:
    chats = [(Message("user", f"Tell me all about {x} please"),) for x in ("rain", "rain", "snow")]
    train, test = Prompts((chats[0],)), Prompts((chats[1], chats[2]))
    assert list(without_near_duplicates(train, test, words=6).parts[1]) == [chats[2]]


@pytest.mark.parametrize(("words", "letters"), [(1, 52), (2, 8), (3, 3)])
def test_a_search_by_force_finds_the_same(words: int, letters: int) -> None:
    draw = np.random.default_rng(words)
    named = [a + b for a in "xy" for b in string.ascii_lowercase][:letters]
    texts = [" ".join(draw.choice(named, size=draw.integers(1, 7))) for _ in range(40)]
    parts = [tuple(texts[:8]), tuple(texts[8:24]), tuple(texts[24:])]
    earlier: list[str] = []
    expected = []
    for part in parts:
        kept = [t for t in part if not any(_shared(t, other, words) for other in earlier)]
        earlier += kept
        expected.append(kept)
    assert 0 < len(expected[1]) < len(parts[1])
    found = without_near_duplicates(*(Prompts(part) for part in parts), words=words)
    assert [list(part) for part in found] == expected


def _shared(text: str, other: str, words: int) -> bool:
    """Whether some run of words of one is one of the other, as texts between spaces."""
    a, b = text.split(), other.split()
    if min(len(a), len(b)) < words:
        return a == b
    return any(f" {' '.join(a[i : i + words])} " in f" {other} " for i in range(len(a) - words + 1))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("parts", "options", "reason"),
    [
        ((), {}, "got no parts"),
        ((["a"],), {}, "expected"),
        ((Prompts(("a",)),), {"words": 0}, "words=0, expected a whole number of at least 1"),
        ((Prompts(("a",)),), {"ignore": "a"}, "ignore='a', expected a list of texts"),
    ],
)
def test_what_is_no_part_is_refused(parts: Any, options: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        without_near_duplicates(*parts, **options)
