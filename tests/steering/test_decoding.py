"""How texts are written: every knob against Hugging Face's own, and keywords that are misspelt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, teacher_forced_kl
from lens_steer.steering import Decoding, continuations
from tests.conftest import BACKENDS, Loader
from tests.interventions import PROMPTS, push, rows_of
from tests.oracles_evaluation import divergence, raw_logits

KNOBS: list[dict[str, Any]] = [
    {"top_k": 3},
    {"top_p": 0.6},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.6},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 1, "repetition_penalty": 1.3, "top_k": 5, "top_p": 0.8},
]
FEW: dict[str, Any] = {"seed": 3, "max_new_tokens": 6}


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    return load("llama", request.param)


@pytest.fixture(scope="module")
def pairs() -> ContrastivePairs:
    few = [(prompt, " cat", " dog") for prompt in PROMPTS[:3]]
    return ContrastivePairs.of(few)


def processors(knobs: dict[str, Any], temperature: float = 1.0) -> Any:
    """Hugging Face's processors for these knobs, in the order of its `generate`."""
    found: list[Any] = []
    if "repetition_penalty" in knobs:
        found.append(transformers.RepetitionPenaltyLogitsProcessor(knobs["repetition_penalty"]))
    if "no_repeat_ngram" in knobs:
        found.append(transformers.NoRepeatNGramLogitsProcessor(knobs["no_repeat_ngram"]))
    found.append(transformers.TemperatureLogitsWarper(temperature))
    if "top_k" in knobs:
        found.append(transformers.TopKLogitsWarper(knobs["top_k"]))
    if "top_p" in knobs:
        found.append(transformers.TopPLogitsWarper(knobs["top_p"]))
    return transformers.LogitsProcessorList(found)


# ---- the knobs on random logits ----


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_tokens_are_drawn_from_what_hugging_face_draws_them_from(knobs: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    decoding = Decoding(temperature=0.7, seed=1, **knobs)
    for length in (1, 2, 12):
        rows = torch.randint(0, 9, (40, length), generator=generator)
        logits = 3 * torch.randn(40, 9, generator=generator)
        expected = processors(knobs, 0.7)(rows, logits.clone())
        noise = torch.stack(
            [torch.empty(9).exponential_(generator=decoding.generator(row)) for row in range(40)]
        )
        usable = expected.isfinite().any(dim=-1)  # a short vocabulary: all may be used up
        assert usable.sum() > 10
        scores = decoding.penalised(logits[usable], rows[usable].tolist())
        generators = [decoding.generator(row) for row in usable.nonzero()[:, 0].tolist()]
        drawn = decoding.draw(scores, generators)
        assert torch.equal(drawn, (expected - noise.log()).argmax(dim=-1)[usable])


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=4),
    st.floats(0.3, 3.0),
    st.integers(1, 4),
)
def test_penalties_are_hugging_faces_on_rows_of_any_lengths(
    rows: list[list[int]], penalty: float, n: int
) -> None:
    logits = torch.randn(len(rows), 8, generator=torch.Generator().manual_seed(n))
    found = Decoding(repetition_penalty=penalty, no_repeat_ngram=n).penalised(logits, rows)
    hf = processors({"repetition_penalty": penalty, "no_repeat_ngram": n})
    for i, row in enumerate(rows):  # alone, as Hugging Face penalises padding too
        torch.testing.assert_close(found[i], hf(torch.tensor([row]), logits[i : i + 1].clone())[0])


def test_the_identities_leave_logits_as_they_are_and_inputs_are_not_changed() -> None:
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    rows = [[1, 2, 1], [3]]
    assert Decoding().penalised(logits, rows) is logits
    copy = logits.clone()
    Decoding(repetition_penalty=2.0, no_repeat_ngram=2).penalised(logits, rows)
    assert torch.equal(logits, copy)
    half = Decoding(repetition_penalty=2.0).penalised(logits, rows)
    assert torch.equal(half[1, 4:], logits[1, 4:].float())


def test_more_likely_tokens_than_there_are_is_all_of_them() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    drawn = []
    for decoding in (Decoding(seed=0), Decoding(seed=0, top_k=50)):
        generators = [decoding.generator(row) for row in range(3)]
        drawn.append(decoding.draw(logits, generators))
    assert torch.equal(*drawn)


def test_a_row_with_no_token_left_is_refused() -> None:
    with pytest.raises(ValueError, match="no_repeat_ngram 1: every token would repeat"):
        Decoding(no_repeat_ngram=1).penalised(torch.zeros(1, 3), [[0, 1, 2]])


# ---- the knobs in generation ----


@pytest.mark.parametrize("knobs", [k for k in KNOBS if {"top_k", "top_p"}.isdisjoint(k)], ids=str)
def test_greedy_texts_are_those_of_the_models_own_generate(
    knobs: dict[str, Any], load: Loader
) -> None:
    model = load("qwen2", "bridge")
    prompts = ("the cat the cat the", "very very dog very")
    rows = rows_of(model, prompts)
    found = continuations(model, rows, decoding=Decoding(0.0, max_new_tokens=12, **knobs))
    plain = continuations(model, rows, decoding=Decoding(0.0, max_new_tokens=12))
    hf = {"repetition_penalty": knobs.get("repetition_penalty", 1.0)}
    if "no_repeat_ngram" in knobs:
        hf["no_repeat_ngram_size"] = knobs["no_repeat_ngram"]
    for row, new in zip(rows, found, strict=True):
        [whole] = model.original_model.generate(
            torch.tensor([row]),
            attention_mask=torch.ones(1, len(row), dtype=torch.long),
            do_sample=False,
            max_new_tokens=12,
            **hf,
        ).tolist()
        ends = model.tokenizer.eos_token_id
        expected = whole[len(row) :]
        assert new == (expected[: expected.index(ends)] if ends in expected else expected)
    assert found != plain


@pytest.mark.parametrize(
    "knobs",
    [{"top_k": 2}, {"top_p": 0.3}, {"repetition_penalty": 1.7}, {"no_repeat_ngram": 1}],
    ids=str,
)
def test_a_text_is_the_same_cached_batched_and_alone(load: Loader, knobs: dict[str, Any]) -> None:
    check_same_text(load("llama", "bridge"), knobs)


def test_a_text_is_the_same_with_all_knobs_at_once(either: Any) -> None:
    check_same_text(either, KNOBS[-1])


def check_same_text(model: Any, knobs: dict[str, Any]) -> None:
    prompts = PROMPTS[:3]
    plain: dict[str, Any] = {"seed": 2, "max_new_tokens": 6}
    method: Any = push(model)
    how: dict[str, Any] = plain | knobs
    together = ls.generate(model, prompts, method, **how)
    assert ls.generate(model, prompts, method, use_cache=False, **how) == together
    for i in (0, 2):
        assert ls.generate(model, prompts[i : i + 1], method, first_row=i, **how) == [together[i]]
    assert together != ls.generate(model, prompts, method, **plain)


# ---- what they cost ----


def penalised_divergence(
    model: Any, ids: Sequence[int], length: int, draws: int, how: Decoding, hooks: Any
) -> np.ndarray:
    """Nats at every draw of one text, by hooks of TransformerLens and Hugging Face's processors."""
    knobs: dict[str, Any] = {"repetition_penalty": how.repetition_penalty}
    if how.no_repeat_ngram:
        knobs["no_repeat_ngram"] = how.no_repeat_ngram
    found = []
    for hooked in (hooks, []):
        logits = torch.from_numpy(raw_logits(model, ids, fwd_hooks=hooked)).float()
        each = [
            processors(knobs, how.temperature)(torch.tensor([ids[: length + k]]), row[None].clone())
            for k, row in enumerate(logits[length - 1 : length - 1 + draws])
        ]
        x = torch.cat(each).double()
        found.append(x.masked_fill(x == -torch.inf, -1e9).numpy())  # no nats at what both rule out
    return divergence(*found)


@pytest.mark.parametrize(
    "knobs", [{"repetition_penalty": 1.5}, {"no_repeat_ngram": 1}, KNOBS[2] | KNOBS[4]], ids=str
)
def test_nats_are_between_the_distributions_that_are_sampled(
    load: Loader, pairs: ContrastivePairs, knobs: dict[str, Any]
) -> None:
    llama = load("llama", "bridge")
    method = push(llama, size=0.7)
    how = Decoding(temperature=0.8, **FEW, **knobs)
    [site], [vector] = method.sites, method.vectors

    def hooks(length: int) -> Any:
        def add(x: Tensor, hook: Any) -> Tensor:
            x = x.clone()
            x[:, length - 1 :] += vector
            return x

        return [(site.hook_name, add)]

    fixed = FixedTexts.sample(llama, pairs, decoding=how)
    nats = fixed.nats(llama, [(method,), ()])
    forced = teacher_forced_kl(llama, fixed.texts, [(method,)] * len(fixed.texts), how)
    for i, text in enumerate(fixed.texts):
        length = text.prompt_length
        hand = penalised_divergence(llama, text.ids, length, text.draws, how, hooks(length))
        assert nats[0, i].item() == pytest.approx(hand.sum(), rel=1e-3, abs=1e-4)
    torch.testing.assert_close(forced.kl, nats[0], rtol=1e-4, atol=1e-4)
    assert nats[1].abs().max() < 1e-6
    judge = ls.WordList(("cat",))
    trial = ls.evaluate(llama, pairs, method, judge=judge, decoding=how)
    assert list(trial.texts) == ls.generate(llama, pairs.prompts, method, decoding=how)
    rows = rows_of(llama, PROMPTS[:3])
    new = continuations(llama, rows, method, decoding=how)
    expected = [
        penalised_divergence(
            llama,
            [*row, *text],
            len(row),
            min(len(text) + 1, how.max_new_tokens),
            how,
            hooks(len(row)),
        ).sum()
        for row, text in zip(rows, new, strict=True)
    ]
    assert trial.text_costs is not None
    assert trial.text_costs.kl.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert trial.kl > 1e-3
    plain = ls.evaluate(llama, pairs, judge=judge, decoding=how)
    assert plain.kl == pytest.approx(0, abs=1e-9)
    # Perplexity is that of the unsteered model as it is, whatever the texts were sampled with.
    surprise = teacher_forced_kl(llama, fixed.texts, [()] * len(fixed.texts), Decoding()).surprise
    assert plain.text_costs is not None
    torch.testing.assert_close(plain.text_costs.surprise, surprise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("knobs", [{"top_p": 0.9}, {"top_k": 5}], ids=str)
def test_costs_that_would_be_infinite_are_refused(
    load: Loader, pairs: ContrastivePairs, knobs: dict[str, Any]
) -> None:
    llama = load("llama", "bridge")
    method, said = push(llama), "divergence is infinite, expected top_p=1 and top_k=None"
    calls: list[Callable[..., Any]] = [
        lambda **how: ls.evaluate(llama, pairs, method, **how),
        lambda **how: ls.evaluate_each(llama, pairs, [method], **how),
        lambda **how: ls.choose(llama, pairs, [method], **how),
        lambda **how: ls.sweep(llama, pairs, method, -method, [1.0], relative=[1.0], **how),
        lambda **how: ls.calibrate(llama, method, pairs, kl=0.1, **how),
        lambda **how: FixedTexts.sample(llama, pairs, **how),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=said):
            call(**FEW, **knobs)
    greedy = ls.evaluate(llama, pairs, method, temperature=0.0, max_new_tokens=2, **knobs)
    assert np.isnan(greedy.kl)
    text = FixedTexts.sample(llama, pairs, **FEW).texts[0]
    with pytest.raises(ValueError, match="after different prompts different tokens are ruled out"):
        teacher_forced_kl(llama, [text], [()], Decoding(no_repeat_ngram=2), clean_texts=[text])


# ---- how it is given ----


def callers(model: Any, pairs: Any, method: Any) -> dict[str, Callable[..., Any]]:
    """Every public function that writes texts, with what it needs but for how."""
    return {
        "generate": lambda **how: ls.generate(model, ["The cat"], method, **how),
        "evaluate": lambda **how: ls.evaluate(model, pairs, method, **how),
        "evaluate_each": lambda **how: ls.evaluate_each(model, pairs, [method], **how),
        "choose": lambda **how: ls.choose(model, pairs, [method], **how),
        "sweep": lambda **how: ls.sweep(
            model, pairs, method, -method, [1.0], relative=[1.0], **how
        ),
        "calibrate": lambda **how: ls.calibrate(model, method, pairs, kl=0.1, **how),
        "FixedTexts.sample": lambda **how: FixedTexts.sample(model, pairs, **how),
    }


NAMES = tuple(callers(None, None, push))


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_keyword_names_the_function_the_keyword_and_the_nearest_one(
    name: str, load: Loader, pairs: ContrastivePairs
) -> None:
    llama = load("llama", "bridge")
    call = callers(llama, pairs, push(llama))[name]
    own = {"generate": ("use_cash", "use_cache"), "calibrate": ("strenghts", "strengths")}
    wrong = [("tempature", "temperature"), ("max_tokens", "max_new_tokens")]
    wrong += [own[name]] if name in own else []
    wrong += [("juge", "judge")] if name not in ("generate", "FixedTexts.sample") else []
    for keyword, nearest in wrong:
        said = rf"^{name}\(\) got an unexpected keyword '{keyword}': did you mean '{nearest}'\?"
        with pytest.raises(TypeError, match=said):
            call(seed=0, **{keyword: 1})


@pytest.mark.parametrize("name", NAMES)
def test_one_value_or_keywords_and_never_both(
    name: str, load: Loader, pairs: ContrastivePairs
) -> None:
    llama = load("llama", "bridge")
    call = callers(llama, pairs, push(llama))[name]
    how = Decoding(**FEW)
    for more in ({"temperature": 0.5}, {"seed": 1}, {"seed": 1, "top_k": 3}):
        with pytest.raises(ValueError, match=rf"{name}\(\) got decoding=.*expected one of the two"):
            call(decoding=how, **more)
    if name != "calibrate":  # whose seed is 0 by default
        with pytest.raises(ValueError, match="no seed: sampling needs one"):
            call(decoding=replace(how, seed=None))


def test_a_value_without_a_seed_is_given_one_by_the_call(
    load: Loader, pairs: ContrastivePairs
) -> None:
    llama = load("llama", "bridge")
    unseeded = Decoding(temperature=1.2, max_new_tokens=4)
    for seed in (0, 1):
        found = ls.generate(llama, PROMPTS, decoding=unseeded, seed=seed)
        assert found == ls.generate(llama, PROMPTS, temperature=1.2, max_new_tokens=4, seed=seed)
    how: dict[str, Any] = {"relative_norm": 0.01, "strengths": (0.0, 0.1), "progress": False}
    one = ls.calibrate(llama, push(llama), pairs, decoding=unseeded, **how)
    other = ls.calibrate(llama, push(llama), pairs, temperature=1.2, max_new_tokens=4, **how)
    assert one.strength == other.strength


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top_k": 0}, "top_k=0, expected a whole number of at least 1 or None"),
        ({"top_k": 2.5}, "top_k=2.5"),
        ({"max_new_tokens": 0}, "max_new_tokens=0, expected a whole number of at least 1"),
        ({"repetition_penalty": 0}, "repetition_penalty=0, expected a finite number above 0"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty=nan"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1, expected a whole number of at least 0"),
        ({"seed": -1}, "seed=-1, expected a seed"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"temperature": True}, "temperature=True"),
        ({"scope": "first"}, "scope='first'"),
        ({"scope": ()}, "expected positions"),
        ({"stop": "end"}, "stop='end'"),
    ],
)
def test_values_that_make_no_sense_are_refused_and_named(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Decoding(**wrong)


def test_it_is_a_value_that_compares_hashes_and_is_saved(tmp_path: Path) -> None:
    how = Decoding(0.5, scope=[0, 3], seed=4, stop=["\n"], top_k=7)
    assert how == Decoding(0.5, scope=(0, 3), seed=4, stop=("\n",), top_k=7)
    assert len({how, replace(how)}) == 1
    ls.save(how, tmp_path / "how.safetensors")
    assert ls.load(tmp_path / "how.safetensors") == how
