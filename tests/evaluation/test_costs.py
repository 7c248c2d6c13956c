"""What steering costs: nats along texts, sizes of edits, how varied the texts are."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    FixedTexts,
    SampledText,
    WordList,
    as_sampled_texts,
    best_of_n_kl,
    binary_kl,
    distinct,
    distinct_without,
    efficiency,
    evaluate,
    evaluate_each,
    even_batches,
    kl_divergence,
    positions_of,
    repetition,
    teacher_forced_kl,
)
from lens_steer.evaluation.edits import edit_sizes
from lens_steer.evaluation.text_costs import sample_with_kl
from lens_steer.intervals import interval
from lens_steer.models import encode_prompt, eos_ids, open_blocks
from lens_steer.models.forward_pass import decode_budget
from lens_steer.organism.genres import genres
from lens_steer.organism.patterns import words_in
from lens_steer.sites import Kind, Site
from lens_steer.steering import CAA, Additive, Decoding, continuations, steered
from tests.conftest import BACKENDS
from tests.interventions import PROMPTS, Prepared, Scale, drawn, manual_hook, push, watched
from tests.oracles_evaluation import (
    Conditioned,
    divergence,
    log_softmax,
    raw_logits,
    token_log_probabilities,
)

# Float32 logits of order 10: a divergence is a sum of their differences times probabilities.
NATS = 2e-5
# Float32 activations of order 1 to 10, in norms and ratios.
RELATIVE = 1e-4
# Equal texts in batches of other shapes: rounding of float32 logits, squared.
ROUNDING = 1e-9

FEW: dict[str, Any] = {"max_new_tokens": 6, "seed": 3}
JUDGE = WordList(("a", "the"))


def texts_of(
    model: Any, continuations_: Sequence[str], *, ended: Sequence[bool]
) -> list[SampledText]:
    """Continuations of `PROMPTS`."""
    found = []
    for prompt, text, end in zip(PROMPTS, continuations_, ended, strict=False):
        row = encode_prompt(model, prompt)
        new = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append(SampledText((*row, *new), len(row), ended=end))
    return found


def hand_kl(
    model: Any, text: SampledText, vector: Any, site: Site, *, temperature: float = 1.0
) -> np.ndarray[Any, Any]:
    """The divergence at each draw, scope last, by a hook written without lens_steer."""
    where = torch.zeros(1, len(text.ids), dtype=torch.bool)
    where[0, text.prompt_length - 1 :] = True
    hook = (site.hook_name, manual_hook(vector, where))
    pushed = raw_logits(model, text.ids, fwd_hooks=[hook])
    clean = raw_logits(model, text.ids)
    first = text.prompt_length - 1
    last = first + len(text.ids) - text.prompt_length + text.ended
    return divergence(pushed[first:last] / temperature, clean[first:last] / temperature)


# Divergences of distributions.


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_divergence_is_its_definition(temperature: float) -> None:
    p, q = drawn((40, 50), seed=1, size=3.0), drawn((40, 50), seed=2, size=3.0)
    found = kl_divergence(p, q, temperature=temperature)
    expected = divergence(p.double().numpy() / temperature, q.double().numpy() / temperature)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_a_divergence_by_hand() -> None:
    p, q = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log()
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_divergence(p, q).item() == pytest.approx(expected, rel=1e-6)


def test_equal_logits_and_logits_that_differ_by_a_constant_cost_nothing() -> None:
    p = drawn((5, 30), size=5.0)
    assert kl_divergence(p, p).tolist() == [0] * 5
    assert kl_divergence(p, p + 8.0).abs().max() < ROUNDING


def test_a_token_that_is_never_drawn_costs_nothing_and_one_that_never_was_costs_all() -> None:
    never, always = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, 0.0]])
    assert kl_divergence(never, always).item() == pytest.approx(math.log(2))
    assert kl_divergence(never, never).item() == 0
    assert kl_divergence(always, never).item() == math.inf


def test_a_large_vocabulary_is_taken_in_parts() -> None:
    p, q = drawn((9, 2**20), seed=1), drawn((9, 2**20), seed=2)
    whole = kl_divergence(p, q)
    for i in (0, 8):
        assert whole[i].item() == kl_divergence(p[i : i + 1], q[i : i + 1]).item()


def test_greedy_texts_have_no_divergence() -> None:
    with pytest.raises(ValueError, match="expected a positive temperature"):
        kl_divergence(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)


@pytest.mark.parametrize(
    ("share", "reference", "nats"),
    [
        (0.5, 0.5, 0.0),
        (1.0, 0.5, math.log(2)),
        (0.0, 0.5, math.log(2)),
        (1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.75, 0.25, 0.5 * math.log(3)),
        (0.1, 0.0, math.inf),
        (0.9, 1.0, math.inf),
        (1, 0, math.inf),
    ],
)
def test_the_divergence_of_two_coins(share: float, reference: float, nats: float) -> None:
    assert binary_kl(share, reference) == pytest.approx(nats)


@given(p=st.floats(0, 1), q=st.floats(0.01, 0.99))
def test_two_coins_are_two_tokens(p: float, q: float) -> None:
    one, other = (torch.tensor([[x, 1 - x]], dtype=torch.float64).log() for x in (p, q))
    assert binary_kl(p, q) == pytest.approx(kl_divergence(one, other).item(), abs=1e-12)


@given(
    p=st.lists(st.floats(0.01, 1), min_size=6, max_size=6),
    q=st.lists(st.floats(0.01, 1), min_size=6, max_size=6),
    shows=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_no_change_in_behaviour_is_cheaper_than_its_floor(
    p: list[float], q: list[float], shows: list[bool]
) -> None:
    ours, theirs, marked = (np.array(x, dtype=float) for x in (p, q, shows))
    ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    paid = float((ours * np.log(ours / theirs)).sum())
    share, reference = (min(float(x @ marked), 1.0) for x in (ours, theirs))
    if paid > 1e-9 and any(shows) and not all(shows):
        assert efficiency(share, reference, paid) <= 1 + 1e-6


@pytest.mark.parametrize("reference", [0.1, 0.5, 0.8])
def test_conditioning_on_the_behaviour_is_the_floor(reference: float) -> None:
    # two outcomes, then only the one that shows it: nothing else is paid for
    assert efficiency(1.0, reference, -math.log(reference)) == pytest.approx(1)


def test_efficiency_is_nothing_where_nothing_was_paid() -> None:
    assert math.isnan(efficiency(0.5, 0.5, 0.0))
    assert efficiency(0.5, 0.5, 1.0) == 0


def test_efficiency_is_not_known_where_the_behaviour_was_never_seen_unsteered() -> None:
    assert math.isnan(efficiency(0.5, 0.0, 2.0))
    assert math.isnan(efficiency(0.5, 1.0, 2.0))
    assert efficiency(0.0, 0.0, 2.0) == 0


def test_the_best_of_n_costs_what_the_order_of_n_distinct_scores_does() -> None:
    # n draws of a score uniform on [0, 1]: the best has density n x^(n - 1)
    x = (np.arange(200_000) + 0.5) / 200_000
    for n in (2, 4, 16):
        density = n * x ** (n - 1)
        assert best_of_n_kl(n) == pytest.approx((density * np.log(density)).mean(), abs=1e-4)
    assert best_of_n_kl(1) == 0


@given(p=st.floats(0, 1), n=st.integers(1, 1000))
def test_a_judge_that_says_yes_or_no_makes_the_best_of_n_cheaper(p: float, n: int) -> None:
    at_least_one = -math.expm1(n * math.log1p(-p)) if p < 1 else 1.0
    assert binary_kl(at_least_one, p) <= best_of_n_kl(n) + 1e-9


def test_the_best_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="got n=0, expected a whole number of at least 1"):
        best_of_n_kl(0)


# How varied texts are.


def test_distinct_counts_different_words_of_all_texts_together() -> None:
    texts = ("The cat, the dog.", "the CAT")  # the cat , the dog . the cat
    assert distinct(texts, 1) == pytest.approx(5 / 8)
    # the cat / cat , / , the / the dog / dog . and the cat
    assert distinct(texts, 2) == pytest.approx(5 / 6)
    assert distinct(texts, 6) == 1


def test_distinct_counts_characters_where_a_script_writes_no_spaces() -> None:
    assert distinct(("很好很好。",), 1) == pytest.approx(3 / 5)
    assert distinct(("สนุกสนุก",), 1) == pytest.approx(3 / 6)  # a vowel sign goes with its letter
    assert distinct(("कमी कमी",), 1) == pytest.approx(1 / 2)
    assert distinct(("cafe\u0301 caf\u00e9",), 1) == pytest.approx(1 / 2)


def test_each_group_is_left_out_in_turn() -> None:
    texts, groups = ("a b c", "a b", "c c d", "", "a a"), ("x", "y", "x", "z", "y")
    for n in (1, 2):
        found = distinct_without(texts, groups, n)
        for group in "xyz":
            rest = [t for t, g in zip(texts, groups, strict=True) if g != group]
            assert found[group] == pytest.approx(distinct(rest, n))
    assert math.isnan(distinct_without(("a",), ("x",), 1)["x"])


def test_texts_without_that_many_words_have_no_distinct_ones() -> None:
    assert math.isnan(distinct(("", "  "), 1))
    assert math.isnan(distinct(("one two",), 3))
    assert math.isnan(repetition(("one two",)))


def test_repetition_looks_at_one_text_at_a_time() -> None:
    again = "a b c a b c"  # abc bca cab abc: one of four
    assert repetition((again,)) == pytest.approx(1 / 4)
    assert repetition(("a b c", "a b c")) == 0
    assert repetition((again, "d e f")) == pytest.approx(1 / 5)
    assert repetition(("na na na",), n=1) == pytest.approx(2 / 3)


# Nats along sampled texts.


def test_the_end_is_a_draw_and_a_text_that_is_cut_off_has_none(llama: Any) -> None:
    rows = [[1, 20, 30], [1, 20]]
    whole, cut = as_sampled_texts(rows, [[40, 41], [50, 51, 52]], 3)
    assert (whole.ended, cut.ended) == (True, False)
    assert (whole.draws, cut.draws) == (3, 3)
    assert whole.ids == (1, 20, 30, 40, 41)
    none = as_sampled_texts(rows[:1], [[]], 3)[0]
    assert (none.ended, none.draws) == (True, 1)


@pytest.mark.parametrize("temperature", [0.7])
def test_nats_are_those_of_a_hook_written_by_hand(model: Any, temperature: float) -> None:
    method = push(model, size=1.5)
    texts = texts_of(model, (" sat", " on the dog.", "", "!"), ended=(True, False, True, False))
    found = teacher_forced_kl(model, texts, [(method,)] * 4, Decoding(temperature))
    for i, text in enumerate(texts):
        nats = hand_kl(model, text, method.vectors[0], method.sites[0], temperature=temperature)
        assert len(nats) == text.draws == found.draws[i]
        assert found.kl[i].item() == pytest.approx(nats.sum(), abs=NATS * len(nats), rel=1e-5)
        surprise = -token_log_probabilities(
            raw_logits(model, text.ids), text.ids, text.prompt_length
        )
        assert found.tokens[i] == len(surprise)
        assert found.surprise[i].item() == pytest.approx(surprise.sum(), abs=1e-4)
    assert found.kl.min() > 0.01
    assert found.kl_per_token == pytest.approx(found.kl.sum().item() / found.draws.sum().item())


def test_the_draw_of_the_end_is_paid_for(llama: Any) -> None:
    method = push(llama)
    cut, ended = (texts_of(llama, (" sat",), ended=(end,))[0] for end in (False, True))
    found = teacher_forced_kl(llama, [cut, ended], [(method,)] * 2, Decoding(1.0))
    last = hand_kl(llama, ended, method.vectors[0], method.sites[0])[-1]
    assert (found.kl[1] - found.kl[0]).item() == pytest.approx(last, abs=NATS)
    assert found.surprise[0].item() == pytest.approx(found.surprise[1].item())


@pytest.mark.parametrize("scope", ["last", "prompt", "generated", "all", (1, 4)])
def test_nats_do_not_depend_on_the_batch_nor_on_the_other_methods(bridge: Any, scope: Any) -> None:
    texts = texts_of(bridge, (" sat", " on it.", "", "!"), ended=(True, False, True, False))
    methods = [(push(bridge),), (), (push(bridge, layer=2), Scale()), (Prepared(),)]
    together = teacher_forced_kl(bridge, texts, methods, Decoding(1.0, scope=scope))
    for i, text in enumerate(texts):
        alone = teacher_forced_kl(bridge, [text], [methods[i]], Decoding(1.0, scope=scope))
        assert together.kl[i].item() == pytest.approx(alone.kl.item(), abs=NATS, rel=1e-4)
        assert together.surprise[i].item() == pytest.approx(alone.surprise.item(), abs=1e-4)
    assert together.kl[1] == 0


SAMPLED_SCOPES = ("last", "prompt", "generated", "all", (1, 4))
BUDGETS = (1, 100, None)  # each text by itself, some together, all together
HOT = 3.0  # some texts end early, and leave the batch


def test_nats_taken_while_sampling_are_those_along_the_texts(model: Any) -> None:
    """The next test takes every scope and every budget; this one every model."""
    check_nats_while_sampling(model, "last", BUDGETS[1], (0.0, HOT))
    check_nats_while_sampling(model, (1, 4), BUDGETS[2], (HOT,))


@pytest.mark.usefixtures("untyped")  # the same calls as in the test above
@pytest.mark.parametrize(
    ("scope", "token_budget"),
    [(scope, budget) for scope in SAMPLED_SCOPES for budget in BUDGETS],
)
def test_nats_taken_while_sampling_are_those_along_the_texts_at_any_budget(
    llama: Any, scope: Any, token_budget: int | None
) -> None:
    """Greedy in one scope: batches and scopes do not know how a token is drawn."""
    temperatures = (0.0, HOT) if scope == "last" else (HOT,)
    check_nats_while_sampling(llama, scope, token_budget, temperatures)


def check_nats_while_sampling(
    model: Any, scope: Any, token_budget: int | None, temperatures: Sequence[float]
) -> None:
    rows = [encode_prompt(model, text) for text in ("The cat sat", "A dog", "The mat on the cat")]
    methods = [(push(model, size=2.0),), (), (push(model, layer=2), Scale())]
    for temperature in temperatures:
        texts, found = sample_with_kl(
            model,
            rows,
            methods,
            Decoding(temperature, max_new_tokens=9, scope=scope, seed=0),
            token_budget=token_budget,
        )
        owners = [own for own in methods for _ in rows]
        expected = teacher_forced_kl(model, texts, owners, Decoding(temperature, scope=scope))
        for name in ("kl", "surprise", "draws", "tokens"):
            here, there = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4, equal_nan=True)
        alone = sample_with_kl(model, rows, [()], Decoding(temperature, max_new_tokens=9, seed=0))
        assert alone[0] == texts[len(rows) : 2 * len(rows)]


def test_nats_taken_while_sampling_know_a_method_that_prepares(bridge: Any) -> None:
    rows, methods = [encode_prompt(bridge, "The cat sat")], [(push(bridge),), (Prepared(),), ()]
    texts, found = sample_with_kl(bridge, rows, methods, Decoding(seed=0, max_new_tokens=5))
    for i, own in enumerate(methods):
        expected = teacher_forced_kl(bridge, [texts[i]], [own], Decoding(1.0))
        assert found.kl[i].item() == pytest.approx(expected.kl.item(), abs=1e-6, rel=1e-4)
    assert found.kl[1] > 0
    assert found.kl[2] == pytest.approx(0, abs=1e-9)


def test_texts_that_end_are_paid_for_to_their_end(llama: Any) -> None:
    rows = [encode_prompt(llama, f"The cat {'sat ' * i}") for i in range(12)]
    texts, found = sample_with_kl(
        llama, rows, [(push(llama),)], Decoding(20.0, seed=1, max_new_tokens=60)
    )
    assert len({text.draws for text in texts}) > 3
    expected = teacher_forced_kl(llama, texts, [(push(llama),)] * len(texts), Decoding(20.0))
    torch.testing.assert_close(found.kl, expected.kl, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.surprise, expected.surprise, atol=1e-3, rtol=1e-5)


def test_scope_generated_leaves_the_first_draw_alone(llama: Any) -> None:
    [text] = texts_of(llama, ("",), ended=(True,))
    assert (
        teacher_forced_kl(llama, [text], [(push(llama),)], Decoding(1.0, scope="generated")).kl == 0
    )


def test_greedy_texts_have_surprise_but_no_nats(llama: Any, pairs: ContrastivePairs) -> None:
    found = evaluate(llama, pairs, push(llama), temperature=0.0, **FEW)
    assert math.isnan(found.kl)
    assert math.isnan(found.kl_sequence)
    assert found.perplexity > 0


def test_beside_compares_with_the_clean_model_after_other_prompts(llama: Any) -> None:
    asked = SampledText((1, 20, 21, 22, 30, 31), 4, ended=True)
    plain = SampledText((1, 40, 30, 31), 2, ended=True)
    found = teacher_forced_kl(llama, [asked], [()], Decoding(1.0), clean_texts=[plain])
    ours, theirs = raw_logits(llama, asked.ids)[3:], raw_logits(llama, plain.ids)[1:]
    assert found.kl.item() == pytest.approx(divergence(ours, theirs).sum(), abs=1e-4)
    surprise = -token_log_probabilities(raw_logits(llama, plain.ids), plain.ids, 2).sum()
    assert found.surprise.item() == pytest.approx(surprise, abs=1e-4)


def test_the_nats_of_an_evaluation_are_those_of_its_own_texts(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = push(llama, size=0.7)
    found = evaluate(llama, pairs, method, judge=JUDGE, temperature=0.8, **FEW)
    rows = [encode_prompt(llama, prompt) for prompt in pairs.prompts]
    new = continuations(llama, rows, method, decoding=Decoding(0.8, seed=3, max_new_tokens=6))
    nats = [
        hand_kl(llama, text, method.vectors[0], method.sites[0], temperature=0.8)
        for text in as_sampled_texts(rows, new, 6)
    ]
    sums = np.array([x.sum() for x in nats])
    assert found.kl == pytest.approx(np.concatenate(nats).mean(), rel=1e-4)
    assert found.kl_sequence == pytest.approx(sums.mean(), rel=1e-4)
    median, high = found.kl_quantiles
    assert median == pytest.approx(np.median(sums), rel=1e-4)
    assert high == pytest.approx(np.quantile(sums, 0.95), rel=1e-4)


def test_the_sum_of_nats_is_the_divergence_of_whole_sequences(llama: Any) -> None:
    # two draws of a few tokens, all texts enumerated: E[sum of nats] = KL of the texts
    row, method = encode_prompt(llama, "The cat"), push(llama, size=0.5)
    where = torch.zeros(1, len(row) + 1, dtype=torch.bool)
    where[0, len(row) - 1 :] = True
    hook = (method.sites[0].hook_name, manual_hook(method.vectors[0], where))
    end = eos_ids(llama)[0]
    assert end is not None

    def after(ids: list[int], **hooks: Any) -> Any:
        return log_softmax(raw_logits(llama, ids, **hooks)[len(row) - 1 :])

    vocabulary = range(llama.cfg.d_vocab)
    first_hook = (hook[0], manual_hook(method.vectors[0], where[:, :-1]))
    ours, theirs = after(row, fwd_hooks=[first_hook])[0], after(row)[0]
    exact = 0.0
    rows, weights = [], []
    for token in vocabulary:
        weight = math.exp(ours[token])
        if token == end:
            exact += weight * (ours[token] - theirs[token])
            rows.append(SampledText(tuple(row), len(row), ended=True))
        else:
            ids = [*row, token]
            both = after(ids, fwd_hooks=[hook])[1], after(ids)[1]
            for other in vocabulary:
                gap = ours[token] - theirs[token] + both[0][other] - both[1][other]
                exact += weight * math.exp(both[0][other]) * gap
            rows.append(SampledText(tuple([*ids, 5]), len(row)))
        weights.append(weight)
    paths = teacher_forced_kl(llama, rows, [(method,)] * len(rows), Decoding(1.0))
    assert float(np.array(weights) @ paths.kl.numpy()) == pytest.approx(exact, abs=1e-4)


def test_rows_of_about_one_length_make_a_batch(llama: Any) -> None:
    lengths = [5, 100, 6, 5, 40, 7, 5, 6, 5, 5, 100, 6] * 9
    found = list(even_batches(llama, lengths))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        widths = [lengths[i] for i in batch]
        assert len(batch) * max(widths) <= 2**12
        assert len(batch) <= 8 or max(widths) <= 1.2 * min(widths)


# Exact values: the grammar given the value of its latent.


def test_a_conditioned_grammar_costs_the_logarithm_of_what_it_takes_for_granted() -> None:
    genre, prompt = genres()["review"], "the next report on the film. the middle came first."
    grammar = Conditioned(genre.texts_about("film"), genre.latent, "positive")
    beginning = words_in(prompt)
    prior = grammar.share(grammar.states(beginning))
    assert prior == pytest.approx(0.5)
    source, sums = np.random.default_rng(0), []
    for _ in range(400):
        draws = grammar.write(beginning, source)
        nats = [
            kl_divergence(
                torch.from_numpy(own)[None].log(), torch.from_numpy(plain)[None].log()
            ).item()
            for own, plain in draws
        ]
        sums.append(sum(nats))
    found = interval(torch.tensor(sums), seed=0)
    assert found.low < -math.log(prior) < found.high
    assert found.high - found.low < 0.25
    # every text shows it, so that this is the floor
    around = [efficiency(1.0, prior, nats) for nats in (found.high, found.low)]
    assert around[0] < 1 < around[1]


# Identities.


def test_strength_zero_costs_nothing(model: Any, pairs: ContrastivePairs) -> None:
    costs_nothing(model, pairs, "last")


@pytest.mark.parametrize("scope", ["prompt", "generated", "all", (0, 3)])
def test_strength_zero_costs_nothing_in_any_scope(
    llama: Any, pairs: ContrastivePairs, scope: Any
) -> None:
    costs_nothing(llama, pairs, scope)


def costs_nothing(model: Any, pairs: ContrastivePairs, scope: Any) -> None:
    off = push(model, size=3.0).with_strength(0)
    found = evaluate(model, pairs, off, judge=JUDGE, scope=scope, **FEW)
    assert found.kl == found.kl_sequence == 0
    assert found.kl_quantiles == (0, 0)
    texts = FixedTexts.sample(model, pairs, scope=scope, **FEW)
    nats = texts.nats(model, [(off,), (push(model),)])
    assert nats[0].abs().max() < ROUNDING
    assert nats[1].max() > 1e-3
    sizes = texts.sizes(model, [(off,)])[0]
    assert sizes.relative_norm == sizes.mahalanobis_length == 0


# Nats along fixed texts.


def test_fixed_texts_are_the_unsteered_ones_of_the_seed(
    llama: Any, pairs: ContrastivePairs
) -> None:
    texts = FixedTexts.sample(llama, pairs, temperature=0.9, **FEW)
    found = evaluate(llama, pairs, judge=JUDGE, temperature=0.9, **FEW)
    shown = [llama.tokenizer.decode(t.ids[t.prompt_length :]) for t in texts.texts]
    assert shown == list(found.texts)
    assert found.text_costs is not None
    assert texts.draws.tolist() == found.text_costs.draws.tolist()


def test_nats_along_fixed_texts_are_those_along_the_same_texts(
    bridge: Any, pairs: ContrastivePairs
) -> None:
    texts = FixedTexts.sample(bridge, pairs, temperature=0.8, **FEW)
    each = [(push(bridge),), (), (push(bridge, layer=2, size=0.3), Scale())]
    found = texts.nats(bridge, each)
    assert found.shape == (3, len(pairs.prompts))
    for own, nats in zip(each, found, strict=True):
        expected = teacher_forced_kl(bridge, texts.texts, [own] * len(texts.texts), Decoding(0.8))
        torch.testing.assert_close(nats, expected.kl, atol=NATS, rtol=1e-4)
    some = FixedTexts(texts.texts[2:3], Decoding(0.8)).nats(bridge, each[2:3])
    torch.testing.assert_close(some[0, 0], found[2, 2], atol=NATS, rtol=1e-4)


def test_fixed_texts_cannot_be_greedy(llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="expected a positive temperature"):
        FixedTexts.sample(llama, pairs, temperature=0.0, **FEW)


# Sizes of edits.


def residuals(model: Any, text: SampledText, layer: int) -> Any:
    """resid_post at the positions of scope last."""
    tokens = torch.tensor([list(text.ids)])
    with torch.no_grad():
        found = watched(model, Site(layer), lambda: model(tokens))
    return found[0, text.prompt_length - 1 :]


def test_the_relative_norm_of_caa_is_its_vector_over_the_residual_stream(
    model: Any, pairs: ContrastivePairs
) -> None:
    method = CAA.fit(capture(model, pairs, "resid").at(layer=2)).with_strength(1.7)
    texts = FixedTexts.sample(model, pairs, **FEW)
    [found] = texts.sizes(model, [(method,)])
    length = 1.7 * method.vectors[0].norm().item()
    expected = torch.cat([length / residuals(model, t, 2).norm(dim=1) for t in texts.texts])
    torch.testing.assert_close(found.relative[:, 0], expected, atol=0, rtol=RELATIVE)
    assert found.relative_norm == pytest.approx(expected.mean().item(), rel=RELATIVE)
    assert found.layers == (2,)
    assert found.energy.tolist() == [1]
    of = [i for i, t in enumerate(texts.texts) for _ in range(len(t.ids) - t.prompt_length + 1)]
    assert found.text_index.tolist() == of
    double = texts.sizes(model, [(method.with_strength(3.4),)])[0]
    assert double.relative_norm == pytest.approx(2 * found.relative_norm, rel=RELATIVE)


def test_several_layers_are_a_root_of_a_sum_of_squares(llama: Any, pairs: ContrastivePairs) -> None:
    one, other = push(llama, layer=1, seed=1), push(llama, layer=3, seed=2, size=2.0)
    texts = FixedTexts.sample(llama, pairs, **FEW)
    found, both = texts.sizes(llama, [(one + other,), (one, other)])
    assert found.layers == (1, 3)
    squares = torch.zeros(len(found.text_index))
    for column, (layer, vector) in enumerate(((1, one.vectors[0]), (3, other.vectors[0]))):
        lengths = torch.cat([residuals(llama, t, layer).norm(dim=1) for t in texts.texts])
        relative = vector.norm() / lengths  # of the clean model, though layer 3 sees the other push
        torch.testing.assert_close(found.by_layer[column], relative.mean(), atol=0, rtol=RELATIVE)
        squares += relative**2
    assert found.relative_norm == pytest.approx(squares.sqrt().mean().item(), rel=RELATIVE)
    assert both.relative_norm == pytest.approx(found.relative_norm, rel=RELATIVE)
    energies = torch.stack([one.vectors[0].norm() ** 2, other.vectors[0].norm() ** 2])
    torch.testing.assert_close(found.energy, energies / energies.sum(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "neox"])
def test_heads_are_counted_through_their_output_matrix(
    architecture: str, load: Any, pairs: ContrastivePairs
) -> None:
    model = load(architecture)
    site = Site(1, Kind.HEAD)
    vector = drawn((model.cfg.n_heads, model.cfg.d_head), seed=4)
    neurons = drawn((model.cfg.d_mlp,), seed=5)
    texts = FixedTexts.sample(model, pairs, **FEW)
    found, other, both = texts.sizes(
        model,
        [
            (Additive((site,), (vector,)),),
            (Additive((Site(1, Kind.NEURON),), (neurons,)),),
            (Additive((site, Site(1, Kind.NEURON)), (vector, neurons)),),
        ],
    )
    through = torch.einsum("hd,hdm->m", vector, model.W_O[1].detach().float())
    through_mlp = neurons @ model.W_out[1].detach().float()
    lengths = torch.cat([residuals(model, t, 1).norm(dim=1) for t in texts.texts])
    for sizes, edit in ((found, through), (other, through_mlp), (both, through + through_mlp)):
        expected = edit.norm().expand(len(lengths))
        torch.testing.assert_close(sizes.norm[:, 0], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(sizes.relative[:, 0], expected / lengths, atol=0, rtol=1e-3)


def test_the_length_in_standard_deviations_is_that_of_a_shrunk_covariance(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = push(llama, layer=2, size=0.4)
    texts = FixedTexts.sample(llama, pairs, **FEW)
    [found] = texts.sizes(llama, [(method,)])
    clean = torch.cat([residuals(llama, t, 2) for t in texts.texts]).double().numpy()
    precision = np.linalg.inv(LedoitWolf().fit(clean).covariance_)
    vector = method.vectors[0].double().numpy()
    expected = math.sqrt(vector @ precision @ vector)
    np.testing.assert_allclose(found.mahalanobis[:, 0].numpy(), expected, rtol=1e-3)
    assert found.mahalanobis_length == pytest.approx(expected, rel=1e-3)


def test_sizes_do_not_depend_on_the_other_methods(llama: Any, pairs: ContrastivePairs) -> None:
    texts = FixedTexts.sample(llama, pairs, **FEW)
    each = [(push(llama),), (push(llama, layer=3), Scale()), (Prepared(),)]
    together = texts.sizes(llama, each)
    for own, found in zip(each, together, strict=True):
        [alone] = texts.sizes(llama, [own])
        assert found.relative_norm == pytest.approx(alone.relative_norm, rel=RELATIVE)
        assert found.mahalanobis_length == pytest.approx(alone.mahalanobis_length, rel=RELATIVE)


def test_many_texts_keep_their_positions_apart(llama: Any) -> None:
    # lengths of several batches: sizes must come back text by text
    rows = [[1, *range(20, 20 + n)] for n in (3, 60, 4, 30, 5, 3, 70, 4, 5, 6, 3, 4)]
    texts = [SampledText(tuple(row), len(row) - 2) for row in rows]
    assert len(list(even_batches(llama, [len(row) for row in rows]))) > 1
    scale = Scale(factor=2.0)  # the edit is the activation itself
    [found] = edit_sizes(llama, texts, [(scale,)])
    lengths = torch.cat([residuals(llama, text, 1).norm(dim=1) for text in texts])
    torch.testing.assert_close(found.norm[:, 0], lengths, atol=0, rtol=RELATIVE)
    torch.testing.assert_close(found.relative[:, 0], torch.ones(len(lengths)), atol=1e-4, rtol=0)
    assert found.text_index.tolist() == [i for i in range(len(texts)) for _ in range(3)]


@pytest.mark.parametrize("scope", ["last", "prompt", "generated", "all", (0, 3)])
def test_positions_are_those_that_are_steered(bridge: Any, scope: Any) -> None:
    texts = texts_of(bridge, (" sat", " on it.", " a", "!"), ended=(True, False, True, False))
    marks = positions_of(bridge, texts, scope)
    seen: list[Any] = []
    from lens_steer.models import forward, pad
    from tests.interventions import Recorder

    tokens, mask = pad(bridge, [text.ids for text in texts])
    lengths = [text.prompt_length for text in texts]
    recorder = Recorder(seen=seen)
    with torch.no_grad(), steered(bridge, recorder, scope=scope, prompt_lengths=lengths):
        forward(bridge, tokens, mask)
    assert len(seen[0]) == int(marks.sum())


def test_a_scope_that_steers_nothing_has_no_size(llama: Any) -> None:
    text = SampledText((1, 20, 30), 3)
    with pytest.raises(ValueError, match="scope 'generated' steers no position of these texts"):
        edit_sizes(llama, [text], [(push(llama),)], scope="generated")


def test_one_position_has_no_spread(llama: Any) -> None:
    with pytest.raises(ValueError, match="1 positions do not vary: give more prompts"):
        edit_sizes(llama, [SampledText((1, 20, 30), 3)], [(push(llama),)])


# Many methods side by side, with one reading of the prompts.


def test_methods_that_share_a_cache_write_what_each_writes_alone(
    model: Any, pairs: ContrastivePairs
) -> None:
    check_methods_side_by_side(model, pairs, "last", 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["gpt2", "gemma3"])
def test_greedy_methods_that_share_a_cache_write_what_each_writes_alone(
    load: Any, pairs: ContrastivePairs, architecture: str, backend: str
) -> None:
    """With windows and without; the test above takes every model."""
    check_methods_side_by_side(load(architecture, backend), pairs, "generated", 0.0)


def check_methods_side_by_side(
    model: Any, pairs: ContrastivePairs, scope: Any, temperature: float
) -> None:
    methods = (None, push(model), Scale(), push(model, layer=3, seed=5))
    how: dict[str, Any] = {"judge": JUDGE, "scope": scope, "temperature": temperature} | FEW
    for found, method in zip(evaluate_each(model, pairs, methods, **how), methods, strict=True):
        alone = evaluate(model, pairs, *([] if method is None else [method]), **how)
        assert found.texts == alone.texts
        assert found.perplexity == pytest.approx(alone.perplexity, rel=1e-4)
        if temperature > 0:
            assert found.kl == pytest.approx(alone.kl, rel=1e-4, abs=NATS)


def test_methods_side_by_side_inside_a_steered_block_are_each_as_if_alone_there(
    model: Any, pairs: ContrastivePairs
) -> None:
    methods = (None, push(model), Scale())
    how: dict[str, Any] = {"judge": JUDGE} | FEW
    with steered(model, push(model, layer=2, seed=9), scope="prompt"):
        together = evaluate_each(model, pairs, methods, **how)
        alone = [evaluate(model, pairs, *([] if m is None else [m]), **how) for m in methods]
    assert [t.texts for t in together] == [a.texts for a in alone]
    assert open_blocks(model) == ()


@pytest.mark.usefixtures("untyped")
def test_a_batch_holds_as_many_keys_and_values_as_a_gigabyte() -> None:
    def model(**cfg: Any) -> Any:
        sizes = {"n_layers": 32, "n_heads": 32, "d_head": 128} | cfg
        weights = torch.nn.Linear(1, 1, dtype=cfg.get("dtype", torch.float32))
        return SimpleNamespace(cfg=SimpleNamespace(**sizes), blocks=[weights])

    each = 2 * 32 * 32 * 128  # keys and values of one token
    assert decode_budget(model()) == 2**30 // (4 * each)
    assert decode_budget(model(n_key_value_heads=8)) == 2**30 // each
    assert decode_budget(model(n_key_value_heads=None)) == 2**30 // (4 * each)
    assert decode_budget(model(dtype=torch.bfloat16)) == 2**30 // (2 * each)
    assert decode_budget(model(n_layers=1, n_heads=1, d_head=2)) == 2**18  # and no more


def test_prompts_of_one_token_have_nothing_to_share(model: Any) -> None:
    pairs = ContrastivePairs.of([("a", " b", " c"), ("The cat", " sat", " ran")])
    for several in (pairs, ContrastivePairs.unpaired(["a", "b"], ["c"])):
        prompts = [encode_prompt(model, p) for p in several.prompts]
        if not min(map(len, prompts)):
            continue  # no beginning-of-sequence token: no prompt at all
        methods = (None, push(model))
        found = evaluate_each(model, several, methods, judge=JUDGE, **FEW)
        for trial, method in zip(found, methods, strict=True):
            alone = evaluate(
                model, several, *([] if method is None else [method]), **FEW, judge=JUDGE
            )
            assert trial.texts == alone.texts


def test_methods_that_are_made_ready_see_their_prompts(model: Any, pairs: ContrastivePairs) -> None:
    methods = (None, Prepared(strength=0.2), push(model))
    how: dict[str, Any] = {"judge": JUDGE} | FEW
    for found, method in zip(evaluate_each(model, pairs, methods, **how), methods, strict=True):
        alone = evaluate(model, pairs, *([] if method is None else [method]), **how)
        assert found.texts == alone.texts


def test_the_same_seed_and_methods_alike_write_the_same_texts_side_by_side(
    llama: Any, pairs: ContrastivePairs
) -> None:
    one, other = evaluate_each(llama, pairs, [push(llama), push(llama)], judge=JUDGE, **FEW)
    assert one.texts == other.texts
    assert one.text_costs is not None
    assert other.text_costs is not None
    torch.testing.assert_close(one.text_costs.kl, other.text_costs.kl, atol=NATS, rtol=1e-5)


def test_an_evaluation_by_hand_has_no_nats() -> None:
    from lens_steer.evaluation import Evaluation

    with pytest.raises(ValueError, match="made by hand, without `text_costs`: use evaluate"):
        _ = Evaluation(torch.ones(1), (0,), 1.0, ("a",)).kl


def test_failed_texts_are_empty_or_not_well_formed() -> None:
    from lens_steer.evaluation import Evaluation

    found = Evaluation(torch.ones(3), (0, 1, 2), 1.0, ("a", " ", "b"))
    assert found.failed.tolist() == [False, True, False]
    formed = torch.tensor([True, True, False])
    with_form = Evaluation(torch.ones(3), (0, 1, 2), 1.0, ("a", " ", "b"), formed)
    assert with_form.failed.tolist() == [False, True, True]


# Judges that cannot be used.


def saying(scores: Any) -> Any:
    """A judge that says the same of all texts."""
    return lambda *_: scores


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (torch.ones(2), r"shape \(2,\) for 6 texts: expected one for each"),
        (torch.ones(6, 1), r"shape \(6, 1\) for 6 texts"),
        (torch.tensor(1.0), r"shape \(\) for 6 texts"),
        (torch.tensor([1, 0, math.nan, 1, 0, 0]), r"gave nan for .* \(and 0 more outside"),
        (torch.tensor([1, 2.5, -1, 1, 0, 0]), r"gave 2.5 for .* \(and 1 more outside"),
        ([0.5, 0.5, math.inf, 0, 0, 0], "gave inf for"),
        (None, "gave no scores"),
        (["yes"] * 6, "gave no scores"),
    ],
)
def test_scores_that_cannot_be_used_are_named(
    llama: Any, pairs: ContrastivePairs, scores: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(llama, pairs, judge=saying(scores), **FEW)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("scores", [[1, 0, 0, 1, 0, 0], np.ones(6) / 2, torch.ones(6).double()])
def test_scores_may_be_any_numbers(llama: Any, pairs: ContrastivePairs, scores: Any) -> None:
    found = evaluate(llama, pairs, judge=saying(scores), **FEW)
    assert found.behaviour.tolist() == list(map(float, scores))


def test_what_is_kept_of_unsteered_logits_is_of_the_model_as_it_is(
    fresh_model: Any, pairs: ContrastivePairs
) -> None:
    model = fresh_model("llama")
    texts = FixedTexts.sample(model, pairs, seed=0, max_new_tokens=3)
    method, again = push(model), FixedTexts(texts.texts, texts.decoding)
    first = texts.kl(model, [(method,)])
    assert texts.kl(model, [(method,)]) == first == again.kl(model, [(method,)])
    half = (0.5 * method.vectors[0],)
    with model.hooks([(method.sites[0].hook_name, lambda x, hook: x + 0.5)]):  # noqa: ARG005
        hooked = texts.kl(model, [(method,)])
        assert hooked == FixedTexts(texts.texts, texts.decoding).kl(model, [(method,)]) != first
    with steered(model, Additive(method.sites, half)):
        inside = texts.kl(model, [(method,)])
        assert inside == FixedTexts(texts.texts, texts.decoding).kl(model, [(method,)]) != first
    assert texts.kl(model, [(method,)]) == first
    with torch.no_grad():
        model.blocks[0].mlp.out.weight.mul_(0.5)
    changed = texts.kl(model, [(method,)])
    assert changed == FixedTexts(texts.texts, texts.decoding).kl(model, [(method,)]) != first
