"""Regulators against textbook recursions in float64, closed forms, and a dense reference law."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor

import lens_steer as ls
from lens_steer.linearity import FeatureDirections
from lens_steer.models import encode_prompt, forward, hooked, pad
from lens_steer.sites import Kind, Site
from lens_steer.steering import Costs, JointLQR, OnlineLQR
from lens_steer.steering.lqr.riccati import factored_steps, feed_forward, isotropic_gains
from tests.conftest import BACKENDS, LAYERS, WIDTH, Loader
from tests.oracles_lqr import cost, dense_gains

T, D = 7, 12
PROMPTS = ["The cat sat in the sun", "Hi", "A dog was very old and", "One"]


def system(seed: int = 0, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Random A near the identity, and unit features."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.eye(D) + spread * torch.randn(T, D, D, generator=draw) / D**0.5
    v = torch.randn(T + 1, D, generator=draw).double()
    return a.double(), v / v.norm(dim=-1, keepdim=True)


def costs(state: Any = 0.3, control: Any = 2.0, terminal: float = 0.7, layers: Any = None) -> Costs:
    return Costs.of(T, state, control, terminal, layers)


def test_identity_layers_have_the_scalar_riccati_gain() -> None:
    _, v = system()
    q, r, s = 0.3, 2.0, 0.7
    found = isotropic_gains(torch.eye(D, dtype=torch.double).expand(T, D, D), v, costs())
    for k in reversed(range(T)):
        torch.testing.assert_close(found[k], s / (s + r) * v[k], atol=1e-14, rtol=1e-12)
        s = q + s - s * s / (s + r)


def test_one_layer_is_the_closed_form() -> None:
    a, v = system()
    found = isotropic_gains(a[:1], v[:2], Costs.of(1, 5.0, 2.0, 0.7, None))
    torch.testing.assert_close(found[0], 0.7 / 2.7 * a[0] @ v[0], atol=1e-14, rtol=1e-12)


def test_a_long_horizon_has_the_gain_of_the_algebraic_equation() -> None:
    a, v = system()
    long, n = a[:1].expand(400, D, D), 400
    found = isotropic_gains(long, v[:1].expand(n + 1, D), Costs.of(n, 0.3, 2.0, 0.7, None))
    one = np.eye(D)
    s = solve_discrete_are(a[0].numpy(), one, 0.3 * one, 2.0 * one)
    k = np.linalg.solve(s + 2.0 * one, s @ a[0].numpy())
    np.testing.assert_allclose(found[0].numpy(), k @ v[0].numpy(), atol=1e-10)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.5])
def test_dense_gains_are_the_textbooks(spread: float) -> None:
    a, v = system(1, spread)
    q, r = np.linspace(0.0, 1.0, T), np.linspace(0.5, 3.0, T)
    one = np.eye(D)
    gains, _ = dense_gains(a.numpy(), [x * one for x in q], [x * one for x in r], 0.7 * one)
    found = isotropic_gains(a, v, costs(q.tolist(), r.tolist()))
    for k in range(T):
        np.testing.assert_allclose(found[k].numpy(), gains[k] @ v[k].numpy(), atol=1e-10)


@pytest.mark.parametrize("window", [None, (2, 3, 4)])
@pytest.mark.parametrize("metric", [False, True])
def test_factored_gains_are_the_dense_ones(window: Any, metric: bool) -> None:
    a, v = system(2)
    draw = torch.Generator().manual_seed(5)
    root = torch.randn(T, D, D, generator=draw).double()
    sigma = root @ root.mT / D + torch.eye(D) if metric else torch.eye(D).double().expand(T, D, D)
    own = costs(np.linspace(0.1, 1.0, T).tolist(), 2.0, 0.7, window)
    steps = factored_steps(
        lambda k, x: a[k].T @ x,
        v[..., None],
        own,
        (lambda k, x: sigma[k] @ x) if metric else None,
    )
    q = [float(c) * np.outer(x, x) for c, x in zip(own.state, v.numpy(), strict=False)]
    far = [1e14 if c == torch.inf else float(c) for c in own.control]
    r = [c * np.linalg.inv(s) for c, s in zip(far, sigma.numpy(), strict=True)]
    gains, values = dense_gains(a.numpy(), q, r, 0.7 * np.outer(v[-1], v[-1]))
    for k in range(T):
        expected = gains[k] @ v[k].numpy()
        np.testing.assert_allclose(steps[k].gain(v[k, :, None])[:, 0].numpy(), expected, atol=1e-10)
        factor = steps[k].factor.numpy()
        np.testing.assert_allclose(factor @ factor.T, values[k + 1], atol=1e-9)
        assert steps[k].factor.shape == (D, T - k)
        if window and k not in window:
            assert not bool(steps[k].gain(v[k, :, None]).any())


def test_without_state_cost_the_gains_are_the_last_features_gradient() -> None:
    a, v = system(3)
    steps = factored_steps(lambda k, x: a[k].T @ x, v[..., None], costs(0.0))
    pulled = v[-1]
    for k in reversed(range(T)):
        gain = steps[k].gain(v[k, :, None])[:, 0]
        cosine = torch.nn.functional.cosine_similarity(gain, pulled, dim=0)
        assert abs(abs(float(cosine)) - 1) < 1e-12
        pulled = a[k].T @ pulled


@pytest.mark.parametrize("concepts", [1, 2])
def test_the_tracker_is_optimal_on_an_affine_system(concepts: int) -> None:
    a, _ = system(4)
    v = torch.stack([system(seed)[1] for seed in range(4, 4 + concepts)], dim=-1)
    draw = torch.Generator().manual_seed(9)
    nominal = torch.randn(T + 1, D, generator=draw).double()
    beta = torch.randn(T + 1, concepts, generator=draw).double()
    own = costs(np.linspace(0.1, 1.0, T).tolist(), np.linspace(0.5, 3.0, T).tolist())
    steps = factored_steps(lambda k, x: a[k].T @ x, v, own)
    targets = feed_forward(steps, own, v, beta, nominal)
    drift = nominal[1:] - torch.einsum("kij,kj->ki", a, nominal[:-1])
    start = torch.randn(D, generator=draw).double()
    z, pushes = start, []
    for k in range(T):
        y = a[k] @ z + drift[k]
        pushes.append(steps[k].push @ (targets[k] - steps[k].factor.T @ y))
        z = y + pushes[-1]
    u = torch.stack(pushes).numpy()

    def total(x: np.ndarray) -> float:
        found, control = 0.0, own.control.numpy()
        for i in range(concepts):  # pushes are paid for once
            parts = (drift.numpy(), v[..., i].numpy(), beta[:, i].numpy(), own.state.numpy())
            found += cost(x, a.numpy(), start.numpy(), *parts, control * (i == 0), 0.7)
        return found

    scale = total(np.zeros_like(u))
    for i, j in np.random.default_rng(0).integers([T, D], size=(20, 2)):
        step = np.zeros_like(u)
        step[i, j] = 1e-3
        slope = (total(u + step) - total(u - step)) / 2e-3  # exact: the cost is quadratic
        assert abs(slope) < 1e-10 * scale


def fitted(model: Any, pairs: ls.ContrastivePairs) -> tuple[ls.LayerJacobians, ls.Activations]:
    jacobians = ls.linearize(model, pairs, progress=False)
    return jacobians, ls.capture(model, pairs, "resid", progress=False)


def test_fits_are_the_recursions_of_a_real_model(model: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(model, pairs)
    assert jacobians.matrices is not None
    a, v = (
        jacobians.matrices.double().numpy(),
        FeatureDirections.of(resid).directions.double().numpy(),
    )
    one = np.eye(WIDTH)
    gains, _ = dense_gains(a, [0.1 * one] * LAYERS, [one] * LAYERS, 0.1 * one)
    law = ls.LQR.fit(jacobians, resid)
    expected = np.stack([gains[k] @ v[k] for k in range(LAYERS)])
    np.testing.assert_allclose(law.gains.numpy(), expected, atol=1e-5 * np.abs(expected).max())
    q = [0.1 * np.outer(x, x) for x in v]
    gains, _ = dense_gains(a, q[:-1], [one] * LAYERS, q[-1])
    free = ls.linearize(model, pairs, dense=False, progress=False)
    expected = np.stack([gains[k] @ v[k] for k in range(LAYERS)])
    for source in (jacobians, free):
        found = ls.LQR.fit_feature(source, resid)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.gains.numpy(), expected, atol=2e-5 * scale)


def test_set_points_are_centred_or_the_papers(llama: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(llama, pairs)
    features = FeatureDirections.of(resid)
    v, mu = features.directions, features.sizes
    law = ls.LQR.fit(jacobians, resid, setpoint=1.0)
    torch.testing.assert_close(law.setpoints, (v * features.desired).sum(-1), atol=1e-4, rtol=1e-4)
    at_rest = ls.LQR.fit(jacobians, resid, setpoint=0.0)
    torch.testing.assert_close(at_rest.setpoints, (v * features.undesired).sum(-1))
    torch.testing.assert_close(ls.LQR.fit(jacobians, resid, centred=False).setpoints, mu)
    reference = torch.randn(LAYERS + 1, WIDTH, generator=torch.Generator().manual_seed(0))
    own = ls.LQR.fit(jacobians, resid, reference=reference)
    torch.testing.assert_close(own.setpoints, (v * reference).sum(-1))
    assert law.absent == (0,)  # the pairs end in one token: no feature at the embedding
    assert not bool(law.gains[0].any())
    assert "no feature at [0]" in repr(law)


def reference_greedy(model: Any, prompt: str, law: ls.LQR, matrices: Tensor, n: int) -> list[int]:
    """The published law with dense K, the whole text again for each token, hooks by hand."""
    one = np.eye(WIDTH)
    gains, _ = dense_gains(
        matrices.double().numpy(), [0.1 * one] * LAYERS, [one] * LAYERS, 0.1 * one
    )
    v, beta = law.directions.double(), law.setpoints.double()
    ids = encode_prompt(model, prompt)
    start, seen = len(ids) - 1, dict[int, Tensor]()

    def look(layer: int) -> Any:
        def keep(x: Tensor) -> None:
            seen[layer] = x[0, start:].double()

        return keep

    def push(layer: int) -> Any:
        def add(x: Tensor) -> Tensor:
            lacking = beta[layer] - seen[layer] @ v[layer]
            k = torch.from_numpy(gains[layer])
            u = torch.stack([k @ (a * v[layer]) for a in lacking])
            return torch.cat([x[0, :start].double(), x[0, start:].double() + u])[None].to(x)

        return add

    hooks = {Site(k, Kind.RESID_PRE): look(k) for k in range(LAYERS)}
    hooks |= {Site(k): push(k) for k in range(LAYERS)}
    for _ in range(n):
        with torch.no_grad(), hooked(model, hooks):
            logits = forward(model, pad(model, [ids])[0])
        ids = [*ids, int(logits[0, -1].argmax())]
    return ids[start + 1 :]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_texts_are_those_of_a_dense_reference(
    architecture: str, backend: str, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = load(architecture, backend)
    jacobians, resid = fitted(model, pairs)
    law = ls.LQR.fit(jacobians, resid, setpoint=3.0)
    assert jacobians.matrices is not None
    expected = [reference_greedy(model, p, law, jacobians.matrices, 8) for p in PROMPTS]
    for own in (PROMPTS, PROMPTS[:1], PROMPTS * 4):
        for cached in (True, False):
            found = ls.generate(
                model, own, law, max_new_tokens=8, temperature=0.0, use_cache=cached
            )
            texts = [model.tokenizer.decode(ids) for ids in expected] * 4
            assert [t.strip() for t in found] == [t.strip() for t in texts[: len(own)]]


def other(model: Any) -> ls.Activations:
    """Of a second concept."""
    triples = [
        (f"{who} was", " small now", " big now") for who in ("The cat", "A dog", "The sun", "He")
    ]
    others = ls.ContrastivePairs.of(triples)
    return ls.capture(model, others, "resid", progress=False)


def laws(model: Any, pairs: ls.ContrastivePairs) -> dict[str, Any]:
    jacobians, resid = fitted(model, pairs)
    how: dict[str, Any] = {"setpoint": 2.0, "control_cost": 0.5}
    return {
        "published": ls.LQR.fit(jacobians, resid, centred=False, **how),
        "centred": ls.LQR.fit(jacobians, resid, **how),
        "feature": ls.LQR.fit_feature(jacobians, resid, **how),
        "on manifold": ls.LQR.fit_feature(jacobians, resid, covariance_effort=True, **how),
        "capped": ls.LQR.fit(jacobians, resid, cap=0.1, one_sided=True, layers=(1, 2), **how),
        "tracker": ls.LQRTracker.fit(jacobians, resid, **how),
        "joint": JointLQR.fit(jacobians, [resid, other(model)], **how),
        "online": OnlineLQR.fit(resid, **how),
        "pid": ls.PID.fit(resid, kp=0.3, ki=0.1, kd=0.05, setpoint=2.0),
        "scalar": ls.PID.fit_scalar_gain(resid, setpoint=2.0),
    }


def test_strength_0_is_the_exact_identity_and_1_is_not(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    tokens, mask = pad(model, [encode_prompt(model, p) for p in PROMPTS])
    with torch.no_grad():
        clean = forward(model, tokens, mask)
        for name, law in laws(model, pairs).items():
            with ls.steered(model, law.with_strength(0.0)):
                assert torch.equal(forward(model, tokens, mask), clean), name
            with ls.steered(model, law):
                assert not torch.equal(forward(model, tokens, mask), clean), name
        assert torch.equal(forward(model, tokens, mask), clean)


def test_hooks_for_every_position_do_what_scope_all_does(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    tokens = pad(llama, [encode_prompt(llama, PROMPTS[0])])[0]
    for name, law in laws(llama, pairs).items():
        if name == "online":
            continue  # it needs the prompts first
        with torch.no_grad():
            with ls.steered(llama, law, scope="all", sink=True):
                ours = forward(llama, tokens)
            theirs = llama.run_with_hooks(tokens, fwd_hooks=law.hooks(llama))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_tracker_reaches_set_points_that_the_law_does_not(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    jacobians, resid = fitted(llama, pairs)
    how: dict[str, Any] = {"setpoint": 1.0, "control_cost": 1e-4, "state_cost": 1.0}
    features = FeatureDirections.of(resid)
    beta = features.undesired + features.sizes[:, None] * features.directions
    wanted = (features.directions * beta).sum(-1)
    prompts = [str(e.prompt) + e.continuation for e in pairs.undesired]
    tokens, mask = pad(llama, [encode_prompt(llama, p) for p in prompts], left=True)
    errors = {}
    for name, law in (
        ("law", ls.LQR.fit_feature(jacobians, resid, **how)),
        ("tracker", ls.LQRTracker.fit(jacobians, resid, **how)),
    ):
        seen: dict[int, Tensor] = {}

        def keep(layer: int, seen: dict[int, Tensor] = seen) -> Any:
            def look(x: Tensor) -> None:
                seen[layer] = x[:, -1].float()

            return look

        hooks = {Site(k): keep(k) for k in range(1, LAYERS)}
        with torch.no_grad(), ls.steered(llama, law), hooked(llama, hooks):
            forward(llama, tokens, mask)
        found = torch.stack([seen[k] @ features.directions[k + 1] for k in seen], dim=1)
        lacking = (found - wanted[2:]) / features.sizes[2:]
        errors[name] = float(lacking.square().mean().sqrt())
    assert errors["tracker"] < 0.05 < errors["law"]


def test_caps_and_sides_hold(llama: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(llama, pairs)
    tokens = pad(llama, [encode_prompt(llama, PROMPTS[0])])[0]
    capped = ls.LQR.fit(jacobians, resid, setpoint=50.0, cap=0.2, layers=(2,))
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def look(x: Tensor) -> None:
            seen[name] = x[0, -1].clone()

        return look

    sites = {"z": Site(2, Kind.RESID_PRE), "after": Site(2)}
    with torch.no_grad():
        with hooked(llama, {Site(2): keep("before")}):
            forward(llama, tokens)
        hooks = {site: keep(name) for name, site in sites.items()}
        with ls.steered(llama, capped), hooked(llama, hooks):
            forward(llama, tokens)
    push = (seen["after"] - seen["before"]).norm() / seen["z"].norm()
    assert abs(float(push) - 0.2) < 1e-4
    lower = ls.LQR.fit(jacobians, resid, setpoint=-50.0, one_sided=True)
    with torch.no_grad():
        clean = forward(llama, tokens)
        with ls.steered(llama, lower):
            assert torch.equal(forward(llama, tokens), clean)


def test_pid_is_its_definition(llama: Any, pairs: ls.ContrastivePairs) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = ls.PID.fit(resid, kp=0.4, ki=0.2, kd=0.1, setpoint=1.5)
    tokens = pad(llama, [encode_prompt(llama, PROMPTS[0])])[0]
    z: dict[int, Tensor] = {}
    after: dict[int, Tensor] = {}
    before: dict[int, Tensor] = {}
    with torch.no_grad():
        look = {Site(k): _into(before, k) for k in law.layers}
        seen = {Site(k, Kind.RESID_PRE): _into(z, k) for k in law.layers}
        with (
            hooked(llama, look),
            ls.steered(llama, law),
            hooked(llama, seen | {Site(k): _into(after, k) for k in law.layers}),
        ):
            forward(llama, tokens)
    total, last = torch.zeros(WIDTH), None
    for k in law.layers:
        v, beta = law.directions[k], law.setpoints[k]
        error = (beta - z[k] @ v) * v
        total = total + error
        change = torch.zeros(WIDTH) if last is None else error - last
        last = error
        expected = 0.4 * error + 0.2 * total + 0.1 * change
        torch.testing.assert_close(after[k] - before[k], expected, atol=1e-4, rtol=1e-3)


def _into(kept: dict[int, Tensor], layer: int) -> Any:
    def look(x: Tensor) -> None:
        kept[layer] = x[0, -1].clone()

    return look


def test_p_control_with_the_scalar_gain_is_the_regulator_of_identity_layers(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    assert resid.embedded_desired is not None
    one = torch.eye(WIDTH).expand(LAYERS, WIDTH, WIDTH)
    s = (0.1 + (0.1**2 + 4 * 0.1) ** 0.5) / 2
    identity = ls.LayerJacobians.from_tensors(one, torch.zeros(LAYERS + 1, WIDTH))
    law = ls.LQR.fit(identity, resid, terminal_cost=s)
    p = ls.PID.fit_scalar_gain(resid)
    torch.testing.assert_close(law.gains, p.kp * law.directions[:-1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(law.setpoints[:-1], p.setpoints)
    texts = [ls.generate(llama, PROMPTS, m, max_new_tokens=6, temperature=0.0) for m in (law, p)]
    assert texts[0] == texts[1]


def test_laws_are_saved(llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path) -> None:
    for name, law in laws(llama, pairs).items():
        ls.save(law, tmp_path / f"{name}.safetensors")
        again = ls.load(tmp_path / f"{name}.safetensors", model=llama)
        assert repr(again) == repr(law)
        texts = [ls.generate(llama, PROMPTS[:2], m, max_new_tokens=4, seed=0) for m in (law, again)]
        assert texts[0] == texts[1]


def test_calibration_finds_a_strength(llama: Any, pairs: ls.ContrastivePairs) -> None:
    law = laws(llama, pairs)["centred"]
    found = ls.calibrate(llama, law, pairs, kl=0.005, max_new_tokens=6, seed=0, progress=False)
    assert found.strength > 0


def test_bad_input_is_refused(llama: Any, gpt2: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(llama, pairs)
    refused: list[tuple[str, dict[str, Any]]] = [
        ("above 0", {"control_cost": 0.0}),
        ("from 0 up", {"state_cost": -1.0}),
        ("expected a finite number", {"terminal_cost": float("nan")}),
        ("one per layer", {"state_cost": [0.1, 0.2]}),
        ("nothing to steer for", {"state_cost": 0.0, "terminal_cost": 0.0}),
        ("consecutive", {"layers": (1, 3)}),
        ("this model has 4", {"layers": (3, 4)}),
        ("a feature that may be pushed", {"layers": (0,)}),
        ("a reference of shape", {"reference": torch.zeros(2, WIDTH)}),
        ("cap", {"cap": 0.0}),
        ("cap inf", {"cap": float("inf")}),
        ("not finite|a finite number", {"setpoint": float("nan")}),
    ]
    for message, options in refused:
        with pytest.raises(ValueError, match=message):
            ls.LQR.fit(jacobians, resid, **options)
    for setpoint in (float("nan"), float("inf")):
        for fit in (OnlineLQR.fit, partial(ls.PID.fit, kp=0.1), ls.PID.fit_scalar_gain):
            with pytest.raises(ValueError, match="setpoints are not finite|a finite number"):
                fit(resid, setpoint=setpoint)
    free = ls.linearize(llama, pairs, dense=False, progress=False)
    with pytest.raises(ValueError, match="fit_feature"):
        ls.LQR.fit(free, resid)
    others = ls.capture(gpt2, pairs, "resid", progress=False)
    with pytest.raises(ValueError, match="two models"):
        ls.LQR.fit(jacobians, others)
    with pytest.raises(ValueError, match="residual stream"):
        ls.LQR.fit(jacobians, ls.capture(llama, pairs, "head", progress=False))
    some = ls.capture(llama, pairs, "resid", layers=(1, 2), progress=False)
    with pytest.raises(ValueError, match="every layer"):
        ls.PID.fit(some, kp=0.1)
    law = ls.LQR.fit(jacobians, resid)
    with pytest.raises(ValueError, match="another model"), ls.steered(gpt2, law):
        pass
    short = ls.LQR(law.gains[:2], law.directions[:3], law.setpoints[:3])
    with pytest.raises(ValueError, match="made for 2 layers"), ls.steered(llama, short):
        pass
    with pytest.raises(ValueError, match="no feature at layers"):
        ls.PID.fit(resid, kp=0.1, layers=(0,))


def test_a_misspelt_option_names_the_function_that_was_called(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    jacobians, resid = fitted(llama, pairs)
    calls: dict[str, Any] = {
        "LQR.fit": partial(ls.LQR.fit, jacobians, resid),
        "LQR.fit_feature": partial(ls.LQR.fit_feature, jacobians, resid),
        "JointLQR.fit": partial(JointLQR.fit, jacobians, [resid]),
        "OnlineLQR.fit": partial(OnlineLQR.fit, resid),
        "LQRTracker.fit": partial(ls.LQRTracker.fit, jacobians, resid),
    }
    for name, fit in calls.items():
        expected = rf"{name}\(\) got an unexpected keyword 'stat_cost': did you mean 'state_cost'"
        with pytest.raises(TypeError, match=expected):
            fit(stat_cost=0.5)
    with pytest.raises(TypeError, match="unexpected keyword 'one_sided'"):
        calls["LQRTracker.fit"](one_sided=True)  # it pushes both ways


def test_a_law_of_two_hooks_has_no_transform(llama: Any, pairs: ls.ContrastivePairs) -> None:
    law = ls.LQR.fit(*fitted(llama, pairs))
    with pytest.raises(ValueError, match=r"LQR does to an activation depends on more.*steered"):
        law.transform(torch.ones(2, WIDTH), law.sites[1])
    tracker = ls.LQRTracker.fit(*fitted(llama, pairs))
    x = torch.randn(5, WIDTH)
    for site, edit in tracker.edits(llama).items():
        assert torch.equal(tracker.transform(x, site), edit(x))


def test_equal_classes_have_no_feature(llama: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(llama, pairs)
    assert resid.embedded_desired is not None
    same = ls.Activations(
        *(resid.desired, resid.desired, resid.kind, resid.layers),
        *(resid.embedded_desired, resid.embedded_desired),
    )
    with pytest.raises(ValueError, match="no feature to steer"):
        ls.LQR.fit(jacobians, same)
