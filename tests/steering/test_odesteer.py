"""Steering along barriers: knobs, targets, gates, pushes, and what a hook does in a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import LayerActivations
from lens_steer.barriers import FourierBarrier, JointBarrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import RK4, Euler, GeodesicEuler, GeodesicMidpoint, flow
from lens_steer.sites import Kind, Site
from lens_steer.steering import BarrierPush, Intervention, ODESteer, StepODESteer
from tests.barrier_samples import drawn_barrier, drawn_rows
from tests.conftest import WIDTH, Loader
from tests.interventions import Cached, NoWaiting, padded, rows_of, run, watched

D = 12
ROUNDING: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
FLOAT32: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def turn(a: Tensor, b: Tensor) -> Tensor:
    """Angle between rows, by the tangent of its half: exact for small ones as well."""
    a, b = (v / v.norm(dim=-1, keepdim=True) for v in (a, b))
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def small(seed: int = 0, rank: int = 3) -> PolynomialBarrier:
    """Of the tiny models' width, float32."""
    return replace(drawn_barrier(WIDTH, rank, seed=seed).to(dtype=torch.float32), layer=1)


def methods() -> list[Intervention]:
    barrier, way = small(), ODESteer(small(), angle=0.5)
    return [
        way,
        ODESteer(small(rank=WIDTH), layer=2, angle=0.4, only_outside=True, margin=0.5),
        ODESteer.from_length(barrier, T=2.0),
        way.one_step(),
        way.one_step(GeodesicEuler()),
        way.to_target(h=1.0),
        BarrierPush(barrier, margin=0.5),
        ODESteer(LinearBarrier(barrier.linear, 0.1), layer=0, angle=0.5),
        ODESteer(JointBarrier.of(barrier, small(seed=1)), angle=0.5),
    ]


# ---- as values ----


def test_a_negative_flow_goes_as_far_against_the_field() -> None:
    x = drawn_rows(5, WIDTH).float()
    for method in methods():
        assert torch.equal(method.transform(x), method.flow(x))  # type: ignore[attr-defined]
        if isinstance(method, ODESteer):
            back = -method.with_strength(0.5)
            assert (type(back), back.strength) == (type(method), -0.5)
            assert torch.equal(back.flow(x), method.with_strength(-0.5).flow(x))


# ---- knobs ----


def test_the_angle_is_the_length_over_the_norm() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(1, D)
    size = float(x.norm())
    for way in (Euler(), GeodesicMidpoint()):
        by_angle = ODESteer(barrier, angle=0.3, integrator=way).flow(x)
        by_length = ODESteer(barrier, length=0.3 * size, integrator=way).flow(x)
        torch.testing.assert_close(by_angle, by_length, **ROUNDING)
    step = ODESteer(barrier, angle=0.3).one_step(GeodesicEuler()).flow(x)
    torch.testing.assert_close(turn(step, x), torch.tensor([0.3]).double())


def test_the_published_knob_is_an_absolute_length_in_euler_steps() -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(6, D)
    expected = x
    for _ in range(10):
        expected = expected + 0.1 * 5.0 / 5 * barrier.field(expected)
    found = ODESteer.from_length(barrier, T=1.0)
    torch.testing.assert_close(found.flow(x), expected, **ROUNDING)
    grown = found.flow(x).square().sum(dim=-1) - x.square().sum(dim=-1)
    torch.testing.assert_close(grown, torch.full_like(grown, 1.0 / 10))


def test_one_step_is_the_formula_even_beyond_the_maximum() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(6, D)
    for angle in (0.2, 3.0):
        method = ODESteer(barrier, angle=angle).one_step()
        expected = x + angle * x.norm(dim=-1, keepdim=True) * barrier.field(x)
        torch.testing.assert_close(method.flow(x), expected, **ROUNDING)
    fixed = ODESteer.from_length(barrier, T=2.0).one_step()
    assert isinstance(fixed, StepODESteer)
    torch.testing.assert_close(fixed.flow(x), x + 2 * barrier.field(x), **ROUNDING)


def test_the_flow_is_that_of_the_module_of_flows() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(2, 3, D)
    for way in (RK4(), GeodesicMidpoint()):
        method = ODESteer(barrier, angle=0.4, steps=7, integrator=way, strength=0.5)
        expected = flow(barrier.grad, x, 0.2 * x.norm(dim=-1), steps=7, integrator=way)
        torch.testing.assert_close(method.flow(x), expected.points, **ROUNDING)


def test_strength_multiplies_the_angle() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(6, D)
    method = ODESteer(barrier, angle=0.3)
    assert torch.equal(method.with_strength(0.5).flow(x), ODESteer(barrier, angle=0.15).flow(x))
    assert torch.equal(method.with_strength(-1).flow(x), ODESteer(barrier, angle=-0.3).flow(x))
    assert bool((barrier.h(method.flow(x)) > barrier.h(x)).all())
    assert bool((barrier.h(method.with_strength(-1).flow(x)) < barrier.h(x)).all())


def test_negative_strength_undoes_positive_to_first_order() -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(6, D)
    for method in (ODESteer(barrier, angle=1.0), ODESteer(barrier, angle=1.0, integrator=Euler())):
        gaps = []
        for strength in (2e-2, 1e-2):
            there = method.with_strength(strength).flow(x)
            back = method.with_strength(-strength).flow(there)
            gaps.append(float((back - x).norm() / (there - x).norm()))
        assert gaps[1] < 0.01
        assert gaps[0] > 1.8 * gaps[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_strength_zero_gives_back_the_bits(dtype: torch.dtype) -> None:
    x = drawn_rows(3, 4, WIDTH).to(dtype)
    for method in methods():
        assert torch.equal(method.with_strength(0).flow(x), x)  # type: ignore[attr-defined]
    assert torch.equal(ODESteer(small(), angle=0.0).flow(x), x)
    assert torch.equal(ODESteer(small(), length=0.0).flow(x), x)


def test_half_precision_is_computed_in_float32() -> None:
    x = drawn_rows(3, WIDTH).bfloat16()
    for method in methods():
        found = method.flow(x)  # type: ignore[attr-defined]
        assert found.dtype is torch.bfloat16
        assert torch.equal(found, method.flow(x.float()).bfloat16())  # type: ignore[attr-defined]


def test_arrival_is_told() -> None:
    barrier, x = drawn_barrier(D, 4, linear=3.0), drawn_rows(2, 3, D)
    assert bool(ODESteer(barrier, angle=6.0, steps=60).at_maximum(x).all())
    assert not bool(ODESteer(barrier, angle=0.05).at_maximum(x).any())


# ---- gate ----


def test_the_gate_leaves_what_is_inside() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(40, D)
    for margin in (0.0, 0.4):
        inside = barrier.h(x) >= margin
        assert 0 < int(inside.sum()) < 40
        for gated in (
            ODESteer(barrier, angle=0.3, only_outside=True, margin=margin),
            ODESteer(barrier, angle=0.3, only_outside=True, margin=margin).one_step(),
        ):
            found, free = gated.flow(x), replace(gated, only_outside=False).flow(x)
            assert torch.equal(found[inside], x[inside])
            torch.testing.assert_close(found[~inside], free[~inside], **ROUNDING)
            assert not torch.equal(free[inside], x[inside])


# ---- targets ----


@pytest.mark.parametrize("rank", [0, 4, D])
def test_a_target_is_reached_and_no_more(rank: int) -> None:
    barrier, x = drawn_barrier(D, rank), drawn_rows(40, D)
    target = float(barrier.h(x).quantile(0.6))
    for dtype, limit in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        method = ODESteer(barrier.to(dtype=dtype), angle=2.0, steps=20).to_target(h=target)
        given = x.to(dtype)
        found, reach = method.flow(given), method.reach(given)
        there = method.barrier.h(given) >= target
        assert torch.equal(found[there], given[there])
        moved = reach.reached & ~there
        assert int(moved.sum()) > 15
        assert float((barrier.h(found.double())[moved] - target).abs().max()) < limit
        assert not bool(reach.angle[there].any())
        assert bool((reach.angle[moved] + 1e-3 >= turn(found, given)[moved]).all())


def test_probability_and_quantile_name_values_of_h() -> None:
    barrier, x = drawn_barrier(D, 4, linear=3.0), drawn_rows(30, D)
    barrier = replace(barrier, settings={"temperature": 1.0})  # its h is a log-ratio
    method = ODESteer(barrier, angle=3.0, steps=30)
    likely = method.to_target(probability=0.9)
    assert likely.target == pytest.approx(np.log(9))
    moved = likely.reach(x).reached & (barrier.h(x) < np.log(9))
    p = torch.sigmoid(barrier.h(likely.flow(x)[moved]))
    torch.testing.assert_close(p, torch.full_like(p, 0.9))
    acts = LayerActivations.from_tensors(x[:20], x[20:])
    median = method.to_target(quantile=0.5, activations=acts)
    expected = np.median(barrier.h(x[:20].float()).numpy())
    assert median.target == pytest.approx(float(expected), abs=1e-5)


def test_strength_multiplies_the_way_to_the_target() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(20, D)
    method = ODESteer(barrier, angle=2.0, steps=40).to_target(h=float(barrier.h(x).max()))
    way = method.reach(x).angle
    for strength in (0.5, -0.5):
        expected = flow(
            *(barrier.grad, x, strength * way * x.norm(dim=-1)),
            steps=40,
            integrator=GeodesicMidpoint(),
        )
        found = method.with_strength(strength).flow(x)
        torch.testing.assert_close(found, expected.points, rtol=1e-9, atol=1e-9)
    near = method.with_strength(1 - 1e-9).flow(x)
    torch.testing.assert_close(near, method.flow(x), rtol=0, atol=0.02)


def test_a_target_beyond_the_supremum_is_refused_with_the_supremum() -> None:
    barrier = drawn_barrier(D, D)
    top = barrier.supremum().value
    with pytest.raises(ValueError, match=f"sup h = {top:.4g}"):
        ODESteer(barrier, angle=1.0).to_target(h=top + 0.01)
    with pytest.raises(ValueError, match="sup h"):
        BarrierPush(barrier, margin=top + 0.01)


def test_what_does_not_reach_the_target_says_so() -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(20, D)
    method = ODESteer(barrier, angle=0.05).to_target(h=barrier.supremum().value - 0.01)
    reach = method.reach(x.reshape(4, 5, D))
    assert reach.reached.shape == (4, 5)
    assert not bool(reach.reached.any())
    torch.testing.assert_close(reach.angle, torch.full_like(reach.angle, 0.05))


def test_a_probability_is_of_calibrated_h_and_never_a_target_that_all_have() -> None:
    barrier, x = drawn_barrier(D, 4, linear=3.0), drawn_rows(200, D)
    draw = torch.rand(200, generator=torch.Generator().manual_seed(0)).double()
    likely = torch.sigmoid(barrier.h(x)) > draw  # classes of which h is the log-ratio
    dev = LayerActivations.from_tensors(x[likely], x[~likely])
    method = ODESteer(barrier.scaled(50.0), angle=3.0)  # as saturated as a fit with a large C
    with pytest.raises(ValueError, match="expected activations that the barrier was not fitted on"):
        method.to_target(probability=0.9)
    found = method.to_target(probability=0.9, activations=dev)
    expected = float(barrier.calibrated(dev).settings["temperature"]) * np.log(9) * 50
    assert found.target == pytest.approx(expected, rel=1e-6)
    calibrated = ODESteer(method.barrier.calibrated(dev), angle=3.0).to_target(probability=0.9)
    rows = x[~likely]
    torch.testing.assert_close(calibrated.flow(rows), found.flow(rows), atol=1e-6, rtol=1e-6)
    same = LayerActivations.from_tensors(x[:1], x[:1])
    with pytest.raises(ValueError, match="every undesired one of 1 activations has h >= "):
        method.to_target(quantile=0.5, activations=same)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"h": 0.1, "probability": 0.5},
        {"probability": 0.0},
        {"probability": 1.0},
        {"quantile": 0.5},
        {"quantile": 1.5, "activations": True},
        {"h": 0.1, "activations": True},
        {"h": float("nan")},
    ],
)
def test_bad_targets_are_refused(given: dict[str, Any]) -> None:
    if "activations" in given:
        x = drawn_rows(4, D)
        given = given | {"activations": LayerActivations.from_tensors(x, x)}
    with pytest.raises(ValueError, match="expected"):
        ODESteer(drawn_barrier(D, 2), angle=1.0).to_target(**given)
    with pytest.raises(ValueError, match="at least 0"):
        ODESteer(drawn_barrier(D, 2), angle=-1.0).to_target(h=-50.0)


# ---- the smallest push ----


def test_a_push_ends_at_the_margin_along_the_gradient_there() -> None:
    for rank in (0, 4, D):
        barrier, x = drawn_barrier(D, rank), drawn_rows(20, D)
        values = barrier.h(x)
        margin = float(values.quantile(0.5)) + 0.2
        method = BarrierPush(barrier, margin=margin)
        found, inside = method.flow(x), values >= margin
        assert torch.equal(found[inside], x[inside])
        end, start = found[~inside], x[~inside]
        assert float((barrier.h(end) - margin).abs().max()) < 1e-9
        along = torch.cosine_similarity(end - start, barrier.grad(end), dim=-1)
        assert float(along.min()) > 0.995
        shorter = end.norm(dim=-1) / start.norm(dim=-1)
        torch.testing.assert_close(shorter, turn(end, start).cos(), rtol=0, atol=0.01)
        # No shorter way: not by the flow either, which ends at the same margin.
        flown = ODESteer(barrier, angle=2.5, steps=20).to_target(h=margin)
        reached = flown.reach(start).reached
        others = (flown.flow(start) - start).norm(dim=-1)
        assert bool(((end - start).norm(dim=-1) <= others + 1e-6)[reached].all())


def test_a_linear_push_is_the_projection() -> None:
    weight, x = drawn_rows(D, seed=3, norm=2.0), drawn_rows(20, D)
    barrier = LinearBarrier(weight, 0.5)
    margin = float(barrier.h(x).quantile(0.5)) + 0.3
    found = BarrierPush(barrier, margin=margin).flow(x)
    short = (margin - barrier.h(x)).clamp(min=0)
    expected = x + short[:, None] * weight / weight.square().sum()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    half = BarrierPush(barrier, margin=margin, strength=0.5).flow(x)
    torch.testing.assert_close(half, (x + expected) / 2, rtol=1e-9, atol=1e-9)


# ---- in a model ----


def test_a_hook_does_what_the_flow_does(model: Any) -> None:
    batch = padded(model, rows_of(model), "left")
    for method in methods():
        (site,) = method.sites
        with torch.no_grad():
            before = watched(model, site, lambda: run(model, batch.tokens, batch.mask))
            with ls.steered(model, method, scope="all", sink=True):
                after = watched(model, site, lambda: run(model, batch.tokens, batch.mask))
        expected = method.flow(before)  # type: ignore[attr-defined]
        torch.testing.assert_close(after[batch.mask], expected[batch.mask], **FLOAT32)
        assert not torch.equal(after, before)


def test_no_hook_waits_for_the_device(llama: Any) -> None:
    x = drawn_rows(7, WIDTH).float()
    for method in methods():
        [edit] = method.edits(llama).values()
        with NoWaiting():
            edit(x)
    with NoWaiting(), pytest.raises(AssertionError):
        float(x.sum())


def test_padding_caches_and_batches_change_nothing(model: Any) -> None:
    method, rows = ODESteer(small(), angle=0.6), rows_of(model)
    found: list[list[Tensor]] = []
    with torch.no_grad(), ls.steered(model, method, scope="all"):
        for side in ("left", "right"):
            batch = padded(model, rows, side)
            logits = run(model, batch.tokens, batch.mask)
            found.append([logits[i, last] for i, last in enumerate(batch.last)])
        found.append([run(model, torch.tensor([row]), None)[0, -1] for row in rows])
    prompts = [row[:-2] for row in rows]
    cached: list[Tensor] = []
    for row, prompt in zip(rows, prompts, strict=True):
        with (
            torch.no_grad(),
            ls.steered(model, method, scope="all", prompt_lengths=[len(prompt)]),
        ):
            call = Cached(model, 1, masked=False)
            logits = call(torch.tensor([prompt]))
            for token in row[len(prompt) :]:
                logits = call(torch.tensor([[token]]))
        cached.append(logits[0, -1])
    found.append(cached)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_strength_zero_leaves_the_logits_as_they_are(model: Any) -> None:
    batch = padded(model, rows_of(model), "left")
    with torch.no_grad():
        before = run(model, batch.tokens, batch.mask)
        for method in methods():
            with ls.steered(model, method.with_strength(0), scope="all"):
                assert torch.equal(run(model, batch.tokens, batch.mask), before)


def test_it_fits_and_steers_a_models_own_activations(llama: Any, pairs: Any) -> None:
    acts = ls.capture(llama, pairs, "resid", progress=False).at(layer=2)
    barrier = LinearBarrier.fit_means(acts)
    method = ODESteer(barrier, angle=0.3)
    assert method.sites == (Site(2),)
    assert method.provenance is acts.provenance
    texts = ls.generate(llama, ["The cat"], method, max_new_tokens=4, temperature=0.0)
    assert texts == ls.generate(
        llama, ["The cat"], method, max_new_tokens=4, temperature=0.0, use_cache=False
    )


def test_another_model_is_refused(load: Loader, llama: Any, pairs: Any) -> None:
    acts = ls.capture(llama, pairs, "resid", progress=False).at(layer=2)
    method = ODESteer(LinearBarrier.fit_means(acts), angle=0.3)
    other = load("qwen2")
    with pytest.raises(ValueError, match="another model"):
        method.checked_edits(other)
    free = method.without_provenance()
    assert free.provenance is None
    assert list(free.checked_edits(other)) == [Site(2)]


def test_models_of_other_shapes_are_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match=r"of shape \(12,\), but this model holds \(32,\)"):
        ODESteer(drawn_barrier(D, 2), angle=0.1).edits(llama)
    with pytest.raises(ValueError, match="layer 9"):
        ODESteer(small(), layer=9, angle=0.1).edits(llama)
    heads = replace(small(), kind=Kind.HEAD)
    with pytest.raises(ValueError, match=r"this model holds \(4, 8\)"):
        ODESteer(heads, angle=0.1).edits(llama)


# ---- what is refused ----


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"angle": 0.1, "length": 1.0},
        {"angle": float("nan")},
        {"length": float("inf")},
        {"angle": 0.1, "steps": 0},
        {"angle": 0.1, "margin": float("nan")},
        {"angle": 0.1, "integrator": "euler"},
        {"angle": 0.1, "layer": -1},
        {"angle": 0.1, "strength": float("nan")},
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], untyped: None) -> None:
    with pytest.raises(ValueError, match="expected"):
        ODESteer(drawn_barrier(D, 2), **given)


def test_other_widths_and_things_are_refused(untyped: None) -> None:
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 12\]"):
        ODESteer(drawn_barrier(D, 2), angle=0.1).flow(torch.ones(3, D + 1))
    with pytest.raises(ValueError, match="expected a Barrier"):
        ODESteer(torch.ones(D), angle=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        BarrierPush(drawn_barrier(D, 2), margin=float("inf"))


def test_a_barrier_fitted_on_a_model_steers_its_own_layer_only(llama: Any, pairs: Any) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    barrier = LinearBarrier.fit_means(resid.at(layer=2))
    for make in (lambda: ODESteer(barrier, 1, angle=0.1), lambda: BarrierPush(barrier, 1)):
        with pytest.raises(ValueError, match=r"layer=1 for a barrier .* fitted on layer 2"):
            make()
    assert ODESteer(barrier, angle=0.1).layer == ODESteer(barrier, 2, angle=0.1).layer == 2
    meant = replace(barrier, layer=1)
    assert ODESteer(meant, 1, angle=0.1).sites == (Site(1),)


def test_it_prints_its_settings() -> None:
    shown = repr(ODESteer(drawn_barrier(D, 2), layer=3, angle=0.1))
    for part in ("angle=0.1", "GeodesicMidpoint()", "blocks.3.hook_resid_post"):
        assert part in shown
    assert "at 0x" not in shown


def test_what_is_given_is_left_as_it_was() -> None:
    x = drawn_rows(3, WIDTH).float()
    before = x.clone()
    for method in methods():
        method.flow(x)  # type: ignore[attr-defined]
        assert torch.equal(x, before)


@pytest.mark.parametrize("number", range(len(methods())))
def test_what_was_saved_comes_back_bit_by_bit(number: int, llama: Any, tmp_path: Path) -> None:
    method = methods()[number]
    ls.save(method, tmp_path / "method.safetensors")
    again = ls.load(tmp_path / "method.safetensors", model=llama)
    assert repr(again) == repr(method)
    x = drawn_rows(5, WIDTH).float()
    (ours,), (theirs,) = method.edits(llama).values(), again.edits(llama).values()
    assert torch.equal(ours(x), theirs(x))


def test_fitted_barriers_come_back_bit_by_bit(tmp_path: Path) -> None:
    data = LayerActivations.from_tensors(drawn_rows(40, D).float() + 0.5, drawn_rows(30, D).float())
    exact, probe = PolynomialBarrier.fit(data), LinearBarrier.fit(data)
    barriers = [exact, probe, FourierBarrier.fit(data, n_components=50)]
    barriers.append(PolynomialBarrier.fit_sketch(data, n_components=200))
    barriers.append(JointBarrier.of(exact, probe, temperature=0.5))
    x = drawn_rows(5, D, seed=3).float()
    for barrier in barriers:
        ls.save(barrier, tmp_path / "barrier.safetensors")
        again = ls.load(tmp_path / "barrier.safetensors")
        assert repr(again) == repr(barrier)
        assert torch.equal(again.h(x), barrier.h(x))
        assert torch.equal(again.grad(x), barrier.grad(x))
