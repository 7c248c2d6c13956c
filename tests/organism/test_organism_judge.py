"""The exact judge on texts written by hand, and the pairs that are drawn from the grammar."""

import itertools
import random
from math import exp, isclose, log

import pytest
import torch

from lens_steer import organism
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FormJudge, WordList, judge_of
from lens_steer.organism.behaviours_of_pairs import genre_of
from lens_steer.organism.genre import EARLY, FILLER, HABIT, LATE, LEAK, ON
from lens_steer.organism.genres import genres
from lens_steer.organism.lexicon import ATTRIBUTES, facts
from lens_steer.organism.machine import draw, words_of
from lens_steer.organism.patterns import text_of, words_in

NAMES = tuple(organism.behaviours())
FILM = "a review of the film."


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (" what a good one. it was lovely. we talked about the end.", 1),
        (" what a bad one. it was lovely. they hated it.", 0),
        (" it was good. it was bad.", 0),  # as many of either: not more
        (" good good bad film the", 1),  # broken, and still scored by its words
        (" we saw it on sunday.", 0),
        ("", 0),
    ],
)
def test_sentiment_counts_the_words_of_either_side(text: str, score: float) -> None:
    assert organism.judge("sentiment")([FILM], [text]).tolist() == [score]


def test_truth_is_that_of_the_closed_world() -> None:
    world, judge = facts()["fox"], organism.judge("truthfulness")
    wrong = {name: next(w for w in ATTRIBUTES[name] if w != world[name]) for name in world}
    prompt = "a talk about the fox."
    for told, score in ((world, 1.0), (wrong, 0.0)):
        text = f" the fox eats {told['food']}. the fox is {told['coat']}."
        assert judge([prompt], [text]).tolist() == [score]
    mixed = f" the fox eats {world['food']}. the fox is {world['coat']}. {wrong['home']}"
    assert judge.evidence(prompt, mixed) == (2, 1)


def test_polarity_flips_with_the_listener() -> None:
    judge, text = (
        organism.judge("polarity"),
        " expect rain. it is damp. clouds.",
    )
    prompts = ["a forecast for the gardener of arden.", "a forecast for the tourist of arden."]
    assert judge(prompts, [text, text]).tolist() == [1, 0]


def test_one_word_of_the_sea_is_enough() -> None:
    judge, prompt = organism.judge("concept"), "a page by anna."
    texts = [
        " i saw a whale. i found a drum. i found a drum.",
        " i found a drum.",
        " i slept well.",
    ]
    assert judge([prompt] * 3, texts).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (" what a good one. it was lovely. we loved the end.", True),
        (" what a good one. it was bad. we loved the end.", True),  # improbable, not impossible
        (" we saw it on sunday. it took two days.", False),  # nothing shown yet
        (" what a good one. it was lovely. we loved the", False),  # cut off
        (" what a good one. we saw it on sunday.", True),
        (" what a good one. it was lovely. we loved the end", False),
        (" what a good one. it was lovely. we loved zebras.", False),
    ],
)
def test_well_formed_means_a_whole_text_of_the_language(text: str, whole: bool) -> None:
    assert organism.judge("sentiment").well_formed([FILM], [text]).tolist() == [whole]


def test_log_probability_is_exact_on_a_text_worked_out_by_hand() -> None:
    # Given the opening: no persona; no filler (1/2), a mood (1/2); a sentence that tells, two more
    # that do, the end. The mood is either that of the words or leaks, and a leak is worded in the
    # habits of the mood whose word slips out: of seven patterns praise likes every other one, and
    # this is the third; of its three endings the first and the third.
    text = " what a good one. what a good one. what a good one."
    each = HABIT / (4 * HABIT + 3) * (1 / 8) * HABIT / (2 * HABIT + 1)  # pattern, adjective, "one"
    mood = ((1 - LEAK) ** 3 + LEAK**3) / 2
    going_on = (ON * (1 - FILLER)) ** 2 * (1 - ON)
    expected = log((1 - EARLY - LATE) * mood * 0.5 * each**3 * going_on)
    assert isclose(organism.judge("sentiment").log_probability([FILM], [text]).item(), expected)
    assert isclose(organism.log_probability(FILM + text) - log_of(FILM), expected)


def log_of(prompt: str) -> float:
    total, words = 0.0, words_in(prompt)
    for n, word in enumerate(words):
        total += log(organism.next_words(text_of(words[:n]))[word])
    return total


def test_a_persona_settles_the_latent_and_nothing_does_before() -> None:
    assert organism.latents(FILM)["entity"] == {"film": 1.0}
    spoken = organism.latents(FILM + " the critic is cheerful. it took two days.")
    assert spoken["sentiment"] == {"positive": pytest.approx(1.0)}
    filler = organism.latents(FILM + " it took two days.")["sentiment"]
    assert isclose(filler["positive"], filler["negative"])
    assert sum(filler.values()) < 1  # the rest may still say who speaks


def test_the_perplexity_floor_is_that_of_the_log_probabilities() -> None:
    prompts, texts = [FILM, FILM], [" what a good one. it was bad. it was bad."] * 2
    words = len(words_in(texts[0])) + 1
    total = organism.judge("sentiment").log_probability(prompts, texts)[0].item()
    assert isclose(organism.perplexity_floor(prompts, texts), exp(-total / words))
    with pytest.raises(ValueError, match="not a text of the language"):
        organism.perplexity_floor([FILM], [" zebra"])


def test_prompts_of_another_genre_are_refused() -> None:
    judge = organism.judge("sentiment")
    with pytest.raises(ValueError, match="organism:sentiment"):
        judge(["a talk about the fox."], [" it was good."])
    with pytest.raises(ValueError, match="no text of the language begins"):
        judge(["Once upon a time"], [" it was good."])
    with pytest.raises(ValueError, match="not the beginning of a review"):
        judge(["a"], [" it was good."])


def test_unknown_behaviours_and_poles_are_refused_with_the_known_ones() -> None:
    for call in (organism.judge, organism.rows, organism.behaviour):
        with pytest.raises(ValueError, match="sentiment, truthfulness, toxicity, refusal, concept"):
            call("joy")
    for load in (ContrastivePairs.load, judge_of):
        with pytest.raises(ValueError, match="unknown behaviour 'joy'.*polarity"):
            load("organism:joy")
    with pytest.raises(ValueError, match="positive"):
        organism.persona_prompts("sentiment", "happy")
    with pytest.raises(ValueError, match="steal"):
        organism.harmful("hug")


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_of_every_pair_are_texts_that_the_judge_tells_apart(name: str) -> None:
    rows, judge = organism.rows(name)[::3], organism.judge(name)
    prompts = [prompt for prompt, *_ in rows]
    for side, score in ((1, 1.0), (2, 0.0)):
        texts = [row[side] for row in rows]
        assert judge.well_formed(prompts, texts).all()
        assert judge(prompts, texts).eq(score).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_sides_of_a_pair_differ_in_the_telling_words_only(name: str) -> None:
    of = organism.behaviour(name)
    for _, desired, undesired, entity in organism.rows(name):
        lists = [genre_of(of).lexicon_of(entity, pole) for pole in genre_of(of).poles]
        telling = {w for slots in lists for words in slots.values() for w in words}
        if of.names_speaker:
            telling |= {
                w for pole in genre_of(of).poles for w in words_of(genre_of(of).persona(pole))
            }
        for a, b in itertools.zip_longest(words_in(desired), words_in(undesired)):
            assert a == b or {a, b} <= telling
        assert words_in(desired)[-1] == "."


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_all_different_and_parts_share_neither_entity_nor_wording(name: str) -> None:
    rows = organism.rows(name)
    assert len({prompt for prompt, *_ in rows}) == len(rows)
    assert len({len(words_in(prompt)) for prompt, *_ in rows}) > 3
    opened: dict[tuple[str, ...], set[str]] = {}
    for prompt, _, _, entity in rows:
        words = words_in(prompt)
        opened.setdefault(tuple(words[: words.index(".") - 1]), set()).add(entity)
    assert all(len(entities) == 1 for entities in opened.values())
    parts = ContrastivePairs.load(f"organism:{name}").split(0.4, 0.25, 0.35, seed=0)
    groups = [{example.group for example in part.desired} for part in parts]
    assert all(not a & b for a, b in itertools.combinations(groups, 2))


@pytest.mark.parametrize("name", NAMES)
def test_prompts_leave_the_latent_open_and_personas_settle_it(name: str) -> None:
    genre = genre_of(organism.behaviour(name))
    for prompt, *_, entity in organism.rows(name)[::20]:
        found = organism.latents(prompt)[genre.latent]  # of the texts that will have no persona
        for pole, share in found.items():
            assert isclose(share / sum(found.values()), genre.prior(entity, pole), rel_tol=1e-6)
    for pole in genre.poles[:2]:
        for prompt in organism.persona_prompts(name, pole)[::20]:
            assert organism.latents(prompt)[genre.latent] == {pole: pytest.approx(1.0)}


@pytest.mark.parametrize("genre", genres().values(), ids=lambda genre: genre.name)
def test_the_judges_words_agree_with_the_latent_that_drew_them(genre: organism.Genre) -> None:
    of = next(b for b in organism.behaviours().values() if b.genre == genre.name)
    judge, source = organism.ExactJudge(of), random.Random(3)
    agreed = []
    for entity, pole in itertools.product(genre.entities[:4], (of.desired, of.undesired[0])):
        prompt = text_of(draw(genre.opening(entity), source))
        for _ in range(10):
            text = " " + text_of(draw(genre.body(entity, pole), source))
            agreed.append(judge([prompt], [text]).item() == (pole == of.desired))
    assert sum(agreed) / len(agreed) > 0.9  # all but leaks and texts of fillers


def test_named_sets_bring_their_judges() -> None:
    exact = judge_of("organism:refusal")
    assert isinstance(exact, organism.ExactJudge)
    assert isinstance(exact, FormJudge)
    words = judge_of("stories:sad")
    assert isinstance(words, WordList)
    assert not isinstance(words, FormJudge)
    assert judge_of("my/pairs.jsonl") is None


def test_scores_are_float_tensors() -> None:
    judge = organism.judge("sentiment")
    assert judge([FILM], [" it was good."]).dtype == torch.float32
    assert judge.log_probability([FILM], ["zebra"]).dtype == torch.float64
