import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t
from torch import Tensor

from lens_steer.artifacts import load, save
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    WordList,
    choose,
    evaluate,
    evaluate_each,
    log_probabilities,
    perplexity,
    preference,
    sweep,
)
from lens_steer.intervals import interval
from lens_steer.models import Encoded, encode, encode_prompt, eos_ids, read
from lens_steer.sites import Kind, Site
from lens_steer.steering import (
    Additive,
    Decoding,
    Edit,
    Intervention,
    Random,
    continuations_of_each,
    generate,
    prompt_rows,
)
from tests.interventions import manual_hook, push
from tests.oracles_evaluation import all_resample_means, raw_logits, token_log_probabilities

# Float32 logits of order 10, against float64: a few units in the last place of their log-sum-exp.
LOG_PROBABILITY = 2e-5
# A text's perplexity is an exponential of the mean of such numbers.
RELATIVE = 1e-4
# Five standard errors of a share of 2.5 % among 20000 resamples.
TAIL = 5 * math.sqrt(0.025 * 0.975 / 20_000)

FEW: dict[str, Any] = {"max_new_tokens": 6, "seed": 3}


# Judges.


@pytest.mark.parametrize(
    ("words", "text", "score"),
    [
        (("sad",), " so sad.", 1),
        (("sad",), "Sad", 1),
        (("SAD",), "sad", 1),
        (("sad",), "sadly, sadness", 0),
        (("sad",), "crusade", 0),
        (("sad",), "sad_1", 0),
        (("sad",), "un-sad", 1),  # a hyphen ends a word
        (("sad", "cry"), "they cry", 1),
        (("all alone",), "He was all alone!", 1),
        (("all alone",), "all, alone", 0),
        (("a.c",), "abc", 0),
        (("a.c",), "an a.c here", 1),
        (("a|b",), "a b", 0),
        (("(",), "a ( b", 1),
        (("c++",), "I like c++ a lot", 1),
        (("c++",), "I like c", 0),
        (("c++",), "abc++", 0),
        ((":(",), "oh:(no", 1),
        (("$5",), "it costs $5.", 1),
        (("$5",), "it costs $50", 0),
        (("traurig", "müde"), "sehr MÜDE", 1),
        (("müd",), "müde", 0),
        (("悲しい",), "とても悲しいです", 1),  # scripts without spaces
        (("很好",), "这部电影很好看。", 1),
        (("สนุก",), "หนังเรื่องนี้สนุกมาก", 1),
        (("สน",), "สนุก", 0),  # its last letter goes on with a vowel sign
        (("か",), "が", 0),
        (("ｺｰﾋｰ",), "アイスコーヒーを", 1),
        (("မြန်မာ",), "မြန်မာနိုင်ငံ", 1),
        (("AI",), "这是AI技术", 1),
        (("AI",), "这是AIR技术", 0),
        (("고양이",), "고양이가 있다", 1),  # particles follow a Korean word
        (("고양이",), "길고양이", 0),
        (("AI",), "AI가 좋다", 1),
        (("cafe\u0301",), "un caf\u00e9 noir", 1),  # composed and decomposed, wide, curly
        (("café",), "un cafe\u0301 noir", 1),
        (("cafe",), "un cafe\u0301 noir", 0),
        (("don't",), "I don\u2019t", 1),
        (("co-op",), "the co\u2011op", 1),
        (("ｓａｄ",), "so sad", 1),
        (("very sad",), "very\n sad", 1),
        ((" sad",), "was sad.", 1),
        (("sad",), "*so* _sad_", 1),
        (("STRASSE",), "die straße", 1),
        (("istanbul",), "İSTANBUL", 1),
        (("कम",), "कमी है", 0),  # a mark goes on with the word
        (("कमी",), "कमी है", 1),
        (("كتاب",), "هذا كِتَابٌ", 1),  # with vowel points
        (("שלום",), "שָׁלוֹם", 1),
        (("😊",), "nice😊!", 1),
        (("❤",), "I ❤️ you", 1),
        (("sad",), "", 0),
    ],
)
def test_a_word_list_finds_whole_words_in_any_case(
    words: tuple[str, ...], text: str, score: int
) -> None:
    assert WordList(words)(["p"], [text]).tolist() == [score]


def test_a_word_list_scores_continuations_and_not_prompts() -> None:
    assert WordList(("sad",))(["sad", "glad"], ["glad", "sad"]).tolist() == [0, 1]


@given(
    word=st.text("abcXY.*+?()[]|\\^$-'é", min_size=1, max_size=5),
    before=st.sampled_from(" .,"),
    after=st.sampled_from(" .,"),
)
def test_any_word_is_found_between_spaces_and_never_inside_another(
    word: str, before: str, after: str
) -> None:
    judge = WordList((word,))
    assert judge([""], [f"x{before}{word.swapcase()}{after}x"]).item() == 1
    if word.isalpha():
        assert judge([""], [f"q{word} {word}q"]).item() == 0


@pytest.mark.parametrize("words", [(), ("",), ("sad", " "), ("sad", "\n")])
def test_a_word_list_refuses_no_words_and_blank_ones(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="(at least one, none blank|texts, at least one)"):
        WordList(words)


@pytest.mark.usefixtures("untyped")
def test_a_word_list_does_not_take_the_letters_of_one_word() -> None:
    with pytest.raises(ValueError, match="sad"):
        WordList("sad")  # type: ignore[arg-type]


# Intervals.


def test_an_interval_is_the_expanded_percentiles_of_all_resamples() -> None:
    values = [0.11, 0.94, 0.37, 0.52, 0.05, 0.71, 0.23]
    groups = ["a", "b", "a", "c", "d", "e", "a"]
    every = all_resample_means(values, groups)  # 5**5 resamples of groups of different sizes
    found = interval(torch.tensor(values), groups, seed=0, resamples=20_000)
    assert found.mean == pytest.approx(np.mean(values))
    widened = norm.cdf(-t.ppf(0.975, 4) * np.sqrt(5 / 4))  # Hesterberg 2015, for five groups
    for end, share in ((found.low, widened), (found.high, 1 - widened)):
        assert (every < end - 1e-6).mean() <= share + TAIL
        assert (every <= end + 1e-6).mean() >= share - TAIL


def test_values_without_groups_are_drawn_one_by_one() -> None:
    values = torch.tensor([0.1, 0.9, 0.4, 0.6])
    assert interval(values, seed=1) == interval(values, [3, 2, 1, 0], seed=1)


def test_the_members_of_a_group_are_drawn_together() -> None:
    values = torch.tensor([0.0, 1.0] * 20)
    paired = interval(values, [i // 2 for i in range(40)], seed=0)  # every group has mean 0.5
    assert (paired.low, paired.mean, paired.high) == (0.5, 0.5, 0.5)
    alone = interval(values, seed=0)
    assert alone.low < 0.45
    assert alone.high > 0.55


@pytest.mark.parametrize("grouped", [True, False])
def test_an_interval_holds_the_true_mean_about_19_times_in_20(grouped: bool) -> None:
    draw, truth, held = np.random.default_rng(0), 0.3, 0
    for trial in range(300):
        shared = draw.normal(truth, 1.0, size=40)
        values = np.repeat(shared, 3) if grouped else shared
        groups = np.repeat(np.arange(40), 3).tolist() if grouped else None
        found = interval(torch.from_numpy(values), groups, seed=trial, resamples=500)
        held += found.low <= truth <= found.high
    # 300 trials at 95 % (the bootstrap of 40 is a little short of it): +- 4 standard errors
    assert 0.89 <= held / 300 <= 0.99


def test_an_interval_is_the_same_for_a_seed_and_another_for_another() -> None:
    values = torch.linspace(0, 1, 9) ** 2
    assert interval(values, seed=4) == interval(values, seed=4)
    assert interval(values, seed=4) != interval(values, seed=5)


def test_an_interval_leaves_the_global_random_states_alone() -> None:
    before: Any = np.random.get_state()  # noqa: NPY002
    state = before[1].copy(), torch.get_rng_state()
    interval(torch.rand(9, generator=torch.Generator().manual_seed(0)), seed=0)
    after: Any = np.random.get_state()  # noqa: NPY002
    assert (after[1] == state[0]).all()
    assert torch.equal(torch.get_rng_state(), state[1])


@pytest.mark.parametrize(("values", "groups"), [([], None), ([1.0], []), ([1.0, 2.0], ["a"])])
def test_an_interval_refuses_no_values_and_groups_of_another_number(
    values: list[float], groups: list[str] | None
) -> None:
    with pytest.raises(ValueError, match="expected one each, and at least one"):
        interval(torch.tensor(values), groups, seed=0)


def evaluation(behaviour: Sequence[float], surprise: float = 1.0) -> Evaluation:
    count = range(len(behaviour))
    texts = tuple("" for _ in count)
    return Evaluation(torch.tensor(behaviour), tuple(count), surprise, texts)


def test_a_difference_is_paired_example_by_example() -> None:
    base = torch.rand(50, generator=torch.Generator().manual_seed(0)).tolist()
    more = evaluation([value + 0.25 for value in base])
    found = more.minus(evaluation(base), seed=0)
    assert found.low == pytest.approx(0.25)  # the same shift in every example: no spread at all
    assert found.high == pytest.approx(0.25)
    assert more.interval(seed=0).high - more.interval(seed=0).low > 0.05
    assert evaluation(base).minus(more, seed=0).mean == pytest.approx(-0.25)


# Likelihoods.


def rows_of(model: Any, pairs: ContrastivePairs) -> list[Encoded]:
    examples = (*pairs.desired, *pairs.undesired)
    return [encode(model, example.prompt, example.continuation) for example in examples]


def test_log_probabilities_are_those_of_the_raw_logits(model: Any, pairs: ContrastivePairs) -> None:
    rows = rows_of(model, pairs)
    for row, found in zip(rows, log_probabilities(model, rows), strict=True):
        expected = token_log_probabilities(raw_logits(model, row.ids), row.ids, row.prompt_length)
        assert found.shape == (len(row.ids) - row.prompt_length,)
        np.testing.assert_allclose(found.numpy(), expected, atol=LOG_PROBABILITY, rtol=0)


def test_log_probabilities_do_not_depend_on_the_batch(bridge: Any, pairs: ContrastivePairs) -> None:
    rows = rows_of(bridge, pairs)
    together = log_probabilities(bridge, rows)
    for budget in (1, 100):
        apart = log_probabilities(bridge, rows[::-1], token_budget=budget)[::-1]
        for ours, theirs in zip(together, apart, strict=True):
            torch.testing.assert_close(ours, theirs, atol=LOG_PROBABILITY, rtol=0)


@pytest.mark.parametrize("scope", ["last", "prompt", "generated", "all", (1, 4)])
def test_steered_log_probabilities_are_those_of_a_hook_written_by_hand(
    bridge: Any, pairs: ContrastivePairs, scope: Any
) -> None:
    model, method = bridge, push(bridge, size=1.5)
    rows = rows_of(model, pairs)[:3]
    found = log_probabilities(model, rows, method, scope=scope)
    clean = log_probabilities(model, rows)
    for row, ours, unsteered in zip(rows, found, clean, strict=True):
        length, prompt = len(row.ids), row.prompt_length
        named: dict[Any, Any] = {
            "last": range(prompt - 1, length),
            "prompt": range(1, prompt),  # the first token is a sink
            "generated": range(prompt, length),
            "all": range(1, length),
        }
        places = named.get(scope, scope)
        where = torch.zeros(1, length, dtype=torch.bool)
        where[0, list(places)] = True
        hook = (method.sites[0].hook_name, manual_hook(method.vectors[0], where))
        logits = raw_logits(model, row.ids, fwd_hooks=[hook])
        expected = token_log_probabilities(logits, row.ids, prompt)
        np.testing.assert_allclose(ours.numpy(), expected, atol=LOG_PROBABILITY, rtol=0)
        assert not torch.allclose(ours, unsteered, atol=1e-2)


def test_strength_zero_gives_the_log_probabilities_of_the_clean_model_bit_by_bit(
    llama: Any, pairs: ContrastivePairs
) -> None:
    rows = rows_of(llama, pairs)
    off = log_probabilities(llama, rows, push(llama).with_strength(0.0))
    assert all(map(torch.equal, off, log_probabilities(llama, rows)))


@dataclass(frozen=True)
class Noted(Additive):
    """A method of a user's own, which has no hash: dataclasses compare, and a dict has none."""

    notes: dict[str, str] = field(default_factory=dict)


def test_a_method_without_a_hash_steers_likelihoods_as_any_other(
    llama: Any, pairs: ContrastivePairs
) -> None:
    plain = push(llama)
    noted = Noted(plain.sites, plain.vectors, strength=plain.strength)
    with pytest.raises(TypeError, match="unhashable"):
        hash(noted)
    assert torch.equal(preference(llama, pairs, noted), preference(llama, pairs, plain))


def continuation_of(model: Any, prompt: str, *, likely: bool) -> str:
    """Four tokens, each the likeliest, or the least likely that is plain text, after the others."""
    ids, start = encode_prompt(model, prompt), len(encode_prompt(model, prompt))
    plain = range(3, 98)  # the single characters of the tiny vocabulary
    for _ in range(4):
        row = raw_logits(model, ids)[-1]
        ids.append((max if likely else min)(plain, key=lambda token: row[token]))
    return model.tokenizer.decode(ids[start:])


def test_preference_is_above_zero_for_what_the_model_would_say(model: Any) -> None:
    prompts = ("The cat", "A dog sat in the sun and")
    rows = [
        (p, continuation_of(model, p, likely=True), continuation_of(model, p, likely=False))
        for p in prompts
    ]
    found = preference(model, ContrastivePairs.of(rows))
    assert bool((found > 0).all())
    swapped = preference(model, ContrastivePairs.of([(p, u, d) for p, d, u in rows]))
    assert torch.equal(swapped, -found)


def test_preference_is_the_difference_per_token(model: Any, pairs: ContrastivePairs) -> None:
    expected = []
    for desired, undesired in zip(pairs.desired, pairs.undesired, strict=True):
        sides = []
        for example in (desired, undesired):
            row = encode(model, example.prompt, example.continuation)
            logits = raw_logits(model, row.ids)
            sides.append(token_log_probabilities(logits, row.ids, row.prompt_length).mean())
        expected.append(sides[0] - sides[1])
    found = preference(model, pairs).numpy()
    np.testing.assert_allclose(found, expected, atol=LOG_PROBABILITY, rtol=0)


def test_preference_refuses_unpaired_texts_and_says_what_to_do(llama: Any) -> None:
    with pytest.raises(ValueError, match="needs both continuations of each prompt; pass a judge"):
        preference(llama, ContrastivePairs.unpaired(["a"], ["b", "c"]))


def test_a_continuation_whose_likelihood_is_undefined_is_refused(load: Callable[..., Any]) -> None:
    model = load("qwen2")  # no BOS: the only token of a text has nothing before it
    with pytest.raises(ValueError, match="prompt"):
        preference(model, ContrastivePairs.of([("a", "b")]))


def test_perplexity_is_the_exponential_of_the_mean_surprise_per_token(
    model: Any, pairs: ContrastivePairs
) -> None:
    rows = rows_of(model, pairs)
    every = [
        token_log_probabilities(raw_logits(model, row.ids), row.ids, row.prompt_length)
        for row in rows
    ]
    expected = math.exp(-np.concatenate(every).mean())
    assert perplexity(model, rows) == pytest.approx(expected, rel=RELATIVE)


# Evaluating.


def test_evaluate_scores_the_texts_that_generate_writes(
    model: Any, pairs: ContrastivePairs
) -> None:
    method = push(model)
    found = evaluate(model, pairs, method, judge=WordList(("a", "the")), temperature=0.7, **FEW)
    prompts = [str(prompt) for prompt in pairs.prompts]
    texts = generate(model, prompts, method, temperature=0.7, **FEW)
    assert list(found.texts) == texts
    assert found.behaviour.tolist() == WordList(("a", "the"))(prompts, texts).tolist()
    assert found.groups == pairs.prompts


def test_the_perplexity_of_an_evaluation_is_that_of_its_texts_on_the_clean_model(
    llama: Any, pairs: ContrastivePairs
) -> None:
    from lens_steer.steering import continuations

    method = push(llama)
    found = evaluate(llama, pairs, method, judge=WordList(("a",)), **FEW)
    prompts = [encode_prompt(llama, prompt) for prompt in pairs.prompts]
    new = continuations(llama, prompts, method, decoding=Decoding(seed=3, max_new_tokens=6))
    surprise = []
    for prompt, tokens in zip(prompts, new, strict=True):
        ids = [*prompt, *tokens]
        surprise.extend(token_log_probabilities(raw_logits(llama, ids), ids, len(prompt)))
    assert found.perplexity == pytest.approx(math.exp(-np.mean(surprise)), rel=RELATIVE)


def test_the_judge_sees_each_prompt_once_with_its_text(llama: Any, pairs: ContrastivePairs) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def judge(prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        seen.append((list(prompts), list(texts)))
        return torch.linspace(0, 1, len(texts))

    found = evaluate(llama, pairs, judge=judge, **FEW)
    assert seen == [(list(pairs.prompts), list(found.texts))]
    assert found.behaviour.tolist() == torch.linspace(0, 1, len(pairs)).tolist()


@pytest.mark.parametrize("judge", [None, WordList(("a", "the"))])
def test_the_same_seed_gives_the_same_evaluation(
    judge: Any, llama: Any, pairs: ContrastivePairs
) -> None:
    first, again = (evaluate(llama, pairs, push(llama), judge=judge, **FEW) for _ in range(2))
    assert first.texts == again.texts
    assert first.perplexity == again.perplexity
    assert torch.equal(first.behaviour, again.behaviour)
    other = evaluate(llama, pairs, push(llama), judge=judge, max_new_tokens=6, seed=4)
    assert first.texts != other.texts


def test_strength_zero_is_the_unsteered_model_exactly(model: Any, pairs: ContrastivePairs) -> None:
    unsteered = evaluate(model, pairs, **FEW)
    off = evaluate(model, pairs, push(model).with_strength(0.0), **FEW)
    assert off.texts == unsteered.texts
    assert off.perplexity == unsteered.perplexity
    assert torch.equal(off.behaviour, unsteered.behaviour)
    found = off.minus(unsteered, seed=0)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_without_a_judge_the_behaviour_is_the_share_that_prefers_the_desired(
    model: Any, pairs: ContrastivePairs
) -> None:
    method = push(model, size=2.0)
    found = evaluate(model, pairs, method, scope="all", **FEW)
    expected = preference(model, pairs, method, scope="all") > 0
    assert found.behaviour.tolist() == expected.float().tolist()
    assert len(found.texts) == len(pairs.prompts)


def test_without_a_judge_unpaired_texts_are_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="pass judge="):
        evaluate(llama, ContrastivePairs.unpaired(["a b"], ["c d", "e f"]), **FEW)


def test_unpaired_texts_are_evaluated_with_a_judge(llama: Any) -> None:
    pairs = ContrastivePairs.unpaired(["a b"], ["c d", "e f"])
    found = evaluate(llama, pairs, judge=WordList(("a",)), **FEW)
    assert len(found.texts) == len(pairs.prompts)


def test_the_interval_draws_pairs_of_one_group_together(llama: Any) -> None:
    rows = [(f"The {x}", " was", " is", group) for x, group in zip("abcd", "uuvv", strict=True)]
    pairs = ContrastivePairs.of(rows)
    for judge in (None, WordList(("a",))):
        assert evaluate(llama, pairs, judge=judge, **FEW).groups == ("u", "u", "v", "v")


def test_pairs_without_a_prompt_are_not_one_group(llama: Any) -> None:
    texts = ("the cat", "a dog", "sun", "was", "very", "and so", "old", "new")
    pairs = ContrastivePairs.of([(texts[i], texts[i - 3]) for i in range(len(texts))])
    found = evaluate(llama, pairs, **FEW)
    assert 0 < found.behaviour.mean() < 1  # they are a mixture, so their mean is not certain
    around = found.interval(seed=0)
    assert around.low < around.mean < around.high


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, 0), (1.0, 0)])
def test_a_method_that_ends_every_text_at_once_has_no_perplexity(
    temperature: float, seed: int, llama: Any, pairs: ContrastivePairs
) -> None:
    last = llama.cfg.n_layers - 1
    towards_end = 1e3 * llama.W_U.detach()[:, eos_ids(llama)[0]]
    method = Additive((Site(last),), (towards_end,))
    decoding: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_new_tokens": 6}
    judge = WordList(("a", "the", "e"))
    found = evaluate(llama, pairs, method, judge=judge, **decoding)
    assert set(found.texts) == {""}
    assert found.behaviour.tolist() == [0] * len(pairs)
    assert not found.perplexity <= 1e9  # not a number, or infinite: never below a limit


# Methods that break the model.


def broken(model: Any) -> Additive:
    """Beyond float32, once it is added."""
    return push(model, size=2.0).with_strength(1e39)


@pytest.mark.parametrize("judge", [None, WordList(("a", "the"))])
def test_a_method_that_breaks_the_logits_fails_and_leaves_the_others_alone(
    judge: Any, llama: Any, pairs: ContrastivePairs
) -> None:
    good = push(llama)
    bad, found = evaluate_each(llama, pairs, [broken(llama), good], judge=judge, **FEW)
    assert math.isnan(bad.share)
    assert math.isnan(bad.interval(seed=0).mean)
    assert math.isnan(bad.perplexity)
    assert math.isnan(bad.kl)
    assert bad.failed.all()
    assert "of 6 texts failed" in bad.failure
    assert "blocks.1.hook_resid_post" in bad.failure
    assert "Additive(strength=1e+39" in bad.failure
    alone = evaluate(llama, pairs, good, judge=judge, **FEW)
    assert found.failure == ""
    assert found.texts == alone.texts
    assert torch.equal(found.behaviour, alone.behaviour)
    assert found.kl == pytest.approx(alone.kl, rel=1e-5)


def test_texts_that_break_off_are_no_behaviour_and_the_others_are_scored(
    llama: Any, pairs: ContrastivePairs
) -> None:
    """Of a judge that rewards the empty text."""

    def empty(prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        return torch.tensor([float(not text) for text in texts])

    prompt_end = brittle(llama, pairs.prompts[:2])
    found = evaluate(llama, pairs, prompt_end, judge=empty, **FEW)
    assert found.behaviour.isnan().tolist() == [True, True, False, False, False, False]
    assert found.behaviour[2:].tolist() == [0.0] * 4
    assert found.failed.tolist()[:2] == [True, True]
    assert found.failure.startswith("2 of 6 texts failed, such as prompt ")


def brittle(model: Any, prompts: Sequence[Any]) -> Intervention:
    """Breaks exactly where the clean residual stream is that of the ends of these prompts."""
    site = Site(1)
    ends = []
    for prompt in prompts:
        row = torch.tensor([encode_prompt(model, prompt)])
        ends.append(read(model, row, None, {site: lambda x: x[0, -1].detach()})[site])
    return Brittle(site, torch.stack(ends))


@dataclass(frozen=True, eq=False, repr=False)
class Brittle(Intervention):
    at: Site
    ends: Tensor

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.at,)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model

        def edit(x: Tensor) -> Tensor:
            near = torch.cdist(x, self.ends).amin(dim=1) < 1e-3
            return torch.where(near[:, None], torch.full_like(x, torch.inf), x)

        return {self.at: edit}


def test_a_model_that_is_broken_without_steering_is_an_error(
    llama: Any, pairs: ContrastivePairs
) -> None:
    def overflow(x: Tensor, hook: Any) -> Tensor:
        return x * torch.inf

    with (
        llama.hooks(fwd_hooks=[("blocks.0.hook_resid_post", overflow)]),
        pytest.raises(ValueError, match="without steering too"),
    ):
        evaluate(llama, pairs, push(llama), judge=WordList(("a",)), **FEW)


def test_likelihoods_under_a_method_that_breaks_the_logits_are_refused(
    llama: Any, pairs: ContrastivePairs
) -> None:
    rows = rows_of(llama, pairs)
    for judged in (
        lambda: log_probabilities(llama, rows, broken(llama)),
        lambda: preference(llama, pairs, broken(llama)),
    ):
        with pytest.raises(ValueError, match=r"blocks\.1\.hook_resid_post on.*float32, steered"):
            judged()


def test_a_choice_is_never_a_method_that_breaks_the_logits(
    llama: Any, pairs: ContrastivePairs
) -> None:
    how: dict[str, Any] = {
        "judge": WordList(("a", "the", "e")),
        "perplexity_limit": 50.0,
        "progress": False,
    }
    candidates = [broken(llama), push(llama, size=0.1)]
    found = choose(llama, pairs, candidates, **how, **FEW)
    assert found.best is candidates[1]
    assert "NaN or infinite" in found.table()["failure"][1]
    with pytest.raises(ValueError, match="no candidate stays below.*NaN or infinite"):
        choose(llama, pairs, candidates[:1], **how, **FEW)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_evaluation_ends_texts_at_stop_strings_as_generation_does(
    temperature: float, llama: Any, pairs: ContrastivePairs
) -> None:
    seen: list[str] = []

    def judge(prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        seen[:] = texts
        return torch.zeros(len(texts))

    how: dict[str, Any] = FEW | {"temperature": temperature}
    whole = generate(llama, pairs.prompts, push(llama), **how)
    stop = [whole[0][1:3], whole[1][3:4]]
    expected = generate(llama, pairs.prompts, push(llama), stop=stop, **how)
    assert expected != whole
    found = evaluate(llama, pairs, push(llama), judge=judge, stop=stop, **how)
    assert list(found.texts) == seen == expected
    assert found.text_costs is not None
    # What was drawn: whatever the stop string is made of, and no end token after it.
    rows = prompt_rows(llama, pairs.prompts, FEW["max_new_tokens"])
    decoding = Decoding(temperature, max_new_tokens=6, seed=FEW["seed"], stop=stop)
    [new] = continuations_of_each(llama, rows, [(push(llama),)], decoding)
    stopped = [a != b for a, b in zip(expected, whole, strict=True)]
    drawn = [len(ids) + (len(ids) < 6 and not cut) for ids, cut in zip(new, stopped, strict=True)]
    assert found.text_costs.draws.tolist() == drawn


def test_evaluate_refuses_what_does_not_fit_the_context(
    llama: Any, pairs: ContrastivePairs
) -> None:
    with pytest.raises(ValueError, match="context holds 128: shorten the prompt, or generate fe"):
        evaluate(llama, pairs, seed=0, max_new_tokens=120)


# Many methods to a batch.


@pytest.mark.parametrize("scope", ["last", "prompt"])
def test_many_methods_to_a_batch_are_each_as_if_alone(
    llama: Any, pairs: ContrastivePairs, scope: Any
) -> None:
    first = push(llama)
    other = Additive((Site(2, Kind.parse("mlp_out")),), (torch.ones(llama.cfg.d_model),))
    methods = (None, first, -first, other, first.with_strength(0), None)
    decoding: dict[str, Any] = {"judge": WordList(("a", "the")), "scope": scope, **FEW}
    together = evaluate_each(llama, pairs, methods, **decoding)
    alone = [evaluate(llama, pairs, *([] if m is None else [m]), **decoding) for m in methods]
    for found, expected in zip(together, alone, strict=True):
        assert found.texts == expected.texts
        assert found.groups == expected.groups
        assert torch.equal(found.behaviour, expected.behaviour)
        assert found.perplexity == pytest.approx(expected.perplexity, rel=1e-5)
    assert len({found.texts for found in together}) > 1


def test_without_a_judge_every_method_has_its_own_preference(
    llama: Any, pairs: ContrastivePairs
) -> None:
    methods = (None, push(llama))
    for found, method in zip(evaluate_each(llama, pairs, methods, **FEW), methods, strict=True):
        alone = evaluate(llama, pairs, *([] if method is None else [method]), **FEW)
        assert torch.equal(found.behaviour, alone.behaviour)


def test_batches_of_methods_do_not_change_a_text(llama: Any, pairs: ContrastivePairs) -> None:
    rows = prompt_rows(llama, pairs.prompts, 5)
    methods = ((push(llama),), (), (-push(llama),))
    found = [
        continuations_of_each(
            llama, rows, methods, Decoding(seed=1, max_new_tokens=5), token_budget=budget
        )
        for budget in (1, 60, 200, 100_000)
    ]
    assert all(other == found[0] for other in found)


def test_a_judge_of_form_has_its_say(llama: Any, pairs: ContrastivePairs) -> None:
    class Even:
        def __call__(self, prompts: Any, texts: Any) -> Any:
            del prompts
            return torch.ones(len(texts))

        def well_formed(self, prompts: Any, texts: Any) -> Any:
            del prompts
            return torch.tensor([len(text) % 2 == 0 for text in texts])

    found = evaluate(llama, pairs, judge=Even(), **FEW)
    assert found.well_formed is not None
    assert found.well_formed.tolist() == [len(text) % 2 == 0 for text in found.texts]
    assert evaluate(llama, pairs, judge=WordList(("a",)), **FEW).well_formed is None


# Choosing.


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Additive]]:
    """`planted((behaviour, perplexity), ...)`: candidates and their results, unsteered first."""

    def plant(*results: tuple[float, float]) -> list[Additive]:
        candidates = [Additive((Site(i),), (torch.ones(3),)) for i in range(len(results) - 1)]
        outcomes = dict(enumerate(results[1:]))

        def evaluated(model: Any, pairs: Any, methods: Any, **decoding: Any) -> list[Evaluation]:
            assert decoding["decoding"] == Decoding(max_new_tokens=7, seed=0)
            assert decoding["progress"] is False
            found = [results[0] if m is None else outcomes[m.sites[0].layer] for m in methods]
            return [evaluation([trial[0]] * 3, trial[1]) for trial in found]

        monkeypatch.setattr("lens_steer.evaluation.choosing.evaluate_each", evaluated)
        return candidates

    return plant


def chosen(candidates: list[Additive], **options: Any) -> Any:
    pairs = ContrastivePairs.of([("a", "b", "c")])
    from lens_steer.evaluation.choosing import choose  # no model is looked at

    model: Any = None
    decoding: dict[str, Any] = {"seed": 0, "max_new_tokens": 7}
    return choose(model, pairs, candidates, progress=False, **decoding, **options)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(("limit", "best"), [(0.9, 0), (0.5, 1), (0.0, 2)])
def test_the_choice_keeps_to_the_share_of_well_formed_texts(
    monkeypatch: pytest.MonkeyPatch, limit: float, best: int
) -> None:
    candidates = [Additive((Site(i),), (torch.ones(3),)) for i in range(3)]
    shares = {None: (0.1, 8), 0: (0.2, 8), 1: (0.5, 4), 2: (0.9, 1)}

    def evaluated(model: Any, pairs: Any, methods: Any, **_: Any) -> list[Evaluation]:
        found = [shares[None if m is None else m.sites[0].layer] for m in methods]
        return [
            replace(evaluation([b] * 8, 2.0), well_formed=torch.arange(8) < whole)
            for b, whole in found
        ]

    monkeypatch.setattr("lens_steer.evaluation.choosing.evaluate_each", evaluated)
    choice = chosen(candidates, min_well_formed=limit)
    assert choice.best is candidates[best]
    assert choice.table()["well_formed"].tolist() == [1.0, 1.0, 0.5, 0.125]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("results", "limit", "best"),
    [
        ([(0.1, 10), (0.5, 12), (0.9, 19.9), (0.7, 15)], 2.0, 1),
        ([(0.1, 10), (0.5, 12), (0.9, 20.1), (0.7, 15)], 2.0, 2),
        ([(0.1, 10), (0.5, 20.0)], 2.0, 0),  # the limit itself is within
        ([(0.1, 10), (0.5, 12), (0.9, 19.9)], 1.5, 0),
        ([(0.1, 10), (0.5, 12), (0.5, 11), (0.5, 13)], 2.0, 1),  # a tie: the lower perplexity
        ([(0.1, 10), (0.5, 12), (0.5, 12)], 2.0, 0),  # and then the first
        (
            [(0.9, 10), (0.5, 12), (0.6, 12)],
            2.0,
            1,
        ),  # none beats doing nothing; it still says which
        ([(0.1, 10), (0.9, float("inf")), (0.2, 10)], 2.0, 1),
        ([(0.1, 10), (0.9, float("nan")), (0.2, 10)], 2.0, 1),
    ],
)
def test_choose_takes_the_most_behaviour_within_the_limit(
    results: list[tuple[float, float]],
    limit: float,
    best: int,
    planted: Callable[..., list[Additive]],
) -> None:
    candidates = planted(*results)
    found = chosen(candidates, perplexity_limit=limit)
    assert found.best is found.method is candidates[best]
    assert found.perplexity_limit == limit


@pytest.mark.usefixtures("untyped")
def test_choose_says_how_bad_they_are_when_none_is_within_the_limit(
    planted: Callable[..., list[Additive]],
) -> None:
    candidates = planted((0.1, 10), (0.9, 25), (0.8, 21))
    with pytest.raises(ValueError, match="no candidate stays below 2 x .* of 10 .*least is 21.*we"):
        chosen(candidates)


@pytest.mark.usefixtures("untyped")
def test_choose_refuses_no_candidates(planted: Callable[..., list[Additive]]) -> None:
    with pytest.raises(ValueError, match="no candidates to choose from"):
        chosen(planted((0.1, 10)))


@pytest.mark.usefixtures("untyped")
def test_the_table_of_a_choice_has_a_row_for_each_and_marks_the_one_taken(
    planted: Callable[..., list[Additive]],
) -> None:
    candidates = planted((0.25, 10), (0.5, 12), (0.75, 11))
    table = chosen(candidates).table()
    ends = ["behaviour_low", "behaviour_high"]
    assert list(table.columns) == ["method", "behaviour", *ends, "perplexity", "taken"]
    assert table["method"].tolist() == ["unsteered", *map(repr, candidates)]
    assert table["behaviour"].tolist() == [0.25, 0.5, 0.75]
    assert table["perplexity"].tolist() == [10, 12, 11]
    assert table["taken"].tolist() == [False, False, True]


def test_choose_evaluates_each_candidate_as_evaluate_does(
    llama: Any, pairs: ContrastivePairs
) -> None:
    judge = WordList(("a", "the", "e"))
    candidates = [push(llama, size=size) for size in (0.01, 0.3)]
    found = choose(
        llama, pairs, candidates, judge=judge, perplexity_limit=50.0, progress=False, **FEW
    )
    for method, trial in zip(candidates, found.trials, strict=True):
        expected = evaluate(llama, pairs, method, judge=judge, **FEW)
        assert trial.texts == expected.texts
        assert trial.perplexity == pytest.approx(expected.perplexity, rel=RELATIVE)
    assert found.unsteered.texts == evaluate(llama, pairs, judge=judge, **FEW).texts


# Sweeping.


def test_a_sweep_evaluates_both_at_every_strength(llama: Any, pairs: ContrastivePairs) -> None:
    method = push(llama).with_strength(5.0)  # its own strength is not used
    reference = Random.like(method, seed=1)
    judge, strengths = WordList(("a", "the")), (0.0, -1.0)
    found = sweep(
        *(llama, pairs, method, reference, strengths),
        relative=(0.0, 0.1),
        judge=judge,
        behaviour_name="share",
        progress=False,
        **FEW,
    )
    assert (found.strengths, found.relative) == (strengths, (0.0, 0.1))
    for trials, direction in ((found.method, method), (found.reference, reference)):
        for strength, trial in zip(strengths, trials, strict=True):
            steering = direction.with_strength(strength)
            expected = evaluate(llama, pairs, steering, judge=judge, **FEW)
            assert trial.texts == expected.texts
            assert trial.perplexity == pytest.approx(expected.perplexity, rel=RELATIVE)
            assert torch.equal(trial.behaviour, expected.behaviour)
    assert found.method[0].texts == found.reference[0].texts  # no push, the same draws
    table = found.table()
    assert list(table.columns) == [
        *("direction", "strength", "relative_norm", "kl"),
        *("behaviour", "behaviour_low", "behaviour_high", "perplexity"),
    ]
    assert table["direction"].tolist() == ["Additive"] * 2 + ["random"] * 2
    assert table["strength"].tolist() == [*strengths, *strengths]
    assert table["relative_norm"].tolist() == [0.0, 0.1] * 2
    assert table["kl"].tolist() == [trial.kl for trial in (*found.method, *found.reference)]
    rows: Any = table.to_dict("records")
    for row, trial in zip(rows, (*found.method, *found.reference), strict=True):
        around = trial.interval(seed=found.seed)
        assert row["behaviour"] == around.mean == pytest.approx(trial.behaviour.mean().item())
        assert (row["behaviour_low"], row["behaviour_high"]) == (around.low, around.high)
        assert row["perplexity"] == trial.perplexity


def test_a_sweep_refuses_another_number_of_sizes_than_strengths(
    llama: Any, pairs: ContrastivePairs
) -> None:
    with pytest.raises(ValueError, match="2 relative sizes for 1 strengths"):
        sweep(*(llama, pairs, push(llama), push(llama), (1.0,)), relative=(0.1, 0.2), seed=0)


def test_a_choice_and_a_sweep_are_reports_that_are_saved(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    judge = WordList(("a", "the", "e"))
    how: dict[str, Any] = {"judge": judge, "progress": False, **FEW}
    weak, strong = push(llama, size=0.01), push(llama, size=0.3)
    choice = choose(llama, pairs, [weak, strong], perplexity_limit=50.0, **how)
    swept = sweep(llama, pairs, weak, strong, [0.0, 1.0], relative=[0.0, 0.1], **how)
    for report in (choice, swept):
        save(report, tmp_path / "report.safetensors")
        again = load(tmp_path / "report.safetensors", model=llama)
        pd.testing.assert_frame_equal(again.table(), report.table())
        assert repr(again) == repr(report)
        assert repr(report).startswith(type(report).__name__)
    loaded = load(tmp_path / "report.safetensors")
    assert loaded.method[1].texts == swept.method[1].texts
    interval = choice.trials[0].interval(seed=FEW["seed"])
    table: Any = choice.table()
    row = table.iloc[1]
    assert (row["behaviour_low"], row["behaviour_high"]) == (interval.low, interval.high)
    [axes] = choice.figure().axes
    taken = choice.best_index + 1  # the unsteered model is the first row
    [point] = [line for line in axes.lines if line.get_label() == "taken"]
    found = table.iloc[taken]
    assert np.array_equal(point.get_xydata(), [[found["perplexity"], found["behaviour"]]])
