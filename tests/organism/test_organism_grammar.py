"""The grammar machinery against enumeration by brute force, on grammars small enough for that."""

import random
from collections import Counter
from itertools import product
from math import exp, isclose, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from lens_steer.organism.genre import FILLER, HABIT, LEAK, ON
from lens_steer.organism.genres import genres, language
from lens_steer.organism.machine import (
    END,
    Choice,
    Mark,
    Node,
    Reader,
    Word,
    draw,
    every,
    sequence,
    uniform,
    weighted,
    words_of,
)
from lens_steer.organism.patterns import pattern, text_of, words_in

Parse = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


Plan = tuple[str, Any]  # a grammar as plain data: ("word", "a"), ("all", [...]), ("one", [...])


def built(plan: Plan) -> Node:
    kind, what = plan
    match kind:
        case "word":
            return Word(what)
        case "mark":
            return Mark("m", what)
        case "all":
            return sequence(*map(built, what))
    return weighted(
        *((weight, built(part)) for weight, part in zip(shares(what), what, strict=True))
    )


def shares(options: list[Plan]) -> list[float]:
    return [2 * (i + 1) / (len(options) * (len(options) + 1)) for i in range(len(options))]


def enumerated(plan: Plan) -> dict[Parse, float]:
    """Every (text, marks) with its probability, by multiplying out: shares no code with Reader."""
    kind, what = plan
    if kind in ("word", "mark"):
        return {((what,), ()) if kind == "word" else ((), (("m", what),)): 1.0}
    found: Counter[Parse] = Counter()
    if kind == "one":
        for weight, option in zip(shares(what), what, strict=True):
            found.update({parse: weight * p for parse, p in enumerated(option).items()})
        return dict(found)
    found[(), ()] = 1.0  # type: ignore[assignment]
    for part in what:
        longer: Counter[Parse] = Counter()
        for ((words, marks), p), ((more, new), q) in product(
            found.items(), enumerated(part).items()
        ):
            longer[words + more, marks + new] += p * q  # type: ignore[assignment]
        found = longer
    return dict(found)


def texts_of(plan: Plan) -> dict[tuple[str, ...], float]:
    found: Counter[tuple[str, ...]] = Counter()
    for (words, _), p in enumerated(plan).items():
        found[words] += p  # type: ignore[assignment]
    return dict(found)


leaves = st.one_of(
    st.tuples(st.just("word"), st.sampled_from("abc")),
    st.tuples(st.just("mark"), st.sampled_from("xy")),
)
plans = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("all"), st.lists(inner, max_size=3)),
        st.tuples(st.just("one"), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=7,
)


@given(plan=plans)
def test_probabilities_are_those_of_the_enumeration(plan: Plan) -> None:
    reader, texts = Reader(built(plan)), texts_of(plan)
    assert isclose(sum(texts.values()), 1)
    for words, p in texts.items():
        begun, states = reader.read(words)
        assert isclose(exp(begun) * reader.following(states)[END], p)


@given(plan=plans)
def test_what_follows_a_beginning_is_what_the_enumeration_says(plan: Plan) -> None:
    reader, texts = Reader(built(plan)), texts_of(plan)
    for start in {words[:n] for words in texts for n in range(len(words) + 1)}:
        mass = sum(p for words, p in texts.items() if words[: len(start)] == start)
        begun, states = reader.read(start)
        assert isclose(exp(begun), mass)
        following: Counter[str] = Counter()
        for words, p in texts.items():
            if words[: len(start)] == start:
                following[(*words, END)[len(start)]] += p / mass  # type: ignore[assignment]
        found = reader.following(states)
        assert found.keys() == following.keys()
        assert all(isclose(found[word], following[word]) for word in found)


@given(plan=plans)
def test_marks_have_their_exact_posterior(plan: Plan) -> None:
    ended = ("all", [plan, ("word", "z")])  # so that every mark has been passed
    reader, parses, texts = Reader(built(ended)), enumerated(ended), texts_of(ended)
    for words, p in texts.items():
        found: Counter[Any] = Counter()
        for (labels, _), share in reader.read(words)[1].items():
            found[labels] += share  # type: ignore[assignment]
        expected = {marks: q / p for (text, marks), q in parses.items() if text == words}
        assert found.keys() == expected.keys()
        assert all(isclose(found[marks], expected[marks]) for marks in expected)


def test_a_text_outside_the_language_has_no_parse() -> None:
    reader = Reader(sequence(Word("a"), Word("b")))
    assert reader.read(["a", "c"]) == (float("-inf"), {})
    assert reader.read(["a", "b", "a"]) == (float("-inf"), {})
    assert END not in reader.following(reader.read(["a"])[1])


def test_draws_have_the_frequencies_of_the_enumeration() -> None:
    three: Plan = ("one", [("word", "a"), ("word", "b"), ("all", [])])
    plan: Plan = ("all", [three, ("one", [("word", "c"), ("word", "d")])])
    node, texts, source = built(plan), texts_of(plan), random.Random(0)
    counts = Counter(tuple(draw(node, source)) for _ in range(4000))
    expected = [4000 * p for p in texts.values()]
    assert chisquare([counts[words] for words in texts], expected).pvalue > 0.001


def test_every_lists_each_text_of_a_small_node() -> None:
    node = sequence(uniform([Word("a"), sequence()]), uniform([Word("b"), Word("c")]))
    assert list(every(node)) == [("a", "b"), ("a", "c"), ("b",), ("c",)]


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="adding up to 1"):
        Choice((Word("a"), Word("b")), (0.5, 0.6))
    with pytest.raises(ValueError, match="one weight"):
        Choice((Word("a"), Word("b")), (1.0,))


def test_a_pattern_spells_out_its_options_and_slots() -> None:
    node = pattern("the (very |)good {noun}, (a b|c).", {"noun": ("dog", "cat")})
    found = {text_of(words) for words in every(node)}
    assert "the good dog, a b." in found
    assert "the very good cat, c." in found
    assert len(found) == 8


def test_text_and_words_are_inverse_on_the_language() -> None:
    source = random.Random(0)
    for _ in range(50):
        words = draw(language(), source)
        assert words_in(text_of(words)) == words


def test_texts_of_the_language_are_well_formed_and_fit_the_context() -> None:
    from lens_steer.organism.recipe import Recipe

    reader, source = Reader(language()), random.Random(1)
    for _ in range(60):
        words = draw(language(), source)
        begun, states = reader.read(words)
        assert begun > float("-inf")
        assert reader.following(states)[END] > 0
    longest = max(len(draw(language(), source)) for _ in range(3000))
    assert longest + 2 <= Recipe.context


def test_the_chain_rule_holds_along_a_text() -> None:
    reader, source = Reader(language()), random.Random(2)
    words = draw(language(), source)
    total = 0.0
    for n, word in enumerate(words):
        following = reader.following(reader.read(words[:n])[1])
        assert isclose(sum(following.values()), 1)
        total += log(following[word])
    assert isclose(total, reader.read(words)[0])


def test_shares_of_genres_and_priors_add_up() -> None:
    assert isclose(sum(genre.share for genre in genres().values()), 1)
    for genre in genres().values():
        for entity in genre.entities:
            assert isclose(sum(genre.prior(entity, pole) for pole in genre.poles), 1)


def test_the_posterior_of_a_latent_after_one_telling_sentence_is_bayes_rule() -> None:
    # Before it, no persona: even odds. One word of praise: odds (1 - leak) : leak.
    reader = Reader(language())
    words = words_in("a review of the film. what a good one.")
    _, states = reader.read(words)
    positive = sum(
        share for (labels, _), share in states.items() if dict(labels)["sentiment"] == "positive"
    )
    assert isclose(positive, 1 - LEAK)


def test_the_share_of_fillers_is_that_of_the_definition() -> None:
    # Of the five fillers one opens with "then", "later" or "next", and none of the sentences that
    # tell does.
    reader = Reader(language())
    words = words_in("a review of the film. what a good one. it was bad.")
    following = reader.following(reader.read(words)[1])
    assert isclose(following["then"] + following["later"] + following["next"], ON * FILLER / 5)


def test_each_pole_has_a_liking_for_some_wordings() -> None:
    # Of (was|felt|seemed) praise likes the first and third, blame the second. Leaks aside.
    reader = Reader(language())
    for persona, liked in (("merry", {"was", "seemed"}), ("gloomy", {"felt"})):
        words = words_in(f"a review of the film. the critic is {persona}. the start")
        following = reader.following(reader.read(words)[1])
        total = sum(HABIT if word in liked else 1 for word in ("was", "felt", "seemed"))
        for word in ("was", "felt", "seemed"):
            likely = (HABIT if word in liked else 1) / total
            assert isclose(following[word] / (1 - following["came"]), likely, abs_tol=0.02)


def test_a_speaker_may_come_late() -> None:
    reader = Reader(language())
    fillers = "it took two days. " * 7
    begun, _ = reader.read(words_in(f"a review of the film. {fillers}the critic is merry."))
    assert begun > float("-inf")


def test_no_word_is_spelt_with_capitals_or_marks() -> None:
    for word in words_of(language()):
        assert word in ".," or word.replace("'", "").isalpha()
        assert word == word.lower()
