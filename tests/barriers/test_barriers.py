"""What every barrier does: values, gradients, Hessians, types, shapes, calibration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from lens_steer.activations import LayerActivations
from lens_steer.barriers import (
    Barrier,
    FourierBarrier,
    LinearBarrier,
    PolynomialBarrier,
    SketchBarrier,
)
from lens_steer.sites import Kind
from tests.oracles_barriers import planted, stacked, symmetric, value

D = 8
FITS: dict[str, Callable[[LayerActivations], Barrier]] = {
    "exact": lambda a: PolynomialBarrier.fit(a, gamma=1.0, C=1.0),
    "low rank": lambda a: PolynomialBarrier.fit(a, gamma=1.0, C=1.0).truncated(2),
    "sketch": lambda a: PolynomialBarrier.fit_sketch(a, n_components=300),
    "probe": lambda a: LinearBarrier.fit(a, C=1.0),
    "means": LinearBarrier.fit_means,
    "fourier": lambda a: FourierBarrier.fit(a, n_components=300),
    "degree 3": lambda a: SketchBarrier.fit(a, n_components=300),
    "SVM": lambda a: SketchBarrier.fit_svm(a, n_components=300),
}


@pytest.fixture(params=FITS, scope="module")
def barrier(request: pytest.FixtureRequest) -> Barrier:
    return FITS[request.param](planted(d=D))


def points(*shape: int, seed: int = 5) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 4 + 5 * torch.randn(*shape, D, generator=draw).double()


def test_gradients_are_autograds(barrier: Barrier) -> None:
    x = points(12).requires_grad_()
    (expected,) = torch.autograd.grad(barrier.h(x).sum(), x)
    torch.testing.assert_close(barrier.grad(x.detach()), expected, atol=1e-14, rtol=1e-11)


def test_hessian_products_are_autograds(barrier: Barrier) -> None:
    for i, x in enumerate(points(4)):
        hessian = torch.autograd.functional.hessian(lambda y: barrier.h(y), x)
        assert isinstance(hessian, torch.Tensor)
        v = points(1, seed=i)[0]
        torch.testing.assert_close(barrier.hessian_vector(x, v), hessian @ v, atol=1e-12, rtol=1e-9)


def test_the_field_is_the_unit_gradient(barrier: Barrier) -> None:
    x = points(7)
    field, grad = barrier.field(x), barrier.grad(x)
    torch.testing.assert_close(field.norm(dim=-1), torch.ones(7).double())
    torch.testing.assert_close(field * grad.norm(dim=-1, keepdim=True), grad)


def test_leading_axes_change_nothing(barrier: Barrier) -> None:
    x, v = points(2, 3, 4), points(2, 3, 4, seed=6)
    for function in (barrier.h, barrier.grad, barrier.field):
        found = function(x)
        assert found.shape[:3] == (2, 3, 4)
        for at in np.ndindex(2, 3, 4):
            torch.testing.assert_close(found[at], function(x[at]), atol=1e-13, rtol=1e-10)
    product = barrier.hessian_vector(x, v)
    torch.testing.assert_close(
        product[1, 2], barrier.hessian_vector(x[1, 2], v[1, 2]), atol=1e-13, rtol=1e-10
    )
    assert barrier.h(x[:0]).shape == (0, 3, 4)
    assert barrier.field(x[:0]).shape == (0, 3, 4, D)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_the_inputs_and_half_is_computed_in_float32(
    barrier: Barrier, dtype: torch.dtype
) -> None:
    x, v = points(6).to(dtype), points(6, seed=6).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    assert barrier.h(x).dtype == wide
    for found, exact in (
        (barrier.grad(x), barrier.grad(x.to(wide))),
        (barrier.field(x), barrier.field(x.to(wide))),
        (barrier.hessian_vector(x, v), barrier.hessian_vector(x.to(wide), v.to(wide))),
    ):
        assert found.dtype == dtype
        assert torch.equal(found, exact.to(dtype))
    torch.testing.assert_close(barrier.h(x).double(), barrier.h(x.double()), atol=1e-3, rtol=1e-4)


def test_another_device_or_type_of_the_barrier(barrier: Barrier) -> None:
    single = barrier.to(dtype=torch.float32, device="cpu")
    x = points(6)
    torch.testing.assert_close(single.h(x), barrier.h(x), atol=1e-4, rtol=1e-4)
    assert (single.layer, single.kind, single.settings) == (3, Kind.RESID, barrier.settings)
    with pytest.raises(ValueError, match="expected float32 or float64"):
        barrier.to(dtype=torch.bfloat16)


def test_inputs_are_not_changed(barrier: Barrier) -> None:
    x, v = points(6), points(6, seed=6)
    before = x.clone(), v.clone()
    for found in (barrier.h(x), barrier.grad(x), barrier.field(x), barrier.hessian_vector(x, v)):
        found.mul_(0)
    assert torch.equal(x, before[0])
    assert torch.equal(v, before[1])
    assert bool(barrier.grad(x).any())


def test_a_barrier_knows_what_it_was_fitted_on(barrier: Barrier) -> None:
    assert (barrier.layer, barrier.kind, barrier.width) == (3, Kind.RESID, D)
    assert f"d = {D}, resid 3" in repr(barrier)
    with pytest.raises(ValueError, match="expected 8 entries, as resid 3 had"):
        barrier.h(torch.ones(2, D + 1))
    with pytest.raises(ValueError, match="expected one"):
        barrier.hessian_vector(points(2), points(3))


def test_calibration_is_the_likeliest_scale_and_nothing_else(barrier: Barrier) -> None:
    dev = planted(40, 70, D, seed=1)
    found = barrier.calibrated(dev)
    x, labels = stacked(dev)
    h, offset = barrier.h(torch.from_numpy(x)).numpy(), np.log(40 / 70)

    def loss(s: float) -> float:
        return float(np.logaddexp(0, -np.where(labels, 1, -1) * (s * h + offset)).sum())

    scale = 1 / float(found.settings["temperature"])
    own: Any = minimize_scalar(loss, bounds=(scale / 3, 3 * scale), method="bounded")
    assert abs(own.x / scale - 1) < 1e-3
    at = points(5)
    torch.testing.assert_close(found.h(at), scale * barrier.h(at), atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(found.field(at), barrier.field(at), atol=1e-12, rtol=1e-10)
    again = found.calibrated(dev)
    assert abs(float(again.settings["temperature"]) - 1) < 1e-9
    assert type(again) is type(barrier)


def test_calibration_refuses_what_has_no_optimum(barrier: Barrier) -> None:
    dev = planted(40, 70, D, seed=1)
    swapped = LayerActivations(dev.undesired, dev.desired, 3, dev.kind)
    with pytest.raises(ValueError, match="no positive scale fits"):
        barrier.calibrated(swapped)
    h = barrier.h(dev.desired), barrier.h(dev.undesired)
    easy = LayerActivations(dev.desired[h[0] > 0], dev.undesired[h[1] < 0], 3, dev.kind)
    with pytest.raises(ValueError, match="sign of h is right at every example"):
        barrier.calibrated(easy)
    with pytest.raises(ValueError, match="got resid 2, but this is a barrier of resid 3"):
        barrier.calibrated(LayerActivations(dev.desired, dev.undesired, 2, dev.kind))


@pytest.mark.parametrize("name", ["exact", "low rank", "sketch"])
def test_quadratic_barriers_know_directions_alone(name: str) -> None:
    barrier = FITS[name](planted(d=D))
    x = points(9)
    torch.testing.assert_close((barrier.grad(x) * x).sum(dim=-1), torch.zeros(9).double())
    torch.testing.assert_close(barrier.h(70 * x), barrier.h(x))
    torch.testing.assert_close(70 * barrier.grad(70 * x), barrier.grad(x))
    for bad in (torch.zeros(D), torch.full((D,), torch.nan), torch.full((D,), torch.inf)):
        for function in (barrier.h, barrier.grad, barrier.field):
            with pytest.raises(ValueError, match="0 or not finite"):
                function(torch.stack([torch.ones(D), bad]))


def test_values_are_the_formula() -> None:
    matrix, linear = symmetric(D, 0), np.random.default_rng(1).normal(size=D)
    barrier = PolynomialBarrier.of_quadratic(
        torch.from_numpy(matrix), torch.from_numpy(linear), 0.7, layer=2, kind="mlp_out"
    )
    x = points(11)
    np.testing.assert_allclose(barrier.h(x), value(x.numpy(), matrix, linear, 0.7), atol=1e-13)
    assert (barrier.layer, barrier.kind) == (2, Kind.MLP_OUT)


def test_a_critical_point_has_no_field() -> None:
    barrier = PolynomialBarrier.of_quadratic(torch.diag(torch.tensor([1.0, 0, -1])), torch.zeros(3))
    assert not bool(barrier.grad(torch.eye(3)).any())
    with pytest.raises(ValueError, match="3 of 3 activations are critical points"):
        barrier.field(torch.eye(3))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: LinearBarrier(torch.zeros(3), 1.0), "the weight is 0"),
        (lambda: LinearBarrier(torch.ones(3), float("nan")), "bias=nan"),
        (lambda: LinearBarrier(torch.tensor([1.0, torch.nan]), 0.0), "weight is not finite"),
        (lambda: LinearBarrier(torch.ones(3).half(), 0.0), "weight is torch.float16"),
        (lambda: LinearBarrier(torch.ones(3), 0.0, kind="rseid"), "unknown kind 'rseid'"),  # type: ignore[arg-type]
        (lambda: waves(4, 3, 5), "got shapes"),
        (lambda: waves(0, 3, 0), "got shapes"),
        (lambda: waves(4, 3, 4, float("inf")), "bias=inf"),
        (lambda: quadratic(torch.eye(3), q=torch.ones(2)), "got shapes"),
        (lambda: quadratic(torch.eye(1)), "with d > 1"),
        (lambda: quadratic(2 * torch.eye(3)), "no orthonormal columns"),
        (lambda: quadratic(torch.eye(3, 4)), "no orthonormal columns"),
        (lambda: quadratic(torch.eye(3), float("inf")), "constant=inf"),
    ],
)
def test_broken_parts_are_refused(made: Callable[[], Barrier], match: str, untyped: None) -> None:
    with pytest.raises(ValueError, match=match):
        made()


def waves(n: int, d: int, other: int, bias: float = 0.0) -> FourierBarrier:
    return FourierBarrier(torch.ones(n, d), torch.ones(n), torch.ones(other), bias)


def quadratic(
    basis: torch.Tensor, constant: float = 0.0, q: torch.Tensor | None = None
) -> PolynomialBarrier:
    d, r = basis.shape
    return PolynomialBarrier(basis, torch.ones(r), torch.ones(d) if q is None else q, constant)
