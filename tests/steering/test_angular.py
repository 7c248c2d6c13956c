"""Angular steering: turns in a plane, by an angle and to one."""

from math import pi
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.sites import Kind, Site

D = 9
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
FLOAT32: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Array = np.ndarray


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def axes() -> tuple[Tensor, Tensor]:
    q = torch.linalg.qr(drawn(D, 2, seed=7)).Q
    return q[:, 0].clone(), q[:, 1].clone()


def made(**knobs: Any) -> ls.Angular:
    return ls.Angular(Site(1), *axes(), **knobs)


def rotation(angle: float) -> Array:
    """The matrix that turns the plane from b1 towards b2 and leaves the rest."""
    b1, b2 = (axis.numpy() for axis in axes())
    plane = np.outer(b1, b1) + np.outer(b2, b2)
    turn = np.outer(b2, b1) - np.outer(b1, b2)
    return np.eye(D) + (np.cos(angle) - 1) * plane + np.sin(angle) * turn


def put_at(x: Array, angle: float) -> Array:
    """The paper's form: x - Px + |Px| (cos t b1 + sin t b2)."""
    b1, b2 = (axis.numpy() for axis in axes())
    within = np.outer(x @ b1, b1) + np.outer(x @ b2, b2)
    size = np.linalg.norm(within, axis=1, keepdims=True)
    return x - within + size * (np.cos(angle) * b1 + np.sin(angle) * b2)


@pytest.mark.parametrize("angle", [0.3, -2.0, 1e-7, 7.0])
@pytest.mark.parametrize("strength", [1.0, -0.5, 3.0])
def test_a_turn_is_the_rotation_of_the_plane(angle: float, strength: float) -> None:
    x = drawn(3, 4, D)
    found = made(angle=angle, strength=strength).transform(x)
    expected = x.numpy() @ rotation(strength * angle).T
    np.testing.assert_allclose(found.numpy(), expected, **EXACT)


@pytest.mark.parametrize("target", [0.0, 1.0, pi, -2.5, 9.0])
def test_a_target_is_reached_at_strength_1_as_the_paper_writes_it(target: float) -> None:
    x = drawn(40, D)
    found = made(to_angle=target).transform(x)
    np.testing.assert_allclose(found.numpy(), put_at(x.numpy(), target), **EXACT)


def test_half_the_strength_is_half_of_each_ones_own_shorter_way() -> None:
    x, method = drawn(40, D), made(to_angle=2.8)
    b1, b2 = axes()
    own = np.arctan2((x @ b2).numpy(), (x @ b1).numpy())
    ways = (2.8 - own + np.pi) % (2 * np.pi) - np.pi
    for strength in (0.5, 0.1, -0.3, 1.5):
        found = method.with_strength(strength).transform(x)
        expected = np.stack(
            [rotation(strength * w) @ r for w, r in zip(ways, x.numpy(), strict=True)]
        )
        np.testing.assert_allclose(found.numpy(), expected, **EXACT)
    np.testing.assert_allclose(method.angles(x).numpy(), own, **EXACT)
    assert method.angles(x[0]).shape == ()


@pytest.mark.parametrize("knobs", [{"angle": 2.0}, {"to_angle": -1.0}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_what_is_outside_the_plane_stay(knobs: Any, dtype: torch.dtype) -> None:
    x, slack = 30 * drawn(200, D).to(dtype), 8 * torch.finfo(dtype).eps
    for strength in (1e-4, 0.3, 1.0, 4.0):
        found = made(**knobs, strength=strength).transform(x)
        lengths = found.double().norm(dim=-1) / x.double().norm(dim=-1)
        assert float((lengths - 1).abs().max()) < slack
        other = drawn(D, seed=3)
        for axis in axes():
            other = other - (other @ axis) * axis
        torch.testing.assert_close(
            found.double() @ other, x.double() @ other, rtol=1e-5, atol=300 * slack
        )


def test_turns_add_and_undo_each_other() -> None:
    x, method = drawn(5, D), made(angle=0.7)
    twice = method.transform(method.transform(x))
    torch.testing.assert_close(twice, method.with_strength(2).transform(x), **EXACT)
    torch.testing.assert_close(method.with_strength(-1).transform(method.transform(x)), x, **EXACT)
    torch.testing.assert_close(made(angle=2 * pi).transform(x), x, **EXACT)
    torch.testing.assert_close(made(angle=pi).transform(x) @ axes()[0], -x @ axes()[0], **EXACT)


def test_only_aligned_leaves_the_others_bit_by_bit() -> None:
    x = drawn(60, D)
    aligned = x @ axes()[0] > 0
    assert 10 < int(aligned.sum()) < 50
    for knobs in ({"angle": 1.0}, {"to_angle": 3.0}):
        gated, free = (made(**knobs, only_aligned=g) for g in (True, False))
        found = gated.transform(x)
        assert torch.equal(found[~aligned], x[~aligned])
        assert torch.equal(found[aligned], free.transform(x)[aligned])
        assert not bool(gated.vector_field(x)[~aligned].any())


def test_the_field_is_a_tangent() -> None:
    x = drawn(40, D)
    for knobs in ({"angle": 1.3}, {"to_angle": 0.4}):
        field = made(**knobs).vector_field(x)
        zero = torch.zeros(40).double()
        torch.testing.assert_close((field * x).sum(dim=-1), zero, **EXACT)
    within = torch.stack([x @ axis for axis in axes()], dim=-1).norm(dim=-1)
    size = made(angle=1.3).vector_field(x).norm(dim=-1)
    torch.testing.assert_close(size, 1.3 * within, **EXACT)


def test_what_has_no_part_in_the_plane_stays() -> None:
    x = drawn(4, D)
    for axis in axes():
        x = x - (x @ axis)[:, None] * axis
    for knobs in ({"angle": 1.0}, {"to_angle": 1.0}):
        torch.testing.assert_close(made(**knobs).transform(x), x, **EXACT)
    assert torch.equal(made(to_angle=1.0).transform(torch.zeros(2, D)), torch.zeros(2, D))


# ---- fits ----


def clouds(n: int = 40, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    d, u = (torch.randn(n, D, generator=draw) * torch.linspace(0.3, 1.5, D) for _ in range(2))
    return d + 2 * torch.randn(D, generator=draw) + 1, u + 1


def plane_of(d: Tensor, u: Tensor) -> tuple[Array, Array]:
    """Difference of means, and the top eigenvector of what is left of the covariance."""
    up, down = d.double().numpy(), u.double().numpy()
    b1 = up.mean(0) - down.mean(0)
    b1 /= np.linalg.norm(b1)
    rows = np.concatenate([up, down])
    out = np.eye(D) - np.outer(b1, b1)
    b2 = np.linalg.eigh(out @ np.cov(rows.T) @ out)[1][:, -1]
    return b1, b2 * np.sign(b2 @ out @ rows.mean(0))


def test_the_plane_is_the_difference_and_the_component_beside_it() -> None:
    for seed in range(3):
        d, u = clouds(seed=seed)
        found = ls.Angular.fit(d, u, layer=4, angle=0.3)
        b1, b2 = plane_of(d, u)
        np.testing.assert_allclose(found.b1.numpy(), b1, **FLOAT32)
        np.testing.assert_allclose(found.b2.numpy(), b2, **FLOAT32)
        assert found.sites == (Site(4),)


def test_a_planted_plane_is_found() -> None:
    b1, b2 = (axis.float() for axis in axes())
    draw = torch.Generator().manual_seed(2)
    along = 3 * torch.randn(400, generator=draw)
    noise = 0.05 * torch.randn(400, D, generator=draw)
    x = along[:, None] * b2 + noise + b2
    found = ls.Angular.fit(x[:200] + b1, x[200:] - b1 + 0 * x[:200], layer=0, to_angle=0.0)
    plane = torch.stack([b1, b2])
    for axis in (found.b1, found.b2):
        assert float((plane @ axis).norm()) > 0.99


def test_turning_to_b1_leads_the_undesired_to_the_desired_side() -> None:
    d, u = clouds()
    method = ls.Angular.fit(d, u, layer=0, to_angle=0.0)
    moved = method.transform(u)
    torch.testing.assert_close(method.angles(moved), torch.zeros(len(u)), rtol=0, atol=1e-4)
    assert bool(((moved - u) @ method.b1 > -1e-5).all())


def test_heads_are_one_vector(llama: Any, pairs: ls.ContrastivePairs) -> None:
    at = ls.capture(llama, pairs, "head", layers=[1], progress=False).at(layer=1)
    found = ls.Angular.fit(at, angle=0.5)
    assert found.sites == (Site(1, Kind.HEAD),)
    flat = ls.Angular.fit(at.desired.flatten(1), at.undesired.flatten(1), angle=0.5)
    assert torch.equal(found.b2.flatten(), flat.b2)
    moved = found.transform(at.desired)
    torch.testing.assert_close(moved.flatten(1), flat.transform(at.desired.flatten(1)))


def test_activations_that_vary_along_the_difference_alone_have_no_plane() -> None:
    line = torch.eye(D)[0]
    d, u = (torch.outer(torch.arange(5.0) + k, line) for k in (10, 0))
    with pytest.raises(ValueError, match="no plane to turn in"):
        ls.Angular.fit(d, u, layer=0, angle=1.0)
    with pytest.raises(ValueError, match="no plane to turn in"):
        ls.Angular.fit(torch.ones(1, D), torch.zeros(1, D), angle=1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either a turn or a target"),
        ({"angle": 1.0, "to_angle": 1.0}, "either a turn or a target"),
        ({"angle": float("nan")}, "angle in rad"),
        ({"to_angle": float("inf")}, "angle in rad"),
        ({"angle": 1.0, "b1": torch.ones(4)}, "b1 has length 2: expected 1"),
        ({"angle": 1.0, "b2": 3 * torch.eye(4)[2]}, "b2 has length 3: expected 1"),
        ({"angle": 1.0, "b2": torch.eye(4)[0]}, "not orthogonal"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    own: dict[str, Any] = {"b1": torch.eye(4)[0], "b2": torch.eye(4)[1]}
    with pytest.raises(ValueError, match=message):
        ls.Angular(Site(0), **own | given)


@pytest.mark.parametrize("knobs", [{"angle": 0.3}, {"to_angle": 1.0, "only_aligned": True}])
def test_activations_stay_on_their_device(knobs: Any) -> None:
    x, method = torch.zeros(3, D, device="meta"), made(**knobs)
    assert method.transform(x).device == method.vector_field(x).device == x.device
    assert method.angles(x).device == x.device
