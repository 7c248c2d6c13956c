"""Elements as actuators: against dense recursions with B, the plain law, and planted models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import ElementMask
from lens_steer.linearity import LayerJacobians
from lens_steer.models import encode_prompt, forward, hooked, output_weight, pad
from lens_steer.sites import Kind, Site
from lens_steer.steering import Costs, ElementLQR
from lens_steer.steering.lqr.riccati import actuated_gains, factored_steps
from tests.conftest import BACKENDS, HEADS, LAYERS, WIDTH, Loader
from tests.oracles_lqr import dense_actuated_gains

T, D = 6, 10
PROMPTS = ["The cat sat in the sun", "Hi", "A dog was very old and"]


def system(seed: int = 0) -> tuple[Tensor, dict[int, Tensor], Tensor]:
    """Random A near the identity, B of other widths at all layers but one, unit features."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.eye(D).double() + 0.3 * torch.randn(T, D, D, generator=draw).double() / D**0.5
    v = torch.randn(T + 1, D, generator=draw).double()
    b = {k: torch.randn(D, k + 1, generator=draw).double() for k in range(T) if k != 3}
    return a, b, v / v.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("window", [None, (1, 2)])
def test_gains_are_those_of_the_textbooks_recursion(window: Any) -> None:
    a, b, v = system()
    costs = Costs.of(T, np.linspace(0.1, 1, T).tolist(), 2.0, 0.7, window)
    wide = [b.get(k, torch.zeros(D, 1).double()).numpy() for k in range(T)]
    far = [1e14 if c == torch.inf else float(c) for c in costs.control]
    one = [float(c) * np.eye(D) for c in costs.state]
    gains, _ = dense_actuated_gains(a.numpy(), wide, one, far, 0.7 * np.eye(D))
    found = actuated_gains(a, b, v, costs)
    assert set(found) == set(b)
    for k, gain in found.items():
        np.testing.assert_allclose(gain.numpy(), gains[k] @ v[k].numpy(), atol=1e-10)
    q = [float(c) * np.outer(x, x) for c, x in zip(costs.state, v.numpy(), strict=False)]
    last = 0.7 * np.outer(v[-1], v[-1])
    gains, values = dense_actuated_gains(a.numpy(), wide, q, far, last)
    steps = factored_steps(
        lambda k, x: a[k].T @ x,
        v[..., None],
        costs,
        actuate=lambda k, x: b[k].T @ x if k in b else x[:0],
    )
    for k, step in enumerate(steps):
        factor = step.factor.numpy()
        np.testing.assert_allclose(factor @ factor.T, values[k + 1], atol=1e-9)
        if k in b:
            own = step.gain(v[k, :, None])[:, 0].numpy()
            np.testing.assert_allclose(own, gains[k] @ v[k].numpy(), atol=1e-10)


def planted(seed: int = 0) -> tuple[LayerJacobians, ls.Activations]:
    """Random float64 layers with four heads each, and one feature."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.eye(WIDTH) + 0.1 * torch.randn(LAYERS, WIDTH, WIDTH, generator=draw)
    heads = torch.randn(LAYERS, WIDTH, HEADS, 8, generator=draw)
    rest = torch.randn(8, LAYERS + 1, WIDTH, generator=draw)
    feature = torch.nn.functional.one_hot(torch.tensor(5), WIDTH)
    up, down = rest + feature, rest - feature
    layers = tuple(range(LAYERS))
    resid = ls.Activations(up[:, 1:], down[:, 1:], Kind.RESID, layers, up[:, 0], down[:, 0])
    nominal = torch.zeros(LAYERS + 1, WIDTH).double()
    inner = {"head": heads.double()}
    spread = torch.zeros(LAYERS)
    return LayerJacobians(nominal, a.double(), spread, 1, inner=inner), resid


def mask_of(kind: str, chosen: list[tuple[int, int]], elements: int) -> ElementMask:
    selected = torch.zeros(LAYERS, elements, dtype=torch.bool)
    for layer, element in chosen:
        selected[layer, element] = True
    return ElementMask(selected, Kind.parse(kind), tuple(range(LAYERS)))


def test_a_full_actuator_is_the_plain_law() -> None:
    jacobians, resid = planted()
    every = ElementMask(torch.ones(LAYERS, WIDTH).bool(), Kind.RESID, tuple(range(LAYERS)))
    options: dict[str, Any] = {"setpoint": 2.0, "state_cost": 0.3, "control_cost": 0.7}
    for fit in (ls.LQR.fit, ls.LQR.fit_feature):
        plain = fit(jacobians, resid, **options)
        full = fit(jacobians, resid, actuators=every, **options)
        torch.testing.assert_close(full.gains, plain.gains, atol=1e-10, rtol=0)
        assert torch.equal(full.setpoints, plain.setpoints)
        assert torch.equal(full.directions, plain.directions)


def test_a_head_that_cannot_write_the_feature_is_not_pushed() -> None:
    jacobians, resid = planted()
    v = ls.LQR.fit(jacobians, resid).directions.double()
    alone = jacobians.inner
    assert alone is not None
    heads, one = alone["head"].clone(), torch.eye(WIDTH).double()
    for k in range(LAYERS):  # heads 1 to 3 write nothing that ever reaches the feature
        reach, rows = one, []
        for later in range(k + 1, LAYERS + 1):
            rows.append(v[later] @ reach)
            if later < LAYERS:
                assert jacobians.matrices is not None
                reach = jacobians.matrices[later] @ reach
        seen = torch.linalg.qr(torch.stack(rows).T)[0]
        heads[k, :, 1:] -= torch.einsum("dp,ep,ehi->dhi", seen, seen, heads[k, :, 1:])
    blind = replace(jacobians, inner={"head": heads})
    every = ElementMask(torch.ones(LAYERS, HEADS).bool(), Kind.HEAD, tuple(range(LAYERS)))
    law = ls.LQR.fit_feature(blind, resid, actuators=every)
    assert float(law.gains[:, 0].abs().amax(dim=-1).min()) > 1e-3
    assert float(law.gains[:, 1:].abs().max()) < 1e-12


def fitted(model: Any, pairs: ls.ContrastivePairs) -> tuple[LayerJacobians, ls.Activations]:
    jacobians = ls.linearize(model, pairs, hooks=["head", "neuron"], progress=False)
    return jacobians, ls.capture(model, pairs, "resid", progress=False)


def law_of(model: Any, pairs: ls.ContrastivePairs, kind: str = "head", **options: Any) -> Any:
    jacobians, resid = fitted(model, pairs)
    mask = mask_of(kind, [(1, 2), (2, 0), (2, 3)], HEADS if kind == "head" else model.cfg.d_mlp)
    return ls.LQR.fit(jacobians, resid, actuators=mask, setpoint=2.0, **options)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("gpt2", "head"), ("llama", "neuron"), ("gemma3", "neuron"), ("neox", "head")],
)
def test_fits_are_the_recursions_of_a_real_model(
    architecture: str, kind: str, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = load(architecture)
    jacobians, resid = fitted(model, pairs)
    free = ls.linearize(model, pairs, dense=False, progress=False)
    assert jacobians.matrices is not None
    assert jacobians.inner is not None
    b = jacobians.inner[kind].double().flatten(2)
    one = torch.eye(WIDTH)
    for layer in (0, 2):
        own = free.vjp(layer, one, hook=kind).flatten(1).double()
        torch.testing.assert_close(b[layer], own, atol=1e-5, rtol=1e-4)
    law = law_of(model, pairs, kind, control_cost=0.5)
    chosen = law.mask.selected[..., None].expand(law.gains.shape[:2] + (-1,)).clone()
    chosen = chosen.expand(-1, -1, b.shape[-1] // law.mask.selected.shape[1]).flatten(1)
    columns = [b[k][:, chosen[k]].numpy() for k in range(LAYERS)]
    v, a = law.directions.double().numpy(), jacobians.matrices.double().numpy()
    eye = [0.1 * np.eye(WIDTH)] * LAYERS
    gains, _ = dense_actuated_gains(a, columns, eye, [0.5] * LAYERS, 0.1 * np.eye(WIDTH))
    q = [0.1 * np.outer(x, x) for x in v]
    by_feature, _ = dense_actuated_gains(a, columns, q[:-1], [0.5] * LAYERS, q[-1])
    same: dict[str, Any] = {"control_cost": 0.5, "setpoint": 2.0}
    feature = ls.LQR.fit_feature(free, resid, actuators=law.mask, **same)
    for found, expected in ((law, gains), (feature, by_feature)):
        for k in (1, 2):
            own = found.gains[k].flatten()[chosen[k]].double().numpy()
            wanted = expected[k] @ v[k]
            np.testing.assert_allclose(own, wanted, atol=3e-5 * np.abs(wanted).max())
        assert found.layers == (1, 2)


def test_inputs_are_output_weights_and_what_follows_them(load: Loader) -> None:
    texts = ["The cat sat in the sun and was", "Hi"]
    for name, sequential in (("gpt2", True), ("neox", False)):
        model = load(name)
        jac = ls.linearize(model, texts, hooks=["head", "neuron", "attn_out"], progress=False)
        assert jac.inner is not None
        for layer in range(LAYERS):
            w = output_weight(model, Site(layer, Kind.HEAD)).detach()  # [head d_head d]
            after = jac.inner["attn_out"][layer] if sequential else torch.eye(WIDTH)
            assert sequential == (float((after - torch.eye(WIDTH)).norm()) > 0.1)
            expected = torch.einsum("de,hie->dhi", after, w)
            torch.testing.assert_close(jac.inner["head"][layer], expected, atol=1e-4, rtol=1e-3)
            w = output_weight(model, Site(layer, Kind.NEURON)).detach()
            torch.testing.assert_close(jac.inner["neuron"][layer], w.T, atol=1e-5, rtol=1e-4)


def test_a_push_moves_the_block_as_b_says(model: Any, pairs: ls.ContrastivePairs) -> None:
    """Closed loop at one layer: what leaves the block changes by B u, u read at its input."""
    row = encode_prompt(model, PROMPTS[0])
    free = ls.linearize(model, PROMPTS[:1], dense=False, progress=False)
    resid = ls.capture(model, pairs, "resid", progress=False)
    mask = mask_of("head", [(2, 0), (2, 3)], HEADS)
    law = ls.LQR.fit_feature(free, resid, actuators=mask, setpoint=1.0)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def look(x: Tensor) -> None:
            seen[name] = x[0, -1].double()

        return look

    def run(*method: Any) -> None:
        looks = {Site(2, Kind.RESID_PRE): keep("z"), Site(2): keep("after")}
        with torch.no_grad(), ls.steered(model, *method), hooked(model, looks):
            forward(model, pad(model, [row])[0])

    run()
    clean, z = seen["after"], seen["z"]
    lacking = float(law.setpoints[2] - z.float() @ law.directions[2])
    strength = 0.02 / abs(lacking)  # small, but above rounding
    run(law.with_strength(strength))
    b = free.vjp(2, torch.eye(WIDTH), hook="head").double()  # [d head d_head]
    expected = strength * lacking * torch.einsum("dhi,hi->d", b, law.gains[2].double())
    error = float((seen["after"] - clean - expected).norm() / expected.norm())
    assert error < 0.05


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_strength_0_is_the_identity_and_texts_do_not_depend_on_batches(
    architecture: str, backend: str, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = load(architecture, backend)
    law = law_of(model, pairs, "neuron").with_strength(30.0)
    tokens, mask = pad(model, [encode_prompt(model, p) for p in PROMPTS])
    with torch.no_grad():
        clean = forward(model, tokens, mask)
        with ls.steered(model, law.with_strength(0.0)):
            assert torch.equal(forward(model, tokens, mask), clean)
        with ls.steered(model, law):
            assert not torch.equal(forward(model, tokens, mask), clean)
    how: dict[str, Any] = {"max_new_tokens": 4, "temperature": 0.0}
    together = ls.generate(model, PROMPTS, law, **how)
    assert together == ls.generate(model, PROMPTS, law, use_cache=False, **how)
    assert together[1:2] == ls.generate(model, PROMPTS[1:2], law, **how)


def test_laws_and_jacobians_are_saved(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    law = law_of(llama, pairs, one_sided=True)
    assert "ElementMask(3 of 16 head" in repr(law)
    assert "blocks.1.attn.hook_z" in repr(law)
    again = ls.load(ls.save(law, tmp_path / "law.safetensors") or tmp_path / "law.safetensors")
    assert isinstance(again, ElementLQR)
    assert repr(again) == repr(law)
    assert torch.equal(again.gains, law.gains)
    jacobians, resid = fitted(llama, pairs)
    ls.save(jacobians, tmp_path / "jacobians.safetensors")
    same = ls.load(tmp_path / "jacobians.safetensors")
    found = ls.LQR.fit(same, resid, actuators=law.mask, setpoint=2.0)
    assert torch.equal(found.gains, law.gains)
    assert "at head, at neuron" in repr(same)


def test_contradictions_name_themselves(llama: Any, gpt2: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid = fitted(llama, pairs)
    some = mask_of("head", [(1, 2), (2, 0)], HEADS)
    refused: list[tuple[str, ElementMask, dict[str, Any]]] = [
        (r"elements of layers \[1\], outside of layers=\[2\]", some, {"layers": (2,)}),
        (r"none at \[3\] of layers=\[1, 2, 3\]", some, {"layers": (1, 2, 3)}),
        ("chooses an element", mask_of("head", [], HEADS), {}),
        ("'gate' cannot be an actuator", mask_of("gate", [(1, 1)], 48), {}),
        ("expected 4 elements", mask_of("head", [(1, 1)], 7), {}),
        ("cap 0.1 is a share", some, {"cap": 0.1}),
        (r"hooks=\['mlp_out'\]", mask_of("mlp_out", [(1, 1)], WIDTH), {}),
        ("there are 4", replace(some, layers=(0, 5, 6, 7)), {}),
    ]
    for message, mask, options in refused:
        with pytest.raises(ValueError, match=message):
            ls.LQR.fit(jacobians, resid, actuators=mask, **options)
    with pytest.raises(ValueError, match="leave one of the two out"):
        ls.LQR.fit_feature(jacobians, resid, actuators=some, covariance_effort=True)
    other = ls.attribution.contrast(ls.capture(gpt2, pairs, "head", progress=False)).top(2)
    with pytest.raises(ValueError, match="two models"):
        ls.LQR.fit(jacobians, resid, actuators=other)
    with pytest.raises(ValueError, match="vjp"):
        ls.linearize(llama, pairs, dense=False, hooks=["head"], progress=False)
    law = ls.LQR.fit(jacobians, resid, actuators=some)
    with pytest.raises(ValueError, match="outside of the mask"):
        replace(law, gains=law.gains + 1)
    with pytest.raises(ValueError, match="expected \\(T, 4"):
        replace(law, gains=law.gains[..., 0])
