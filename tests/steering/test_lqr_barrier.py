"""A barrier as set-point: against the plain law, a dense fixed point, and planted barriers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.barriers import LinearBarrier, PolynomialBarrier
from lens_steer.linearity import LayerJacobians
from lens_steer.models import encode_prompt, forward, pad
from lens_steer.sites import Kind
from lens_steer.steering import BarrierLQR
from tests.barrier_samples import drawn_barrier
from tests.conftest import BACKENDS, WIDTH, Loader
from tests.oracles_lqr import dense_gains

T, D = 5, 8
PROMPTS = ["The cat sat in the sun", "Hi", "A dog was very old and"]
HOW: dict[str, Any] = {"state_cost": 0.3, "control_cost": 2.0, "terminal_cost": 0.7}


def affine(seed: int = 0) -> LayerJacobians:
    draw = torch.Generator().manual_seed(seed)
    a = torch.eye(D) + 0.2 * torch.randn(T, D, D, generator=draw) / D**0.5
    nominal = torch.randn(T + 1, D, generator=draw)
    return LayerJacobians(nominal.double(), a.double(), torch.zeros(T), 1)


def quadratic(layers: tuple[int, ...], width: int = D) -> list[PolynomialBarrier]:
    return [replace(drawn_barrier(width, 3, seed=k), layer=k) for k in layers]


def linear() -> tuple[list[LinearBarrier], Tensor, Tensor]:
    """Barriers of unit weight at every layer, with their weights and biases."""
    draw = torch.Generator().manual_seed(7)
    v = torch.randn(T, D, generator=draw).double()
    v = v / v.norm(dim=-1, keepdim=True)
    b = torch.linspace(-0.5, 0.5, T).double()
    return [LinearBarrier(v[k], float(b[k]), layer=k) for k in range(T)], v, b


def test_linear_barriers_are_the_plain_law_of_feature_costs() -> None:
    jacobians, (barriers, v, b) = affine(), linear()
    law = BarrierLQR.fit(jacobians, barriers, margin=1.5, **HOW)
    assert jacobians.matrices is not None
    q = [np.zeros((D, D)), *(0.3 * np.outer(x, x) for x in v.numpy())]
    gains, _ = dense_gains(
        jacobians.matrices.numpy(), q[:-1], [2.0 * np.eye(D)] * T, 0.7 / 0.3 * q[-1]
    )
    assert law.layers == (1, 2, 3, 4)
    for k in law.layers:
        expected = gains[k] @ v[k - 1].numpy()
        np.testing.assert_allclose(law.gains[k].numpy(), expected, atol=1e-10)
        feature, beta, _ = law.terms(k)
        torch.testing.assert_close(feature[:, 0], v[k - 1], atol=1e-12, rtol=0)
        torch.testing.assert_close(beta[0], 1.5 - b[k - 1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("one_sided", [False, True])
def test_path_and_gains_are_a_fixed_point_of_the_dense_recursion(one_sided: bool) -> None:
    jacobians, barriers = affine(), quadratic((1, 2, 3, 4))
    law = BarrierLQR.fit(
        jacobians,
        barriers,
        margin=[0.5, 0.6, 0.4, 0.5],
        one_sided=one_sided,
        tolerance=1e-12,
        **HOW,
    )
    assert jacobians.matrices is not None
    a, nominal = jacobians.matrices.numpy(), jacobians.nominal.numpy()
    path = law.path.numpy()
    g = np.zeros((T + 1, D))
    for k in (2, 3, 4, 5):
        g[k] = barriers[k - 2].grad(law.path[k]).numpy()
    q = [0.3 * np.outer(x, x) for x in g]
    gains, _ = dense_gains(a, q[:-1], [2.0 * np.eye(D)] * T, 0.7 / 0.3 * q[-1])
    z = nominal[0]
    for k in range(T):
        np.testing.assert_allclose(path[k], z, atol=1e-9)
        step = np.zeros(D)
        if k in law.layers:
            w = gains[k] @ g[k] / (g[k] @ g[k])
            np.testing.assert_allclose(law.gains[k].numpy(), w, atol=1e-9)
            lacking = float(law.margins[k - 2] - barriers[k - 2].h(torch.from_numpy(z)))
            step = (max(lacking, 0.0) if one_sided else lacking) * w
        z = nominal[k + 1] + a[k] @ (z - nominal[k]) + step
    np.testing.assert_allclose(path[T], z, atol=1e-9)
    assert law.layers == (2, 3, 4)
    assert float(np.abs(path - nominal).max()) > 1e-3  # so the gradients were taken elsewhere


def test_the_predicted_path_lacks_less_where_pushes_are_cheap() -> None:
    jacobians, (barriers, v, b) = affine(), linear()
    lacking = []
    for cost in (1e3, 1.0, 1e-3):
        law = BarrierLQR.fit(jacobians, barriers, margin=1.5, control_cost=cost)
        lacking.append(float((1.5 - (v[-1] @ law.path[-1] + b[-1])).abs()))
    assert lacking[0] > lacking[1] > lacking[2]


def of_model(model: Any, pairs: ls.ContrastivePairs, **options: Any) -> BarrierLQR:
    jacobians = ls.linearize(model, pairs.undesired, progress=False)
    barriers = [replace(b, layer=b.layer) for b in quadratic((0, 1, 2), WIDTH)]
    return BarrierLQR.fit(jacobians, barriers, margin=1.0, control_cost=0.05, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3"])
def test_strength_0_is_the_identity_and_texts_do_not_depend_on_batches(
    architecture: str, backend: str, load: Loader, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    model = load(architecture, backend)
    law = of_model(model, pairs).with_strength(3.0)
    assert law.layers == (1, 2)
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
    ls.save(law, tmp_path / "law.safetensors")
    again = ls.load(tmp_path / "law.safetensors")
    assert repr(again) == repr(law)
    assert together == ls.generate(model, PROMPTS, again, **how)


def test_bad_input_names_the_conflict() -> None:
    jacobians, barriers = affine(), quadratic((0, 1, 3, 4))
    some = quadratic((1, 2, 3))
    refused: list[tuple[str, list[PolynomialBarrier], dict[str, Any]]] = [
        ("a barrier is missing at layer 2: blocks", barriers, {}),
        ("a barrier is missing at the embedding", some, {"layers": (0, 1)}),
        (r"layers \[4\] with barriers of \[1, 2, 3\]", some, {"layers": (4,)}),
        ("consecutive", quadratic((0, 1, 2, 3, 4)), {"layers": (1, 3)}),
        ("expected two or more", some[:1], {}),
        ("each of another layer", [some[0], some[0]], {}),
        ("expected barriers of the residual stream", quadratic((1, 2), D + 1), {}),
        ("layers below 5", quadratic((4, 5)), {}),
        ("residual stream", [some[0], replace(some[1], kind=Kind.MLP_OUT)], {}),
        ("2 margins for 3 barriers", some, {"margin": [0.1, 0.2]}),
        (r"margin 1000 at layer 1 is out of reach: sup h = ", some, {"margin": 1000.0}),
        ("above 0", some, {"control_cost": 0.0}),
        (r"did not settle in 1 rounds: it still moves by 0\.\d+", some, {"rounds": 1}),
    ]
    for message, own, options in refused:
        with pytest.raises(ValueError, match=message):
            BarrierLQR.fit(jacobians, own, **options)
    with pytest.raises(TypeError, match="unexpected keyword 'setpoint'"):
        BarrierLQR.fit(jacobians, some, setpoint=1.0)  # type: ignore[call-arg]
