"""Quadratic barriers as forms: the gauge, ranks, and the extremes on the sphere."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers import PolynomialBarrier
from lens_steer.sites import Kind
from tests.oracles_barriers import directions, planted, symmetric, value


def made(matrix: Any, linear: Any, constant: float = 0.0) -> PolynomialBarrier:
    return PolynomialBarrier.of_quadratic(
        torch.from_numpy(np.asarray(matrix, dtype=float)),
        torch.from_numpy(np.asarray(linear, dtype=float)),
        constant,
    )


def by_hand(basis: np.ndarray, values: Any, linear: Any, constant: float = 0.0) -> Any:
    """In whatever gauge, A being 0 outside of the basis."""
    v, own, q = (torch.from_numpy(np.asarray(x, dtype=float)) for x in (basis, values, linear))
    return PolynomialBarrier(v, own, q, constant)


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    return 3 * np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("d", [2, 3, 6, 7])
@pytest.mark.parametrize("shift", [0.0, 2.5, -40.0])
def test_the_gauge_does_not_matter(d: int, shift: float) -> None:
    matrix, linear = symmetric(d, d), np.arange(d) / d
    base, moved = made(matrix, linear, 0.3), made(matrix + shift * np.eye(d), linear, 0.3 - shift)
    x = torch.from_numpy(points(9, d))
    torch.testing.assert_close(moved.h(x), base.h(x), atol=1e-12, rtol=1e-11)
    torch.testing.assert_close(moved.field(x), base.field(x), atol=1e-11, rtol=1e-10)
    for (a, q, c), barrier in ((base.quadratic(), base), (moved.quadratic(), moved)):
        assert abs(np.median(np.linalg.eigvalsh(a.numpy()))) < 1e-13
        np.testing.assert_allclose(value(x.numpy(), a.numpy(), q.numpy(), c), barrier.h(x))
        np.testing.assert_allclose(barrier.spectrum, np.linalg.eigvalsh(a.numpy()), atol=1e-12)
    assert abs(base.lipschitz - moved.lipschitz) < 1e-11
    torch.testing.assert_close(base.quadratic()[0], moved.quadratic()[0], atol=1e-12, rtol=1e-11)


@pytest.mark.parametrize("rank", [1, 3, 4, 6])
def test_a_basis_that_is_cut_short_is_completed_for_the_gauge(rank: int) -> None:
    basis = np.linalg.qr(points(6, 6))[0][:, :rank]
    values, linear = 1.0 + np.arange(rank), np.arange(6.0)
    barrier = by_hand(basis, values, linear, 0.5)
    a, q, c = barrier.quadratic()
    matrix = (basis * values) @ basis.T
    shift = np.median(np.linalg.eigvalsh(matrix))
    np.testing.assert_allclose(a, matrix - shift * np.eye(6), atol=1e-12)
    assert abs(c - 0.5 - shift) < 1e-12
    x = points(9, 6)
    np.testing.assert_allclose(barrier.h(torch.from_numpy(x)), value(x, matrix, linear, 0.5))
    np.testing.assert_allclose(value(x, a.numpy(), q.numpy(), c), value(x, matrix, linear, 0.5))


def test_truncation_drops_what_is_nearest_to_the_median() -> None:
    """-I and three directions: without the gauge, those three would be the ones cut."""
    d = 12
    basis = np.linalg.qr(points(d, d))[0]
    values = np.r_[0.9, 1.4, -3.0, np.zeros(d - 3)] - 1.0
    barrier = made((basis * values) @ basis.T, 0.1 * np.ones(d), 0.2)
    cut = barrier.truncated(3)
    x = torch.from_numpy(points(20, d))
    assert cut.rank == 3
    torch.testing.assert_close(cut.h(x), barrier.h(x), atol=1e-12, rtol=1e-11)
    torch.testing.assert_close(cut.field(x), barrier.field(x), atol=1e-11, rtol=1e-11)
    assert float((barrier.truncated(2).h(x) - barrier.h(x)).abs().max()) > 1e-3
    kept = cut.quadratic()[0].numpy()
    np.testing.assert_allclose(np.linalg.eigvalsh(kept)[[0, -2, -1]], [-3.0, 0.9, 1.4])


def test_rank_0_is_the_linear_part_and_the_width_is_all() -> None:
    d = 5
    linear = np.arange(d) + 1.0
    barrier = made(symmetric(d, 0), linear, 0.2)
    x = points(9, d)
    flat = barrier.truncated(0)
    np.testing.assert_allclose(
        flat.grad(torch.from_numpy(x)),
        made(np.zeros((d, d)), linear).grad(torch.from_numpy(x)),
        atol=1e-14,
    )
    whole = barrier.truncated(d)
    torch.testing.assert_close(whole.h(torch.from_numpy(x)), barrier.h(torch.from_numpy(x)))
    for rank in (-1, d + 1):
        with pytest.raises(ValueError, match=f"rank {rank}: expected 0 to 5|got rank={rank}"):
            barrier.truncated(rank)


def test_a_matrix_that_is_no_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        made([[1.0, 1.0], [0.0, 1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match="not symmetric, or not finite"):
        made([[1.0, np.nan], [np.nan, 1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match="linear is not finite"):
        made(np.eye(2), [0.0, np.inf])


def searched(matrix: np.ndarray, linear: np.ndarray) -> float:
    """The largest value, from many starts."""
    d = len(linear)

    def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
        size = np.linalg.norm(x)
        unit = x / size
        pull = 2 * (matrix @ unit + linear)
        return (
            -float(unit @ matrix @ unit + 2 * linear @ unit),
            -(pull - unit * (unit @ pull)) / size,
        )

    runs = [minimize(negative, x, jac=True, options={"gtol": 1e-12}) for x in points(30, d, seed=7)]
    return -min(run.fun for run in runs)


def gridded(matrix: np.ndarray, linear: np.ndarray) -> float:
    """The same over a dense grid of the circle."""
    angle = np.linspace(0, 2 * np.pi, 200_001)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return float(value(x, matrix, linear, 0.0).max())


HARD = np.diag([2.0, 2.0, 0.5, -1.0, -2.0])
CASES: dict[str, tuple[np.ndarray, Any]] = {
    "easy": (symmetric(6, 1), np.arange(6) / 3),
    "large q": (symmetric(6, 1), 100 * np.arange(6)),
    "small q": (symmetric(6, 1), 1e-9 * np.arange(6)),
    "q = 0": (symmetric(6, 2), np.zeros(6)),
    "nothing but q": (np.zeros((4, 4)), [1.0, 2.0, 0.0, -1.0]),
    "hard, repeated top": (HARD, [0, 0, 0.3, 0.4, 0.1]),
    "easy, repeated top": (HARD, [0.1, -0.2, 0.3, 0.4, 0.1]),
    "q orthogonal, but long": (HARD, [0, 0, 3.0, 4.0, 0.1]),
    "q orthogonal, on the edge": (HARD, [0, 0, 1.5, 0.0, 0.0]),
    "q nearly orthogonal": (HARD, [1e-13, 0, 0.3, 0.4, 0.1]),
    "two entries": (symmetric(2, 3), [0.3, -0.8]),
    "two entries, hard": (np.diag([1.0, -1.0]), [0.0, 0.5]),
    "one eigenvalue": (3 * np.eye(3), [0.0, 0.2, 0.0]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("turned", [False, True])
def test_extremes_are_those_of_a_search(name: str, turned: bool) -> None:
    matrix, linear = CASES[name][0], np.asarray(CASES[name][1], dtype=float)
    if turned:
        turn = np.linalg.qr(points(len(linear), len(linear)))[0]
        matrix, linear = turn @ matrix @ turn.T, turn @ linear
    barrier = made(matrix, linear, 0.25)
    top, bottom = barrier.supremum(), barrier.infimum()
    size = 1 + np.abs(matrix).max() + np.linalg.norm(linear)
    assert abs(top.value - 0.25 - searched(matrix, linear)) < 1e-11 * size
    assert abs(bottom.value - 0.25 + searched(-matrix, -linear)) < 1e-11 * size
    if len(linear) == 2:
        assert abs(top.value - 0.25 - gridded(matrix, linear)) < 1e-8
    for extreme in (top, bottom):
        at = extreme.at.numpy()
        assert abs(np.linalg.norm(at) - 1) < 1e-14
        assert abs(float(value(at, matrix, linear, 0.25)) - extreme.value) < 1e-12 * size
        assert float(barrier.grad(extreme.at).norm()) < 1e-6 * size


def test_a_polarity_flip_has_two_equal_tops() -> None:
    """q = 0: the sup is the top eigenvalue, at either sign of its eigenvector."""
    matrix = symmetric(7, 4)
    values, vectors = np.linalg.eigh(matrix)
    top = made(matrix, np.zeros(7)).supremum()
    assert abs(top.value - values[-1]) < 1e-13
    assert abs(abs(vectors[:, -1] @ top.at.numpy()) - 1) < 1e-13


@pytest.mark.parametrize("values", [[-1.0, -2.0], [-1.0, 2.0], [3.0, 2.0]])
@pytest.mark.parametrize("linear", [[0, 0, 0, 0], [0.3, 0, 0, 0], [0, 0, 0.2, 0.1], [1, 2, 3, 4]])
def test_extremes_outside_of_a_short_basis(values: list[float], linear: list[float]) -> None:
    turn = np.linalg.qr(points(4, 4))[0]
    q = turn @ np.asarray(linear, dtype=float)
    barrier = by_hand(turn[:, :2], values, q)
    matrix = (turn[:, :2] * np.asarray(values)) @ turn[:, :2].T
    assert abs(barrier.supremum().value - searched(matrix, q)) < 1e-11
    assert abs(barrier.infimum().value + searched(-matrix, -q)) < 1e-11
    single = barrier.to(dtype=torch.float32)
    assert abs(single.supremum().value - searched(matrix, q)) < 1e-5


def test_the_sup_of_a_fit_is_above_every_activation() -> None:
    data = planted()
    barrier = PolynomialBarrier.fit(data, gamma=1.0, C=10.0)
    h = torch.cat([barrier.h(data.desired), barrier.h(data.undesired)])
    assert barrier.infimum().value < float(h.min()) < 0 < float(h.max()) < barrier.supremum().value


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_changes_no_faster_than_its_bound(seed: int) -> None:
    """On the unit sphere: along great circles, and never below a tenth of it at the worst."""
    d = 4
    barrier = made(symmetric(d, seed), np.random.default_rng(seed).normal(size=d))
    x = torch.from_numpy(directions(points(4000, d, seed)))
    v = torch.from_numpy(points(4000, d, seed + 50))
    v = v - x * (x * v).sum(dim=-1, keepdim=True)
    v = v / v.norm(dim=-1, keepdim=True)
    change = barrier.hessian_vector(x, v)
    tangent = change - x * (x * change).sum(dim=-1, keepdim=True)
    assert 0.1 * barrier.lipschitz < float(tangent.norm(dim=-1).max()) <= barrier.lipschitz


def test_steps_within_the_bound_do_not_lower_h() -> None:
    barrier = made(symmetric(6, 9), np.arange(6) / 4)
    x = torch.from_numpy(directions(points(500, 6)))
    grad, field = barrier.grad(x), barrier.field(x)
    step: Tensor = 2 * grad.norm(dim=-1, keepdim=True) / barrier.lipschitz
    later = torch.cos(step) * x + torch.sin(step) * field
    assert bool((barrier.h(later) >= barrier.h(x)).all())


def test_low_rank_fits_are_the_dense_ones() -> None:
    """Fewer examples than entries: the same A without an eigendecomposition of its size."""
    few = planted(9, 6, 40)
    barrier = PolynomialBarrier.fit(few, gamma=1.0, C=10.0)
    assert barrier.rank == 15
    a, _, _ = barrier.quadratic()
    copies = LayerActivations(few.desired.repeat(3, 1), few.undesired.repeat(3, 1), 3, Kind.RESID)
    dense = PolynomialBarrier.fit(copies, gamma=1.0, C=10.0 / 3)
    assert dense.rank == 40
    torch.testing.assert_close(a, dense.quadratic()[0], atol=1e-7, rtol=1e-6)
    x = torch.from_numpy(points(9, 40))
    torch.testing.assert_close(barrier.h(x), dense.h(x), atol=1e-7, rtol=1e-6)
