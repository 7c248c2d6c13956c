"""Gates: scores and thresholds against numpy; every row decides for itself, on every model."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.models import encode_prompt
from lens_steer.sites import Site
from lens_steer.steering import (
    CAA,
    Angular,
    BarrierCondition,
    CosineCondition,
    FrozenSADI,
    Gate,
    Intervention,
    OnlineLQR,
    prompt_means,
)
from tests.conftest import WIDTH
from tests.interventions import (
    PADDINGS,
    PROMPTS,
    SCOPES,
    Prepared,
    drawn,
    padded,
    push,
    rows_of,
    run,
    watched,
)

Array = np.ndarray
LAYER = 2  # behind the layer that is steered
OPEN = (True, False, False, True)  # of PROMPTS
MORE = (*PROMPTS, "The sun", "A very old house:", "A dog")


def weighed(model: Any, prompts: Any, opened: Any) -> Gate:
    """`Gate` of a barrier that is at least 0 on the prompts to be opened, to be given a method."""
    x = prompt_means(model, prompts, LAYER).double()
    signs = torch.tensor([1.0 if o else -1.0 for o in opened], dtype=torch.double)
    solved = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], dim=1), signs).solution
    barrier = ls.LinearBarrier(solved[:-1].float(), float(solved[-1]))
    return Gate(push(model, size=3.0), BarrierCondition(barrier), LAYER, 0.0)


def around(model: Any, method: Intervention, opened: Any = OPEN, prompts: Any = PROMPTS) -> Gate:
    found = weighed(model, prompts, opened)
    return Gate(method, found.condition, LAYER, 0.0)


# ---- scores ----


@given(st.integers(0, 100), st.sampled_from([0.01, 1.0, 30.0]))
def test_the_score_is_the_cosine_with_the_tanh_of_the_projection(seed: int, size: float) -> None:
    c, x = drawn((6,), seed=seed), drawn((4, 3, 6), seed=seed + 1, size=size)
    at, to = x.double().numpy(), c.double().numpy()
    image = np.tanh(np.einsum("ij,...j->...i", np.outer(to, to) / (to @ to), at))
    lengths = np.linalg.norm(at, axis=-1) * np.linalg.norm(image, axis=-1)
    wanted = (at * image).sum(axis=-1) / lengths
    for direction in (c, -7 * c):
        found = CosineCondition(direction).score(x)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_nothing_along_the_direction_scores_0() -> None:
    condition = CosineCondition(torch.tensor([1.0, 0.0]))
    assert condition.score(torch.tensor([[0.0, 3.0], [0.0, 0.0]])).tolist() == [0.0, 0.0]


def test_a_barrier_scores_its_h() -> None:
    barrier = ls.LinearBarrier(drawn((5,)), 0.3)
    x = drawn((7, 5), seed=1)
    assert torch.equal(BarrierCondition(barrier).score(x), barrier.h(x))


# ---- thresholds ----


class First:
    """A condition that is the activation's first entry."""

    width = 2

    def score(self, x: Tensor) -> Tensor:
        return x[..., 0]


def fitted(up: list[float], down: list[float]) -> Gate:
    sides = (torch.tensor([[u, 0.0] for u in side]) for side in (up, down))
    method = ls.CAA.fit(torch.ones(1, 2), torch.zeros(1, 2), layer=0)
    return Gate.fit(method, *sides, layer=1, condition=First())


def f1_and_balance(acts: Array, on: Array) -> tuple[float, float]:
    right = float((acts & on).sum())
    f1 = 2 * right / float(acts.sum() + on.sum())
    return f1, float((right / on.sum() + (~acts & ~on).sum() / (~on).sum()) / 2)


numbers = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=12)


@given(numbers, numbers)
def test_the_threshold_is_the_best_of_all(up: list[float], down: list[float]) -> None:
    seen = np.unique([*up, *down])
    if len(seen) < 2:
        with pytest.raises(ValueError, match="one score"):
            fitted(up, down)
        return
    on = np.array([True] * len(up) + [False] * len(down))
    values = np.array([*up, *down])
    tried = [
        f1_and_balance((values >= t) == above, on)
        for t in (seen[1:] + seen[:-1]) / 2
        for above in (True, False)
    ]
    gate = fitted(up, down)
    acts = gate.opens(torch.tensor([[v, 0.0] for v in values])).numpy()
    assert f1_and_balance(acts, on) == pytest.approx(max(tried))
    shown = (gate.fitted["f1"], gate.fitted["balanced_accuracy"])
    assert shown == pytest.approx(max(tried))
    assert f"f1={shown[0]:.3g}" in repr(gate)


def test_separated_classes_are_cut_half_way_on_either_side() -> None:
    gate = fitted([3.0, 5.0], [-1.0, 0.0, 1.0])
    assert (gate.threshold, gate.above) == (2.0, True)
    assert gate.fitted == {"f1": 1.0, "balanced_accuracy": 1.0}
    gate = fitted([-1.0, 0.0, 1.0], [3.0, 5.0])
    assert (gate.threshold, gate.above) == (2.0, False)


def test_by_default_the_direction_is_the_mean_difference() -> None:
    desired, undesired = drawn((20, 6)), drawn((15, 6), seed=1, size=0.2)
    desired = desired + 4 * torch.eye(6)[0]
    gate = Gate.fit(ls.CAA.fit(desired, undesired, layer=0), desired, undesired, layer=1)
    assert isinstance(gate.condition, CosineCondition)
    wanted = desired.mean(dim=0) - undesired.mean(dim=0)
    torch.testing.assert_close(gate.condition.direction, wanted)
    assert gate.layer == 1
    assert gate.fitted["f1"] > 0.9


# ---- what is read ----


def test_prompts_are_read_at_the_mean_of_their_tokens_without_the_first_unless_asked(
    model: Any,
) -> None:
    """The first token is the only sink: activations of random weights are of one size."""
    wanted, without = [], []
    for prompt in MORE:
        tokens = torch.tensor([encode_prompt(model, prompt)])
        with torch.no_grad():
            x = watched(model, Site(LAYER), lambda tokens=tokens: run(model, tokens, None))
        wanted.append(x[0].double().mean(dim=0).float())
        without.append(x[0, 1:].double().mean(dim=0).float())
    for budget in (1, 30, 2048):
        found = prompt_means(model, MORE, LAYER, sink=True, token_budget=budget)
        torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-4)
        found = prompt_means(model, MORE, LAYER, token_budget=budget)
        torch.testing.assert_close(found, torch.stack(without), rtol=1e-4, atol=1e-4)


# ---- which rows are steered ----

METHODS = ("push", "two layers", "sadi", "frozen", "lqr", "online", "prepared", "gate")


def inner(name: str, model: Any, pairs: ls.ContrastivePairs) -> Intervention:
    """One of every way in which a method acts."""
    if name in ("sadi", "frozen"):
        heads = ls.capture(model, pairs, "head", progress=False)
        made = ls.SADI if name == "sadi" else FrozenSADI
        return made(ls.attribution.contrast(heads).top(6), delta=8.0)
    if name in ("lqr", "online"):
        resid = ls.capture(model, pairs, "resid", progress=False)
        how: dict[str, Any] = {"setpoint": 80.0, "control_cost": 0.3}
        if name == "online":
            return OnlineLQR.fit(resid, **how)
        jacobians = ls.linearize(model, pairs, dense=False, progress=False)
        return ls.LQR.fit_feature(jacobians, resid, **how)
    if name == "gate":
        return around(model, push(model, size=3.0), (True, True, False, False))
    if name == "prepared":
        return Prepared()
    once = push(model, size=3.0)
    return once if name == "push" else once + push(model, layer=3, seed=1, size=3.0)


def expected(model: Any, method: Intervention, how: dict[str, Any]) -> list[str]:
    """Open prompts steered, each by itself; the others not."""
    return [
        ls.generate(model, [p], *([method] if o else []), **how)[0]
        for p, o in zip(PROMPTS, OPEN, strict=True)
    ]


def test_every_row_decides_for_itself_on_every_model(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    """With a method that reads prompts; the others are gated below, on two models."""
    method = inner("online", model, pairs)
    gate = around(model, method)
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    wanted = expected(model, method, how)
    assert ls.generate(model, PROMPTS, gate, **how) == wanted
    assert ls.generate(model, PROMPTS, gate, use_cache=False, **how) == wanted
    assert wanted != ls.generate(model, PROMPTS, **how)
    assert wanted != ls.generate(model, PROMPTS, method, **how)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_any_method_is_gated(
    load: Any, pairs: ls.ContrastivePairs, name: str, architecture: str
) -> None:
    """Windows, of Gemma, bear on what is read and on the cache, not on which scope is asked for."""
    model = load(architecture)
    method = inner(name, model, pairs)
    gate = around(model, method)
    for scope in ("last", "prompt", "all") if architecture == "llama" else ("last",):
        how: dict[str, Any] = {"max_new_tokens": 4, "temperature": 0.0, "scope": scope}
        wanted = expected(model, method, how) if name != "prepared" else None
        found = ls.generate(model, PROMPTS, gate, **how)
        assert wanted in (None, found), scope
        assert found == ls.generate(model, PROMPTS, gate, use_cache=False, **how), scope


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("scope", SCOPES)
def test_padding_and_scope_are_those_of_the_method(llama: Any, padding: str, scope: Any) -> None:
    batch = padded(llama, rows_of(llama), padding)
    method = push(llama, size=3.0)
    gate = around(llama, method)
    if padding == "none":  # cut to other prompts than those it was made for
        gate = Gate(method, gate.condition, LAYER, -1e9)
    with ls.steered(llama, gate, scope=scope):
        found = run(llama, batch.tokens, batch.mask)
    with ls.steered(llama, method, scope=scope):
        steered = run(llama, batch.tokens, batch.mask)
    clean = run(llama, batch.tokens, batch.mask)
    for i, (o, real) in enumerate(zip(OPEN, batch.real, strict=True)):
        wanted = steered if o or padding == "none" else clean
        torch.testing.assert_close(found[i, real], wanted[i, real], rtol=1e-5, atol=1e-5)


def test_a_prompts_end_is_gated_where_the_scope_holds_some_ends_only(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    batch = padded(llama, rows_of(llama), "left")
    method = inner("frozen", llama, pairs)
    scope = [batch.lengths[1] - 1, batch.lengths[3] - 1]  # ends of a closed and of an open prompt
    assert len({*batch.lengths}) == len(batch.lengths)
    found = []
    for methods in ([around(llama, method)], [method], []):
        with ls.steered(llama, *methods, scope=scope):
            found.append(run(llama, batch.tokens, batch.mask)[:, -1])
    gated, steered, clean = found
    for row, wanted in enumerate((clean, clean, clean, steered)):
        torch.testing.assert_close(gated[row], wanted[row], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(steered[1], clean[1])
    assert not torch.allclose(steered[3], clean[3])


def test_rows_that_end_early_leave_the_others_their_gate(llama: Any) -> None:
    opened = (True, False, True, True, False, True, False)
    method = push(llama, size=2.0)
    gate = around(llama, method, opened, MORE)
    how: dict[str, Any] = {"max_new_tokens": 60, "temperature": 1.5, "seed": 3}
    found = ls.generate(llama, MORE, gate, **how)
    steered, clean = ls.generate(llama, MORE, method, **how), ls.generate(llama, MORE, **how)
    wanted = [s if o else c for o, s, c in zip(opened, steered, clean, strict=True)]
    assert found == wanted
    lengths = [len(encode_prompt(llama, text)) for text in found]
    assert min(lengths) < 40 < max(lengths)  # some did end


def test_some_rows_of_a_batch_have_a_gate(llama: Any) -> None:
    batch = padded(llama, rows_of(llama), "left")
    method = push(llama, size=3.0)
    with ls.steered(llama, around(llama, method), rows=[False, True, True, True]):
        found = run(llama, batch.tokens, batch.mask)
    with ls.steered(llama, method, rows=[False, False, False, True]):
        wanted = run(llama, batch.tokens, batch.mask)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_decision_is_the_clean_models_and_the_prompts(llama: Any) -> None:
    """Neither another method around it nor what is written changes it."""
    method, other = push(llama, size=3.0), push(llama, layer=0, seed=4, size=5.0)
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    with ls.steered(llama, other):
        found = ls.generate(llama, PROMPTS, around(llama, method), **how)
    wanted = []
    for prompt, o in zip(PROMPTS, OPEN, strict=True):
        with ls.steered(llama, other):
            wanted.append(ls.generate(llama, [prompt], *([method] if o else []), **how)[0])
    assert found == wanted


def test_strengths_multiply_and_0_is_the_identity(llama: Any) -> None:
    batch = padded(llama, rows_of(llama), "left")
    method = push(llama, size=3.0).with_strength(0.5)
    gate = around(llama, method, (True, True, True, True))
    clean = run(llama, batch.tokens, batch.mask)
    for strength in (0.0, 1.0, -3.0):
        with ls.steered(llama, gate.with_strength(strength)):
            found = run(llama, batch.tokens, batch.mask)
        with ls.steered(llama, method.with_strength(0.5 * strength)):
            wanted = run(llama, batch.tokens, batch.mask)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(found, clean) == (strength == 0)
    assert torch.equal(run(llama, batch.tokens, batch.mask), clean)


def test_it_is_judged_like_any_method(llama: Any, pairs: ls.ContrastivePairs) -> None:
    """Closed it costs nothing and changes nothing; open it is the method."""
    method = push(llama, size=3.0)
    how: dict[str, Any] = {"seed": 0, "max_new_tokens": 5, "progress": False}
    opened = around(llama, method, [True] * len(pairs.prompts), pairs.prompts)
    closed = Gate(method, opened.condition, LAYER, 1e9)
    trials = ls.evaluate_each(llama, pairs, [opened, closed, method], **how)
    costs = [trial.kl for trial in trials]
    assert costs[0] == pytest.approx(costs[2], rel=1e-3)
    assert costs[1] == pytest.approx(0, abs=1e-6)
    assert costs[2] > 0.01
    assert trials[0].texts == trials[2].texts


def test_fitted_on_prompts_it_acts_on_those_like_them(
    embedded: Any,
) -> None:
    """Two kinds of text in the embedded model's language: one is steered, one is not."""
    sets = [ls.ContrastivePairs.load(f"organism:{name}") for name in ("sentiment", "refusal")]
    (up, held_up), (down, held_down) = (
        ([*dict.fromkeys(s.prompts)][:20], [*dict.fromkeys(s.prompts)][20:40]) for s in sets
    )
    method = push(embedded, layer=3, size=3.0)
    means = [prompt_means(embedded, p, 2) for p in (up, down)]
    gate = Gate.fit(method, *means, layer=2)
    shares = [
        float(gate.opens(prompt_means(embedded, p, 2)).double().mean())
        for p in (held_up, held_down)
    ]
    assert gate.fitted["f1"] > 0.9
    assert shares[0] > 0.9
    assert shares[1] < 0.1


def test_saved_and_loaded_it_is_the_same(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    cosine = Gate.fit(
        ls.CAA.fit(ls.capture(llama, pairs, "resid", progress=False).at(1)),
        *(prompt_means(llama, p, LAYER) for p in (PROMPTS[:2], PROMPTS[2:])),
        layer=LAYER,
    )
    nested = around(llama, around(llama, push(llama, size=3.0)).with_strength(0.5))
    for i, gate in enumerate((cosine, nested)):
        ls.save(gate, tmp_path / f"{i}.safetensors")
        back = ls.load(tmp_path / f"{i}.safetensors", model=llama)
        assert repr(back) == repr(gate)
        assert back.fitted == gate.fitted
        assert ls.generate(llama, PROMPTS, back, **how) == ls.generate(llama, PROMPTS, gate, **how)


def test_a_gate_knows_its_methods_model(load: Any, pairs: ls.ContrastivePairs) -> None:
    llama, qwen = load("llama"), load("qwen2")
    caa = ls.CAA.fit(ls.capture(llama, pairs, "resid", progress=False).at(1))
    by_hand = Gate(caa, CosineCondition(torch.ones(WIDTH)), LAYER, 0.0)
    sides = (prompt_means(llama, p, LAYER) for p in (PROMPTS[:2], PROMPTS[2:]))
    for gate in (by_hand, Gate.fit(caa, *sides, layer=LAYER)):
        with pytest.raises(ValueError, match="another|differ"), ls.steered(qwen, gate):
            pass
        with ls.steered(qwen, gate.without_provenance()):
            pass


def test_a_gate_knows_the_model_of_its_barrier(load: Any, pairs: ls.ContrastivePairs) -> None:
    llama, qwen = load("llama"), load("qwen2")
    own = ls.capture(llama, pairs, "resid", progress=False).at(LAYER)
    condition = BarrierCondition(ls.LinearBarrier.fit(own, C=1.0))
    gate = Gate(push(qwen, size=3.0), condition, LAYER, 0.0)
    with ls.steered(llama, gate):
        pass
    with pytest.raises(ValueError, match="another|differ"), ls.steered(qwen, gate):
        pass
    with ls.steered(qwen, gate.without_provenance()):
        pass


# ---- what is refused ----


def test_without_its_prompts_it_refuses_to_work(llama: Any) -> None:
    [(_, fn)] = around(llama, push(llama)).hooks(llama)
    with pytest.raises(ValueError, match="without their prompts"):
        fn(torch.zeros(1, 3, WIDTH))
    with pytest.raises(ValueError, match="without a token"):
        around(llama, push(llama)).prepare(
            llama, torch.tensor([[4, 5]]), torch.tensor([[False, False]])
        )


def test_what_makes_no_gate_is_refused(llama: Any, untyped: None) -> None:
    method, good = push(llama), CosineCondition(torch.ones(WIDTH))
    bad: list[tuple[Any, Any, Any, str]] = [
        ("no method", good, 0.0, "expected a steering method"),
        (method, "no condition", 0.0, "expected a Condition"),
        (method, good, float("nan"), "finite"),
    ]
    for given_, condition, threshold, message in bad:
        with pytest.raises(ValueError, match=message):
            Gate(given_, condition, LAYER, threshold)
    for direction in (torch.zeros(3), torch.tensor([1.0, torch.inf])):
        with pytest.raises(ValueError, match="direction"):
            CosineCondition(direction)


def test_what_does_not_fit_the_model_is_refused(llama: Any) -> None:
    method = push(llama)
    for condition, layer, message in (
        (CosineCondition(torch.ones(WIDTH + 1)), LAYER, "entries"),
        (CosineCondition(torch.ones(WIDTH)), 99, "layer"),
    ):
        with (
            pytest.raises(ValueError, match=message),
            ls.steered(llama, Gate(method, condition, layer, 0.0)),
        ):
            pass


def test_what_no_threshold_can_be_set_on_is_refused(llama: Any) -> None:
    method, x, y = push(llama), drawn((4, WIDTH)), drawn((3, WIDTH), seed=1)
    with pytest.raises(ValueError, match="no undesired"):
        Gate.fit(method, x, y[:0], layer=1)
    with pytest.raises(ValueError, match="direction is 0"):
        Gate.fit(method, x, x, layer=1)
    with pytest.raises(ValueError, match="finite"):
        Gate.fit(method, x, y * torch.nan, layer=1)
    with pytest.raises(ValueError, match="residual stream"):
        Gate.fit(method, ls.LayerActivations.from_tensors(x, y, 1, "mlp_out"))
    with pytest.raises(ValueError, match="entries"):
        Gate.fit(method, x, y, layer=1, condition=First())
    with pytest.raises(ValueError, match="at least one"):
        prompt_means(llama, [], 1)


def test_its_end_is_that_of_its_method() -> None:
    sides = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    condition = CosineCondition(torch.ones(4))
    for method, end in ((Angular.fit(*sides, to_angle=0.0), 1.0), (CAA.fit(*sides), math.inf)):
        assert Gate(method, condition, 0, 0.0).max_useful_strength == end
        assert Gate(method.with_strength(-0.5), condition, 0, 0.0).max_useful_strength == 2 * end
