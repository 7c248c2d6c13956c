"""The pulled-back Fisher metric against whole-forward autograd and true KL; what it makes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.linearity import BlockMaps, PullbackFisher, pullback_fisher
from lens_steer.models import encode_prompt, forward, hooked, pad
from lens_steer.sites import Kind, Site
from lens_steer.steering import FishBack
from tests.conftest import LAYERS, WIDTH, Loader, each_model
from tests.interventions import PROMPTS, drawn, push, run

# of different lengths: one beyond Gemma's window, and two of one length
TEXTS = ["The cat sat in the sun and was very old, the dog", "Hi", "A cat was", "A dog was"]
HOW: dict[str, Any] = {"seed": 0, "progress": False}
EXACT: dict[str, Any] = {"samples": None, **HOW}


def logits_of(model: Any, text: str, layer: int, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Next-token logits of a whole forward, and the last position's residual stream there."""
    tokens, _ = pad(model, [encode_prompt(model, text)])
    seen: list[Tensor] = []

    def replaced(x: Tensor) -> Tensor:
        seen.append(x[0, -1].detach())
        return x if last is None else torch.cat([x[:, :-1], last[None, None]], dim=1)

    with hooked(model, {Site(layer): replaced}):
        return forward(model, tokens)[0, -1], seen[0]


def fisher_oracle(model: Any, text: str, layer: int) -> Tensor:
    """J' (diag(p) - p p') J by autograd through the whole forward."""
    with torch.no_grad():
        logits, x = logits_of(model, text, layer, None)
    J = torch.autograd.functional.jacobian(
        lambda z: logits_of(model, text, layer, z)[0], x, vectorize=True
    )
    assert isinstance(J, Tensor)
    p = logits.softmax(dim=-1)
    return J.T @ (torch.diag(p) - torch.outer(p, p)) @ J


def true_kl(model: Any, text: str, layer: int, delta: Tensor) -> float:
    """KL(pushed || clean), nats."""
    with torch.no_grad():
        logits, x = logits_of(model, text, layer, None)
        pushed, _ = logits_of(model, text, layer, x + delta)
    a, b = pushed.double().log_softmax(dim=-1), logits.double().log_softmax(dim=-1)
    return float((a.exp() * (a - b)).sum())


# ---- the metric ----


@pytest.mark.parametrize("which", each_model())
def test_in_float64_it_is_that_of_the_whole_forward(
    which: tuple[str, Any], fresh_model: Loader
) -> None:
    model = fresh_model(*which, dtype=torch.float64)
    # a TransformerBridge takes some norms and Gemma's softmax in float32
    near: dict[str, Any] = {"rtol": 1e-5}
    for layer in (0, LAYERS - 1):
        found = pullback_fisher(model, TEXTS, layer, **EXACT)
        wanted = torch.stack([fisher_oracle(model, t, layer) for t in TEXTS]).mean(dim=0)
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found.matrix, wanted.to(found.matrix), atol=1e-5 * scale, **near)
        assert (found.layer, found.texts) == (layer, len(TEXTS))
        assert found.rows.dtype == torch.float64


@pytest.mark.parametrize("which", each_model())
def test_cotangents_of_logits_are_pulled_back(which: tuple[str, Any], load: Loader) -> None:
    """vjp and jvp of one map: c . (J t) = (J' c) . t."""
    model = load(*which)
    maps = BlockMaps.of(model, TEXTS)
    for layer in (0, 2, LAYERS):
        t, c = drawn((3, 4, WIDTH)), drawn((3, 4, model.cfg.d_vocab), seed=1)
        forward_mode = (c * maps.logits_jvp(layer, t)).sum(dim=-1)
        backward = (maps.logits_vjp(layer, c) * t).sum(dim=-1)
        torch.testing.assert_close(forward_mode, backward, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="layer 5"):
        maps.logits_vjp(LAYERS + 1, drawn((1, 4, model.cfg.d_vocab)))


def test_a_small_push_costs_what_it_predicts(fresh_model: Loader) -> None:
    model = fresh_model("llama", dtype=torch.float64)
    for layer in (1, LAYERS - 1):
        metric = pullback_fisher(model, TEXTS, layer, **EXACT)
        for seed in range(3):
            unit = drawn((WIDTH,), seed=seed).double()
            ratios = []
            for size in (1e-2, 1e-3):
                delta = size * unit
                true = np.mean([true_kl(model, text, layer, delta) for text in TEXTS])
                ratios.append(true / float(metric.kl(delta)))
            assert ratios[1] == pytest.approx(1, abs=0.01)
            assert abs(ratios[1] - 1) < 0.3 * abs(ratios[0] - 1) + 1e-3  # the rest is cubic


def test_sampled_it_tends_to_the_exact_one(llama: Any) -> None:
    exact = pullback_fisher(llama, TEXTS, 1, **EXACT).matrix
    errors = []
    for samples in (8, 128, 2048):
        own = [
            pullback_fisher(llama, TEXTS, 1, samples=samples, seed=s, progress=False).matrix
            for s in range(3 if samples < 2048 else 1)
        ]
        errors.append(np.mean([float((g - exact).norm() / exact.norm()) for g in own]))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]  # 1 / sqrt(samples) would be 4 and 4
    assert errors[2] < 0.1


def test_draws_depend_on_the_seed_and_not_on_batches(llama: Any) -> None:
    def metric(seed: int, **options: Any) -> PullbackFisher:
        return pullback_fisher(llama, TEXTS, 1, samples=4, seed=seed, progress=False, **options)

    assert torch.equal(metric(0).rows, metric(0).rows)
    assert not torch.equal(metric(0).matrix, metric(1).matrix)
    one_by_one = metric(0, memory_budget=1).matrix
    scale = float(one_by_one.abs().max())
    torch.testing.assert_close(metric(0).matrix, one_by_one, rtol=1e-3, atol=1e-4 * scale)


def test_memory_does_not_grow_with_the_texts(llama: Any) -> None:
    texts = [f"{text} {i}" for i in range(10) for text in TEXTS]
    assert len(pullback_fisher(llama, texts, 1, samples=8, **HOW).rows) <= 2 * WIDTH
    assert len(pullback_fisher(llama, TEXTS, 1, samples=8, **HOW).rows) == 32


@given(st.integers(0, 30), st.sampled_from([2, 5, 9]), st.sampled_from([1e-6, 0.1, 1e4]))
def test_the_damped_metric_is_solved(seed: int, rank: int, damping: float) -> None:
    rows = drawn((rank, 5), seed=seed).double()
    w = drawn((5,), seed=seed + 1)
    G = rows.numpy().T @ rows.numpy()
    damped = G + damping * np.trace(G) / 5 * np.eye(5)
    found = PullbackFisher(rows, 0, 1).solve(w, damping)
    wanted = np.linalg.solve(damped, w.double().numpy())
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-9 * abs(wanted).max())


# ---- the direction ----


def planted(rank: int = 9) -> tuple[PullbackFisher, ls.LayerActivations]:
    sides = drawn((12, WIDTH), seed=3) + drawn((WIDTH,), seed=4), drawn((7, WIDTH), seed=5)
    metric = PullbackFisher(drawn((rank, WIDTH), seed=6).double(), 1, 3)
    return metric, ls.LayerActivations.from_tensors(*sides, layer=1)


@pytest.mark.parametrize("given_readout", [False, True])
@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
def test_it_is_the_equation(damping: float, given_readout: bool) -> None:
    metric, own = planted()
    readout = drawn((WIDTH,), seed=8) if given_readout else None
    found = FishBack.from_metric(metric, own, readout=readout, damping=damping)
    rows = metric.rows.numpy()
    G = rows.T @ rows
    damped = G + damping * np.trace(G) / WIDTH * np.eye(WIDTH)
    means = [side.double().numpy().mean(axis=0) for side in (own.desired, own.undesired)]
    w = means[0] - means[1] if readout is None else readout.double().numpy()
    u = np.linalg.solve(damped, w)
    v = (w @ (means[0] - means[1])) * u / (w @ u)
    np.testing.assert_allclose(found.vector.numpy(), v, rtol=1e-4, atol=1e-5 * abs(v).max())
    assert found.kl == pytest.approx(v @ G @ v / 2, rel=1e-4)
    assert f"{found.kl:.3g} nats" in repr(found)
    x = drawn((3, 2, WIDTH))
    half = found.with_strength(0.5)
    torch.testing.assert_close(half.transform(x), x + 0.5 * found.vector)
    torch.testing.assert_close(half.vector_field(x), found.vector.expand_as(x))
    assert torch.equal(found.with_strength(0).transform(x), x)


@given(st.integers(0, 40))
def test_no_other_push_that_raises_the_readout_as_far_costs_less(seed: int) -> None:
    metric, own = planted()
    found = FishBack.from_metric(metric, own, damping=0.05)
    v, w = found.vector.double(), found.readout.double()
    level = 0.05 * float(metric.rows.square().sum()) / WIDTH

    def cost(d: Tensor) -> float:
        return float(metric.kl(d) + level * d.square().sum() / 2)

    aside = drawn((WIDTH,), seed=seed + 100).double()
    aside = aside - (aside @ w) / (w @ w) * w
    difference = own.direction.double()
    assert float(w @ v) == pytest.approx(float(w @ difference), rel=1e-5)
    for size in (0.01, 1.0):
        assert cost(v + size * aside) > cost(v)
    assert cost(difference) > cost(v)  # CAA's


def test_with_much_damping_it_is_caa() -> None:
    metric, own = planted()
    found = FishBack.from_metric(metric, own, damping=1e6)
    torch.testing.assert_close(found.vector, own.direction, rtol=1e-4, atol=1e-4)


def test_on_a_model_it_costs_fewer_nats_than_caa(
    fresh_model: Loader, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    """True KL at the texts of the metric, both raising the readout by a little as far."""
    model = fresh_model("llama", dtype=torch.float64)
    read = ls.capture(load("llama"), pairs, "resid", progress=False).at(1)
    own = ls.LayerActivations.from_tensors(read.desired, read.undesired, layer=1)
    found = FishBack.fit(model, TEXTS, own, damping=0.01, **EXACT)
    caa = own.direction.double()
    size = 0.01
    paid = [
        np.mean([true_kl(model, text, 1, size * v) for text in TEXTS])
        for v in (found.vector.double(), caa)
    ]
    assert paid[0] == pytest.approx(size**2 * found.kl, rel=0.05)
    assert paid[0] < 0.5 * paid[1]


def test_pairs_give_their_desired_texts(llama: Any, pairs: ls.ContrastivePairs) -> None:
    own = ls.capture(llama, pairs, "resid", progress=False).at(2)
    of_pairs = FishBack.fit(llama, pairs, own, **HOW)
    of_examples = FishBack.fit(llama, pairs.desired, own, **HOW)
    sides = own.desired, own.undesired[:4]
    of_tensors = FishBack.fit(llama, pairs, *sides, layer=2, **HOW)
    assert torch.equal(of_pairs.vector, of_examples.vector)
    assert of_pairs.sites == (Site(2),)
    assert of_tensors.provenance is not None
    assert not torch.equal(of_tensors.vector, of_pairs.vector)


def test_texts_are_the_same_with_and_without_a_cache_and_batch(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    own = ls.capture(model, pairs, "resid", progress=False).at(1)
    made = FishBack.fit(model, pairs, own, **HOW).with_strength(2.0)
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    texts = ls.generate(model, PROMPTS, made, **how)
    assert texts == [ls.generate(model, [p], made, **how)[0] for p in PROMPTS]
    assert texts == ls.generate(model, PROMPTS, made, use_cache=False, **how)
    tokens = torch.tensor([[5, 9, 20, 31]])
    clean = run(model, tokens, None)
    with ls.steered(model, made.with_strength(0)):
        assert torch.equal(run(model, tokens, None), clean)
    with ls.steered(model, made):
        assert not torch.equal(run(model, tokens, None), clean)


def test_saved_and_loaded_it_is_the_same(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    own = ls.capture(llama, pairs, "resid", progress=False).at(1)
    metric = pullback_fisher(llama, pairs, 1, samples=4, **HOW)
    made = FishBack.from_metric(metric, own).with_strength(0.4)
    for thing in (made, metric):
        ls.save(thing, tmp_path / "thing.safetensors")
        back = ls.load(tmp_path / "thing.safetensors", model=llama)
        assert type(back) is type(thing)
        if isinstance(back, FishBack):
            assert repr(back) == repr(made)
            assert torch.equal(back.vector, made.vector)
        else:
            assert torch.equal(back.rows, metric.rows)


# ---- what is refused ----


def test_what_cannot_be_measured_is_refused(llama: Any) -> None:
    for options, message in (
        ({"samples": 0}, "samples=0"),
        ({"read": "mean"}, "mean"),
        ({"texts": []}, "no texts"),
        ({"layer": 99}, "layer"),
    ):
        given_: dict[str, Any] = {"texts": TEXTS, "layer": 1, "samples": 2, **HOW, **options}
        with pytest.raises(ValueError, match=message):
            pullback_fisher(llama, given_.pop("texts"), given_.pop("layer"), **given_)
    with (
        pytest.raises(ValueError, match="being steered"),
        ls.steered(llama, push(llama)),
    ):
        pullback_fisher(llama, TEXTS, 1, samples=2, **HOW)
    with pytest.raises(ValueError, match="G is 0"):
        PullbackFisher(torch.zeros(2, 3).double(), 0, 1).solve(torch.ones(3), 0.1)


def test_what_cannot_be_fitted_is_refused(
    llama: Any, load: Loader, pairs: ls.ContrastivePairs, untyped: None
) -> None:
    metric, own = planted()
    x, y = own.desired, own.undesired
    layer = {"layer": 1}
    bad: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((x, y[:0]), layer, "no undesired"),
        ((x[:0], y), layer, "no desired"),
        ((x, x), layer, "differs by 0"),
        ((x * torch.nan, y), layer, "finite"),
        ((x[:, 1:], y[:, 1:]), layer, "residual stream"),
        ((x,), layer, "two tensors"),
        ((x, y), layer | {"damping": 0}, "damping"),
        ((x, y), layer | {"damping": float("nan")}, "damping"),
        ((x, y), layer | {"readout": torch.ones(3)}, "readout of shape"),
        ((x, y), layer | {"readout": torch.zeros(WIDTH)}, "differs by 0"),
        ((x, y), layer | {"readout": torch.full((WIDTH,), torch.nan)}, "differs by nan"),
        ((ls.LayerActivations.from_tensors(x, y, 1, Kind.MLP_OUT),), {}, "kind 'mlp_out'"),
    ]
    for given_, options, message in bad:
        with pytest.raises(ValueError, match=message):
            FishBack.fit(llama, TEXTS[1:2], *given_, samples=2, **HOW, **options)
    with pytest.raises(ValueError, match="expected one layer"):
        FishBack.from_metric(metric, ls.LayerActivations.from_tensors(x, y, 2))
    other = ls.capture(load("qwen2"), pairs, "resid", progress=False).at(1)
    with pytest.raises(ValueError, match=r"another|differ"):
        FishBack.fit(llama, TEXTS, other, samples=2, **HOW)
    with pytest.raises(ValueError, match="of two models"):
        FishBack.from_metric(pullback_fisher(llama, TEXTS, 1, samples=2, **HOW), other)
    with pytest.raises(ValueError, match="vector"):
        FishBack(Site(0), torch.tensor([torch.inf]), torch.ones(1), 0.1, 1.0)
