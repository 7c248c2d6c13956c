"""Regulators of several features at once."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.linearity import FeatureDirections
from lens_steer.sites import Kind, Site
from lens_steer.steering import Costs, JointLQR
from lens_steer.steering.lqr.riccati import factored_steps
from tests.conftest import LAYERS, WIDTH
from tests.oracles_lqr import dense_gains

T, D = 6, 10
UNIT = torch.eye(WIDTH).expand(LAYERS, WIDTH, WIDTH)


def test_joint_gains_are_the_dense_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    a = torch.eye(D).double() + 0.3 * torch.randn(T, D, D, generator=draw).double() / D**0.5
    v = torch.randn(T + 1, D, 2, generator=draw).double()
    v = v / v.norm(dim=1, keepdim=True)
    costs = Costs.of(T, 0.3, 2.0, 0.7, None)
    steps = factored_steps(lambda k, x: a[k].T @ x, v, costs)
    q = [0.3 * x @ x.T for x in v.numpy()]
    gains, values = dense_gains(a.numpy(), q[:-1], [2.0 * np.eye(D)] * T, 0.7 / 0.3 * q[-1])
    for k in range(T):
        own = v[k].numpy()
        expected = gains[k] @ own @ np.linalg.inv(own.T @ own)
        np.testing.assert_allclose(steps[k].gain(v[k]).numpy(), expected, atol=1e-10)
        factor = steps[k].factor.numpy()
        np.testing.assert_allclose(factor @ factor.T, values[k + 1], atol=1e-9)
        assert steps[k].factor.shape == (D, 2 * (T - k))


def activations(cosine: float, seed: int = 0) -> list[ls.Activations]:
    """Two concepts whose features have that cosine at every layer, each of length 2."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(WIDTH, 2, generator=draw))[0].T
    second = cosine * basis[0] + (1 - cosine**2) ** 0.5 * basis[1]
    found = []
    for feature in (basis[0], second):
        rest = torch.randn(8, LAYERS + 1, WIDTH, generator=draw)
        up, down = rest + feature, rest - feature
        found.append(
            ls.Activations(
                *(up[:, 1:], down[:, 1:], Kind.RESID, tuple(range(LAYERS))),
                *(up[:, 0], down[:, 0]),
            )
        )
    return found


def identity() -> ls.LayerJacobians:
    return ls.LayerJacobians.from_tensors(UNIT, torch.zeros(LAYERS + 1, WIDTH))


def led(model: Any, laws: list[Any], z: Tensor) -> Tensor:
    """What block 1 would leave if it changed nothing but for the laws."""
    x = z
    for law in laws:
        edits = law.edits(model)
        edits[Site(1, Kind.RESID_PRE)](z)
        x = edits[Site(1)](x)
    return x


def test_cheap_pushes_lead_both_features_to_their_set_points_and_added_laws_overshoot(
    llama: Any,
) -> None:
    both = activations(0.8)
    how: dict[str, Any] = {"control_cost": 1e-6}
    law = JointLQR.fit(identity(), both, setpoint=[1.0, -0.5], **how)
    z = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(3))
    v, beta = law.directions[1], law.setpoints[1].expand(5, -1)
    torch.testing.assert_close(led(llama, [law], z) @ v, beta, atol=1e-3, rtol=1e-3)
    sizes = zip(both, (1.0, -0.5), strict=True)
    added = [ls.LQR.fit_feature(identity(), own, setpoint=x, **how) for own, x in sizes]
    assert float((led(llama, added, z) @ v - beta).abs().max()) > 0.3


def test_one_concept_is_the_feature_law(llama: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians = ls.linearize(llama, pairs, progress=False)
    resid = ls.capture(llama, pairs, "resid", progress=False)
    for options in ({}, {"covariance_effort": True, "setpoint": 2.0, "layers": (1, 2)}):
        one = ls.LQR.fit_feature(jacobians, resid, **options)
        joint = JointLQR.fit(jacobians, [resid], **options)
        torch.testing.assert_close(joint.gains[..., 0], one.gains)
        torch.testing.assert_close(joint.setpoints[..., 0], one.setpoints)
        assert joint.layers == one.layers
    twin = ls.LQRTracker.fit(jacobians, [resid])
    alone = ls.LQRTracker.fit(jacobians, resid)
    for a, b in zip(twin.pushes, alone.pushes, strict=True):
        torch.testing.assert_close(a, b)


def test_a_concept_without_a_feature_somewhere_leaves_the_other_alone(llama: Any) -> None:
    first, second = activations(0.3)
    assert second.embedded_desired is not None
    absent = ls.Activations(
        *(second.desired, second.undesired, second.kind, second.layers),
        *(second.embedded_desired, second.embedded_desired),
    )
    law = JointLQR.fit(identity(), [first, absent])
    one = ls.LQR.fit_feature(identity(), first)
    assert not bool(law.gains[0, :, 1].any())
    cosine = torch.cosine_similarity(law.gains[0, :, 0], one.gains[0], dim=0)
    assert float(cosine) > 0.9  # later layers weigh both features
    assert FeatureDirections.of(absent).sizes[0] == 0
    del llama


def test_bad_concepts_are_refused() -> None:
    first, second = activations(0.5)
    with pytest.raises(ValueError, match="the same feature"):
        JointLQR.fit(identity(), [first, first])
    with pytest.raises(ValueError, match="the same feature"):
        ls.LQRTracker.fit(identity(), [first, first])
    with pytest.raises(ValueError, match="3 set-points for 2 concepts"):
        JointLQR.fit(identity(), [first, second], setpoint=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least one concept"):
        JointLQR.fit(identity(), [])
    law = JointLQR.fit(identity(), [first, second])
    with pytest.raises(ValueError, match="expected \\(T, d, c\\)"):
        JointLQR(law.gains[:2], law.directions, law.setpoints)
    with pytest.raises(ValueError, match="gains are not finite"):
        JointLQR(law.gains * torch.nan, law.directions, law.setpoints)
