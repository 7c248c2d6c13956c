"""What makes the methods one family: each identity in float64, and limits by their order.

docs/methods.md lists them. Methods that are fitted keep float32 tensors, and class differences are
float32 numbers: where that matters the tolerance says so. The cosine of two directions that agree
to seven digits differs from 1 by 1e-14 only.
"""

import re
from inspect import isabstract
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from sklearn.covariance import LedoitWolf
from torch import Tensor

import lens_steer as ls
from lens_steer.barriers.flows import Euler, GeodesicEuler, GeodesicMidpoint, Integrator
from lens_steer.linearity import PullbackFisher
from lens_steer.models import encode_prompt, forward, pad
from lens_steer.sites import Kind, Site
from lens_steer.steering import (
    BarrierCondition,
    BarrierPush,
    Costs,
    Gate,
    Intervention,
    ResidualITI,
)
from lens_steer.steering.lqr.fitting import effort_from_covariance
from lens_steer.steering.lqr.riccati import factored_steps
from lens_steer.steering.transport.gaussian import transport_matrix
from tests.barrier_samples import drawn_rows
from tests.conftest import LAYERS, WIDTH, Loader
from tests.interventions import PROMPTS, baselines

Array = np.ndarray
T, D, N = 5, 8, 40
SITE = Site(0)
EXACT: Any = {"atol": 1e-9, "rtol": 1e-9}
FLOAT32: Any = {"atol": 1e-5, "rtol": 1e-5}
ALIGNED = 1e-11  # 1 - cosine


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def activations(layers: int = T, d: int = D, seed: int = 0) -> ls.Activations:
    """Both classes of one covariance that is no multiple of the identity, float64."""
    mix = torch.linalg.qr(drawn(d, d, seed=seed)).Q * torch.linspace(0.2, 3.0, d).double()
    states = [drawn(N, layers + 1, d, seed=seed + i) @ mix for i in (1, 2)]
    up = states[0] + 0.5 * drawn(layers + 1, d, seed=seed + 3)
    down = states[1]
    every = tuple(range(layers))
    return ls.Activations(up[:, 1:], down[:, 1:], Kind.RESID, every, up[:, 0], down[:, 0])


def identities(layers: int = T, d: int = D) -> ls.LayerJacobians:
    eye = torch.eye(d, dtype=torch.double).expand(layers, d, d).contiguous()
    return ls.LayerJacobians.from_tensors(eye, torch.zeros(layers + 1, d).double())


def within(x: ls.Activations, layer: int) -> Array:
    """Ledoit and Wolf's covariance within the classes, by scikit-learn."""
    sides = [side[:, layer].numpy() for side in (x.desired, x.undesired)]
    rows = np.concatenate([side - side.mean(axis=0) for side in sides])
    return LedoitWolf(assume_centered=True).fit(rows).covariance_


def difference(x: ls.Activations, layer: int) -> Array:
    return x.desired[:, layer].numpy().mean(axis=0) - x.undesired[:, layer].numpy().mean(axis=0)


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def order(steps: list[float], errors: list[float]) -> float:
    """Slope of log error against log step, at the smallest two."""
    ratio = np.log(errors[-1] / errors[-2]), np.log(steps[-1] / steps[-2])
    return float(ratio[0] / ratio[1])


# ---- regulators ----


@pytest.mark.parametrize("layer", range(T))
def test_covariance_effort_and_the_lda_readout_are_caa(layer: int) -> None:
    x = activations()
    readout = np.linalg.solve(within(x, layer), difference(x, layer))
    readout = torch.from_numpy(readout / np.linalg.norm(readout))
    effort = effort_from_covariance(x)
    [step] = factored_steps(
        lambda _, columns: columns,  # A = I
        readout.expand(2, D)[..., None],
        Costs.of(1, 0.0, 1.0, 0.1, None),
        lambda _, columns: effort(layer, columns),
    )
    vector = ls.CAA.fit(x.at(layer)).vectors[0]
    assert cosine(step.gain(readout[:, None])[:, 0], vector) > 1 - ALIGNED
    assert cosine(readout, vector) < 0.9  # the readout alone is another direction


def test_the_on_manifold_regulator_of_identity_layers_pushes_along_sigma_v() -> None:
    x = activations()
    law = ls.LQR.fit_feature(identities(), x, state_cost=0.0, covariance_effort=True)
    last = law.directions[-1].numpy()
    for k in range(T):
        persists = np.sign(last @ law.directions[k].numpy())
        assert persists * cosine(law.gains[k], within(x, k) @ last) > 1 - ALIGNED


def test_where_sigma_is_a_multiple_of_the_identity_the_regulator_is_caa() -> None:
    square = torch.cat([torch.eye(D), -torch.eye(D)]).double()
    states = torch.stack([square, square], dim=1)  # the embedding, and behind the only block
    up, down = states + drawn(2, D, seed=4)[1], states
    x = ls.Activations(up[:, 1:], down[:, 1:], Kind.RESID, (0,), up[:, 0], down[:, 0])
    for covariance_effort in (False, True):
        law = ls.LQR.fit_feature(identities(1), x, covariance_effort=covariance_effort)
        assert cosine(law.gains[0], ls.CAA.fit(x.at(0)).vectors[0]) > 1 - ALIGNED


def test_without_state_cost_every_gain_is_along_the_gradient_of_the_last_feature() -> None:
    x, noise = activations(), drawn(T, D, D, seed=9) / D**0.5
    maps = torch.eye(D, dtype=torch.double) + 0.4 * noise
    jacobians = ls.LayerJacobians.from_tensors(maps, torch.zeros(T + 1, D).double())
    law = ls.LQR.fit_feature(jacobians, x, state_cost=0.0)
    gradient = law.directions[-1].numpy()  # Phi(T, k+1)' v_T
    for k in reversed(range(T)):
        before = maps[k].numpy().T @ gradient
        persists = np.sign(before @ law.directions[k].numpy())
        assert persists * cosine(law.gains[k], gradient) > 1 - ALIGNED
        gradient = before


@pytest.mark.parametrize(("q", "r"), [(0.1, 1.0), (2.0, 0.3)])
def test_p_control_is_the_regulator_of_a_long_stack_of_identity_layers(q: float, r: float) -> None:
    one = np.ones((1, 1))
    s = float(solve_discrete_are(one, one, q * one, r * one)[0, 0])
    kp = ls.PID.fit_scalar_gain(activations(), state_cost=q, control_cost=r).kp
    assert abs(kp - s / (s + r)) < 1e-12
    depths = [4, 5, 6]
    errors = []
    for depth in [*depths, 60]:
        costs: Any = {"state_cost": q, "control_cost": r, "terminal_cost": 0.1 * s}
        law = ls.LQR.fit(identities(depth), activations(depth), **costs)
        errors.append(float((law.gains[0] - kp * law.directions[0]).norm()))
    assert errors[-1] < 1e-12
    # Behind each layer the Riccati map contracts by the closed loop's square.
    assert errors[2] / errors[1] == pytest.approx((r / (s + r)) ** 2, rel=0.05)


# ---- set-points ----


def laws(v: Tensor, beta: float) -> tuple[ls.LQR, ls.LQRTracker]:
    """A gain of 1 at block 0 of a model of the tests."""
    features = torch.zeros(LAYERS + 1, WIDTH).double()
    features[0] = v
    points = torch.zeros(LAYERS + 1).double()
    points[0] = beta
    law = ls.LQR(features[:-1], features, points)
    columns = [features[k, :, None] for k in range(LAYERS)]
    goals = tuple(points[k, None] for k in range(LAYERS))
    return law, ls.LQRTracker(tuple(columns), tuple(columns), goals)


@pytest.mark.parametrize("beta", [0.0, 1.7])
def test_ablation_is_the_set_point_law_with_gain_1(fresh_model: Loader, beta: float) -> None:
    model = fresh_model("llama", dtype=torch.float64)
    v, x = drawn(WIDTH, seed=1), drawn(6, WIDTH, seed=2)
    v = v / v.norm()
    wanted = ls.Ablation.from_direction(v, [SITE], setpoint=beta).transform(x)
    law, tracker = laws(v, beta)
    [track] = tracker.edits(model).values()
    torch.testing.assert_close(track(x), wanted, **EXACT)
    edits = law.edits(model)  # reads before the block: the same where the block is the identity
    edits[Site(0, Kind.RESID_PRE)](x)
    torch.testing.assert_close(edits[SITE](x), wanted, **EXACT)
    up, down = drawn(N, WIDTH, seed=3), drawn(N, WIDTH, seed=4)
    fitted = ls.Ablation.fit(up, down, setpoint=beta)
    [track] = laws(fitted.direction.double(), beta)[1].edits(model).values()
    torch.testing.assert_close(track(x), fitted.transform(x), **EXACT)


def test_cheap_control_of_identity_layers_tends_to_ablation_with_the_price() -> None:
    x, prices = activations(), [1e-2, 1e-3, 1e-4]
    how: Any = {"setpoint": 0.0, "centred": False}
    errors = []
    for r in prices:
        law = ls.LQR.fit(identities(), x, control_cost=r, **how)
        assert not bool(law.setpoints.any())
        errors.append(float((law.gains - law.directions[:-1]).norm()))
    assert order(prices, errors) == pytest.approx(1, abs=0.05)


def test_a_push_to_a_linear_barriers_margin_is_ablation_to_a_set_point_on_one_side() -> None:
    barrier = ls.LinearBarrier(drawn(D, seed=1), 0.4)
    x, margin = drawn(20, D, seed=2), 1.5
    size = float(barrier.weight.norm())
    to = ls.Ablation.from_direction(barrier.weight, [SITE], setpoint=(margin - 0.4) / size)
    inside = barrier.h(x) >= margin
    assert 0 < int(inside.sum()) < len(x)
    wanted = torch.where(inside[:, None], x, to.transform(x))
    found = BarrierPush(barrier, margin=margin).flow(x)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)  # its slides have to settle


def test_taking_out_an_element_is_ablation_along_its_axis(fresh_model: Loader) -> None:
    model = fresh_model("llama", dtype=torch.float64)
    chosen = torch.zeros(LAYERS, WIDTH, dtype=torch.bool)
    chosen[0, 3] = True
    mask = ls.ElementMask(chosen, Kind.MLP_OUT, tuple(range(LAYERS)))
    x = drawn(6, WIDTH, seed=2)
    [edit] = ls.SADI(mask, delta=-1.0).edits(model).values()
    axis = torch.eye(WIDTH, dtype=torch.double)[3]
    wanted = ls.Ablation.from_direction(axis, [Site(0, Kind.MLP_OUT)]).transform(x)
    torch.testing.assert_close(edit(x), wanted, **EXACT)


# ---- flows ----


def slerp(x: Tensor, towards: Tensor, angle: float) -> Tensor:
    """Each row turned by an angle in the plane of itself and one direction, in numpy."""
    a, q = x.numpy(), towards.numpy() / np.linalg.norm(towards.numpy())
    size = np.linalg.norm(a, axis=1, keepdims=True)
    unit = a / size
    tangent = q - (unit @ q)[:, None] * unit
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    return torch.from_numpy(size * (np.cos(angle) * unit + np.sin(angle) * tangent))


@pytest.mark.parametrize("scheme", [GeodesicEuler(), GeodesicMidpoint()])
@pytest.mark.parametrize("steps", [1, 7])
def test_the_flow_of_a_linear_part_alone_is_the_slerp(scheme: Integrator, steps: int) -> None:
    q, x = drawn(D, seed=1), drawn_rows(20, D)
    linear = ls.PolynomialBarrier.of_quadratic(torch.zeros(D, D).double(), q)
    probe = ls.LinearBarrier(q, 0.3)  # its gradient across x has the same direction
    for barrier in (linear, probe):
        method = ls.ODESteer(barrier, angle=0.3, steps=steps, integrator=scheme)
        torch.testing.assert_close(method.flow(x), slerp(x, q, 0.3), **EXACT)


def turned_field(barrier: ls.PolynomialBarrier, x: Tensor) -> float:
    """Mean angle between the field and that of the linear part, rad."""
    apart = barrier.field(x) - barrier.truncated(0).field(x)
    return float((2 * torch.asin(apart.norm(dim=-1) / 2)).mean())


def test_with_gamma_to_0_the_flow_tends_to_the_slerp_linearly() -> None:
    up, down = drawn_rows(N, D, seed=2), drawn_rows(N, D, seed=3)
    given = ls.LayerActivations(up + 4 * drawn(D, seed=5), down, 0, Kind.RESID)
    gammas, x = [0.1, 0.01, 0.001], drawn_rows(30, D, seed=6)
    fields, ends = [], []
    for gamma in gammas:
        barrier = ls.PolynomialBarrier.fit(given, gamma=gamma, C=1.0)
        fields.append(turned_field(barrier, x))
        end = ls.ODESteer(barrier, angle=0.3).flow(x)
        ends.append(float((end - slerp(x, barrier.linear, 0.3)).norm()))
    assert order(gammas, fields) == pytest.approx(1, abs=0.05)
    assert order(gammas, ends) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("components", "expected"), [(64, 0.5), (8000, 1.0)])
def test_the_published_sketch_tends_to_its_linear_part_as_its_hashes_collide(
    components: int, expected: float
) -> None:
    up, down = drawn_rows(N, D, seed=2), drawn_rows(N, D, seed=3)
    given = ls.LayerActivations(up + 4 * drawn(D, seed=5), down, 0, Kind.RESID)
    gammas, x = [1e-2, 1e-3, 1e-4], drawn_rows(30, D, seed=6)
    how: Any = {"C": 1.0, "n_components": components}
    each = [ls.PolynomialBarrier.fit_sketch(given, gamma=g, **how) for g in gammas]
    found = order(gammas, [turned_field(barrier, x) for barrier in each])
    assert found == pytest.approx(expected, abs=0.02)  # in 8000 these nine hashes do not collide


def test_one_step_is_eulers_scheme_with_one_step() -> None:
    matrix = drawn(D, D, seed=1)
    barrier = ls.PolynomialBarrier.of_quadratic(matrix + matrix.T, drawn(D, seed=2))
    x = drawn_rows(20, D)
    knobs: list[dict[str, Any]] = [{"angle": 0.02}, {"length": 0.1}]
    for knob in knobs:
        many = ls.ODESteer(barrier, **knob)
        one = ls.ODESteer(barrier, **knob, steps=1, integrator=Euler())
        assert not bool(one.at_maximum(x).any())  # else a step would cross a maximum
        assert torch.equal(one.flow(x), many.one_step().flow(x))


@pytest.mark.parametrize("steps", [1, 10])
def test_euler_along_a_linear_barrier_is_one_vector(steps: int) -> None:
    up, down = drawn(N, D, seed=2) + drawn(D, seed=4), drawn(N, D, seed=3)
    given = ls.LayerActivations(up, down, 0, Kind.RESID)
    x, far = drawn(20, D, seed=5), 2.5
    probe = ls.ODESteer.from_length(ls.LinearBarrier.fit(given, C=1.0), T=far, steps=steps)
    iti = ResidualITI.fit(given, length=far, C=1.0)
    torch.testing.assert_close(probe.flow(x), iti.transform(x), **EXACT)
    means = ls.ODESteer.from_length(ls.LinearBarrier.fit_means(given), T=far, steps=steps)
    caa = ls.CAA.fit(given)
    caa = caa.with_strength(far / float(caa.vectors[0].double().norm()))
    torch.testing.assert_close(means.flow(x), caa.transform(x), atol=1e-6, rtol=0)  # float32 means


# ---- transport ----


def levels() -> Tensor:
    """A full grid: coordinates without any correlation, none of them symmetric."""
    axes = [torch.tensor(a).double() for a in ([0, 1, 3], [-1, 0, 4], [2, 3, 7])]
    return torch.cartesian_prod(*axes)


def test_equal_covariances_make_mimic_the_mean_shift_and_caa() -> None:
    down, shift = drawn(N, D, seed=1) @ drawn(D, D, seed=2), drawn(D, seed=3)
    x = drawn(20, D, seed=4)
    away = (down - down.mean(dim=0)).numpy()
    spread = torch.from_numpy(away.T @ away / N)
    matrix = transport_matrix(spread, spread)
    torch.testing.assert_close(matrix, torch.eye(D, dtype=torch.double), **EXACT)
    exact = ls.MiMiC(SITE, down.mean(dim=0), down.mean(dim=0) + shift, matrix)
    torch.testing.assert_close(exact.transform(x), x + shift, **EXACT)
    torch.testing.assert_close(ls.MeanAcT(SITE, shift).transform(x), x + shift, **EXACT)
    torch.testing.assert_close(ls.CAA((SITE,), (shift,)).transform(x), x + shift, **EXACT)
    for kind in (ls.CAA, ls.MeanAcT, ls.LinearAcT, ls.MiMiC):
        fitted = kind.fit(down + shift, down)
        torch.testing.assert_close(fitted.transform(x), x + shift, **FLOAT32)


def test_equal_spreads_make_linear_act_the_mean_shift_whatever_the_correlations() -> None:
    down, shift = drawn(N, D, seed=1) @ drawn(D, D, seed=2), drawn(D, seed=3)
    draw = torch.Generator().manual_seed(5)
    mixed = torch.stack([c[torch.randperm(N, generator=draw)] for c in down.T], dim=1)
    x = drawn(20, D, seed=4)
    found = ls.LinearAcT.fit(mixed + shift, down).transform(x)
    torch.testing.assert_close(found, x + shift, **FLOAT32)
    bent = ls.MiMiC.fit(mixed + shift, down).transform(x)
    assert float((bent - x - shift).norm()) > 0.1 * float(shift.norm())


def test_without_correlations_linear_act_is_mimic() -> None:
    down, scale = levels(), torch.tensor([0.3, 2.0, 1.4]).double()
    up, x = down * scale + torch.tensor([1.0, -2.0, 0.5]), drawn(20, 3, seed=1)
    away = (down - down.mean(dim=0)).numpy()
    spread = torch.from_numpy(away.T @ away / len(away))
    outer = torch.outer(scale, scale)
    torch.testing.assert_close(transport_matrix(spread, spread * outer), scale.diag(), **EXACT)
    coordinates, gaussian = ls.LinearAcT.fit(up, down), ls.MiMiC.fit(up, down)
    wanted = up.mean(dim=0) + scale * (x - down.mean(dim=0))
    for found in (coordinates, gaussian):
        torch.testing.assert_close(found.transform(x), wanted, **FLOAT32)


# ---- metrics and directions ----


def test_a_fisher_metric_without_preference_is_caa_at_any_damping() -> None:
    x = activations().at(2)
    metric = PullbackFisher(0.7 * torch.eye(D).double(), 2, 1)
    for damping in (1e-3, 1.0, 1e3):
        found = ls.FishBack.from_metric(metric, x, damping=damping)
        torch.testing.assert_close(found.vector, ls.CAA.fit(x).vectors[0], **FLOAT32)


def test_damping_turns_fishback_to_its_readout_inversely() -> None:
    metric = PullbackFisher(drawn(3, D, seed=1), 0, 1)
    w, shares = drawn(D, seed=2), [1e-2, 1e-3, 1e-4]  # 1 / damping
    each = [metric.solve(w, 1 / share) for share in shares]
    unit = w / w.norm()
    errors = [float((v / v.norm() - unit).norm()) for v in each]
    assert order(shares, errors) == pytest.approx(1, abs=0.02)
    x = ls.LayerActivations(drawn(N, D, seed=3) + w, drawn(N, D, seed=4), 0, Kind.RESID)
    fitted = ls.FishBack.from_metric(metric, x, damping=1e6)
    assert cosine(fitted.vector, ls.CAA.fit(x).vectors[0]) > 1 - 1e-10


def test_pairs_that_differ_along_one_line_make_repe_caa() -> None:
    base, line = drawn(N, D, seed=1), drawn(D, seed=2)
    sizes = drawn(N, 1, seed=3).abs() + 0.1
    found = ls.RepE.fit_pairs(base + sizes * line, base)
    wanted = ls.CAA.fit(base + sizes * line, base)
    x = drawn(20, D, seed=4)
    torch.testing.assert_close(found.transform(x), wanted.transform(x), **FLOAT32)


def test_a_small_turn_is_a_step_along_the_tangent_to_second_order() -> None:
    axes = torch.linalg.qr(drawn(D, 2, seed=1)).Q.T.contiguous()
    x, angles = drawn(20, D, seed=2), [1e-1, 1e-2, 1e-3]
    inside = (x @ axes.T).numpy()
    tangent = torch.from_numpy(inside[:, :1] * axes[1].numpy() - inside[:, 1:] * axes[0].numpy())
    errors = []
    for angle in angles:
        turned = ls.Angular(SITE, axes[0], axes[1], angle=angle).transform(x)
        errors.append(float((turned - x - angle * tangent).norm()))
    field = ls.Angular(SITE, axes[0], axes[1], angle=0.1).vector_field(x)
    torch.testing.assert_close(field, 0.1 * tangent, **EXACT)
    assert order(angles, errors) == pytest.approx(2, abs=0.01)


def test_within_its_plane_a_turn_to_b1_is_the_flow_towards_b1() -> None:
    axes = torch.linalg.qr(drawn(D, 2, seed=1)).Q.T.contiguous()
    x = drawn(20, 2, seed=2) @ axes
    turn = ls.Angular(SITE, axes[0], axes[1], to_angle=0.0)
    away = turn.angles(x).abs()
    zero = torch.zeros(D, D).double()
    barrier = ls.PolynomialBarrier.of_quadratic(zero, axes[0])
    for share in (0.01, 0.5):
        found = turn.with_strength(share).transform(x)
        each = [
            ls.ODESteer(barrier, angle=share * float(way)).flow(row)
            for row, way in zip(x, away, strict=True)
        ]
        torch.testing.assert_close(found, torch.stack(each), **EXACT)


# ---- gates ----


@pytest.mark.parametrize("name", ["ResidualITI", "Ablation", "Angular", "ITI"])
def test_an_open_gate_is_its_method_and_a_shut_one_is_nothing(
    fresh_model: Loader, name: str
) -> None:
    model = fresh_model("llama", dtype=torch.float64)
    method = baselines(model)[name]
    rows = [encode_prompt(model, prompt) for prompt in PROMPTS]
    tokens, mask = pad(model, rows)

    def logits(*methods: Any) -> Tensor:
        with torch.no_grad(), ls.steered(model, *methods):
            return forward(model, tokens, mask)

    nowhere = ls.LinearBarrier(torch.full((WIDTH,), 1e-12).double(), 1.0)
    gates = [Gate(method, BarrierCondition(nowhere), 1, edge) for edge in (0.0, 2.0)]
    open_, shut = (logits(gate) for gate in gates)
    assert torch.equal(open_, logits(method))
    assert torch.equal(shut, logits())
    assert not torch.equal(open_, shut)


# ---- the table ----


def test_the_table_names_every_method_and_tests_that_there_are() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "methods.md").read_text(encoding="utf-8")
    tests = (root / "tests").rglob("test_*.py")
    known = "".join(path.read_text(encoding="utf-8") for path in tests)
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in known} == set()
    public = {name: getattr(ls.steering, name) for name in dir(ls.steering) if name[0].isupper()}
    methods = {
        name
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, Intervention) and not isabstract(found)
    }
    hidden = {"Additive", "StepODESteer"}  # what methods are made of, and what `one_step` makes
    assert {name for name in methods - hidden if f"| `{name}" not in text} == set()
