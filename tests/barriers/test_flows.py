"""Flows against exact solutions, closed forms, and themselves in other coordinates."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchdiffeq import odeint

from lens_steer.barriers import Barrier, FourierBarrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import (
    RK4,
    Euler,
    FlowEnd,
    GeodesicEuler,
    GeodesicMidpoint,
    Integrator,
    Midpoint,
    State,
    flow,
    frame_of,
    move_in_frame,
    seek,
    trajectory,
)
from tests.barrier_samples import drawn_barrier, drawn_rows, solved

ALL: tuple[Integrator, ...] = (Euler(), Midpoint(), RK4(), GeodesicEuler(), GeodesicMidpoint())
GEODESIC = tuple(way for way in ALL if way.geodesic)
each = pytest.mark.parametrize("way", ALL, ids=lambda way: type(way).__name__)

D = 12
FLOAT64 = 1e-12  # of |a|: some hundred roundings
FLOAT32 = 1e-6


def walk(barrier: Barrier, x: Tensor, angle: float, way: Integrator, steps: int = 10) -> FlowEnd:
    """In the activations' own coordinates."""
    return flow(barrier.grad, x, angle * x.norm(dim=-1), steps=steps, integrator=way)


def framed(barrier: Barrier, x: Tensor, angle: float, way: Integrator, steps: int = 10) -> Tensor:
    """In the barrier's coordinates."""
    frame = frame_of(barrier, x, tangent=way.geodesic)

    def move(y: Tensor) -> Tensor:
        length = angle * y.norm(dim=-1)
        return flow(frame.slope, y, length, steps=steps, integrator=way).points

    return move_in_frame(frame, x, move)


def gap(a: Tensor, b: Tensor) -> float:
    """Of |a|."""
    return float(((a - b).norm(dim=-1) / b.norm(dim=-1)).max())


# ---- against exact solutions ----


@each
def test_the_error_falls_with_the_order_of_the_scheme(way: Integrator) -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(6, D)
    exact = solved(barrier, x, 0.3 * x.norm(dim=-1))
    counts = (4, 8, 16, 32)
    errors = [gap(walk(barrier, x, 0.3, way, n).points, exact) for n in counts]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(-slope - way.order) < 0.15


def test_many_small_steps_end_where_adaptive_solvers_do() -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(6, D)
    for angle in (0.4, -0.4):
        length = angle * x.norm(dim=-1)
        found = walk(barrier, x, angle, RK4(), 100).points
        assert gap(found, solved(barrier, x, length)) < 1e-7

        def field(_: Tensor, y: Tensor, sign: float = float(np.sign(angle))) -> Tensor:
            return sign * barrier.field(y)

        for row, t, end in zip(x[:2], length.abs()[:2], found[:2], strict=True):
            times = torch.stack([torch.zeros(()).double(), t])
            how: Any = {"method": "dopri8", "rtol": 1e-11, "atol": 1e-11}
            other: Any = odeint(field, row, times, **how)
            assert gap(end, other[-1]) < 1e-7


def test_one_euler_step_is_the_formula() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(6, D)
    length = 0.4 * x.norm(dim=-1)
    found = flow(barrier.grad, x, length, steps=1, integrator=Euler()).points
    assert gap(found, x + length[:, None] * barrier.field(x)) < FLOAT64


def test_one_geodesic_step_is_a_slerp() -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(6, D)
    size = x.norm(dim=-1, keepdim=True)
    found = walk(barrier, x, 0.4, GeodesicEuler(), 1).points
    expected = x * np.cos(0.4) + size * barrier.field(x) * np.sin(0.4)
    assert gap(found, expected) < FLOAT64


def test_along_a_linear_barrier_a_geodesic_turns_towards_the_weight() -> None:
    weight, x = drawn_rows(D, seed=3, norm=1.0), drawn_rows(6, D)
    barrier = LinearBarrier(weight, 0.0)
    unit, toward = x / x.norm(dim=-1, keepdim=True), weight / weight.norm()
    before = torch.acos(unit @ toward)
    for way in GEODESIC:
        end = framed(barrier, x, 0.5, way)
        assert gap(end.norm(dim=-1, keepdim=True), x.norm(dim=-1, keepdim=True)) < FLOAT64
        after = torch.acos(end / end.norm(dim=-1, keepdim=True) @ toward)
        torch.testing.assert_close(after, before - 0.5, atol=1e-12, rtol=0)
    straight = framed(barrier, x, 0.5, Euler())
    torch.testing.assert_close(straight, x + 0.5 * x.norm(dim=-1, keepdim=True) * toward)


# ---- length ----


@settings(max_examples=10)
@given(st.floats(0.01, 0.5), st.integers(1, 30), st.integers(0, 5))
def test_euler_lengthens_by_pythagoras(angle: float, steps: int, seed: int) -> None:
    barrier, x = drawn_barrier(D, 6, seed=seed), drawn_rows(4, D, seed=seed)
    found = walk(barrier, x, angle, Euler(), steps)
    expected = (x.square().sum(dim=-1) * (1 + angle**2 / steps)).sqrt()
    whole = ~found.at_maximum
    torch.testing.assert_close(found.points.norm(dim=-1)[whole], expected[whole])


@settings(max_examples=10)
@given(st.floats(-3, 3), st.integers(1, 20), st.integers(0, 5))
def test_geodesic_ways_keep_the_length(angle: float, steps: int, seed: int) -> None:
    barrier, x = drawn_barrier(D, 6, seed=seed), drawn_rows(4, D, seed=seed)
    for way in GEODESIC:
        end = walk(barrier, x, angle, way, steps).points
        torch.testing.assert_close(end.norm(dim=-1), x.norm(dim=-1), rtol=FLOAT64, atol=0)


@each
def test_no_length_is_the_identity_bit_by_bit(way: Integrator) -> None:
    for dtype in (torch.float32, torch.float64):
        x = drawn_rows(3, 2, D).to(dtype)
        for rank in (1, D - 1, D):
            barrier = drawn_barrier(D, rank).to(dtype=dtype)
            assert torch.equal(walk(barrier, x, 0.0, way).points, x)
            assert torch.equal(framed(barrier, x, 0.0, way), x)


@each
def test_backwards_undoes_forwards_to_first_order(way: Integrator) -> None:
    barrier, x = drawn_barrier(D, D), drawn_rows(6, D)
    gaps = [
        gap(walk(barrier, walk(barrier, x, t, way).points, -t, way).points, x) for t in (2e-3, 1e-3)
    ]
    assert gaps[1] < 1e-6
    assert gaps[0] > 1.8 * gaps[1] or gaps[0] < 1e-13


# ---- other coordinates ----


@each
@pytest.mark.parametrize("rank", [0, 1, 4, D - 2, D - 1, D])
def test_the_barriers_coordinates_change_nothing(way: Integrator, rank: int) -> None:
    barrier, x = drawn_barrier(D, rank), drawn_rows(3, 5, D)
    # Beyond a maximum the others' steps are cut by slopes that count |a| in another way.
    for angle in (-0.3, 2.0) if way.geodesic else (-0.3,):
        plain = walk(barrier, x, angle, way)
        assert gap(framed(barrier, x, angle, way), plain.points) < 1e-9
    plain = walk(barrier, x, 0.3, way)
    assert gap(framed(barrier, x, 0.3, way), plain.points) < FLOAT64
    single = framed(barrier.to(dtype=torch.float32), x.float(), 0.3, way)
    assert gap(single.double(), plain.points) < FLOAT32


@each
def test_a_linear_part_among_the_eigenvectors_has_no_direction_of_its_own(way: Integrator) -> None:
    made = drawn_barrier(D, 4)
    q = made.basis @ torch.tensor([1.0, 0.0, -2.0, 0.3]).double()
    barrier = PolynomialBarrier(made.basis, made.eigenvalues, q, 0.0)
    x = drawn_rows(5, D)
    assert gap(framed(barrier, x, 0.3, way), walk(barrier, x, 0.3, way).points) < FLOAT64


def test_activations_inside_the_span_move_within_it() -> None:
    barrier = drawn_barrier(D, 4, linear=0.0)
    x = drawn_rows(5, 4) @ barrier.basis.T
    for dtype, limit in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        end = framed(barrier.to(dtype=dtype), x.to(dtype), 0.3, RK4()).double()
        outside = end - end @ barrier.basis @ barrier.basis.T
        assert gap(end, walk(barrier, x, 0.3, RK4()).points) < (
            FLOAT64 if limit < 1e-6 else FLOAT32
        )
        assert float(outside.norm() / end.norm()) < limit


def test_frames_give_the_barriers_values_and_the_size_of_its_gradient() -> None:
    x = drawn_rows(5, D)
    for rank in (0, 3, D):
        barrier = drawn_barrier(D, rank)
        frame = frame_of(barrier, x, tangent=False)
        y = frame.enter(x)
        torch.testing.assert_close(frame.h(y), barrier.h(x))
        torch.testing.assert_close(frame.grad(y).norm(dim=-1), barrier.grad(x).norm(dim=-1))
        torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
        step = 1e-3 * frame.grad(y)
        rise = barrier.h(frame.leave(x, y, y + step)) - frame.h(y)
        torch.testing.assert_close(rise, (step * frame.grad(y)).sum(dim=-1), rtol=1e-2, atol=1e-9)


@each
def test_rows_know_nothing_of_each_other(way: Integrator) -> None:
    x = drawn_rows(7, D)
    for rank in (3, D):
        barrier = drawn_barrier(D, rank)
        together = framed(barrier, x, 2.5, way)
        alone = torch.cat([framed(barrier, row[None], 2.5, way) for row in x])
        assert gap(together, alone) < 1e-9
        assert gap(framed(barrier, x.reshape(7, 1, D), 2.5, way)[:, 0], together) < 1e-9
    many = drawn_rows(2**17 // 64 + 3, 64)  # more than one block of rows
    wide = drawn_barrier(64, 64)
    assert gap(framed(wide, many, 0.4, way), walk(wide, many, 0.4, way).points) < FLOAT64


# ---- uphill, and where it ends ----


@settings(max_examples=8)
@given(st.integers(0, 40), st.integers(1, D), st.floats(0.2, 6.0))
def test_h_rises_along_the_way_and_never_falls(seed: int, rank: int, angle: float) -> None:
    barrier, x = drawn_barrier(D, rank, seed=seed), drawn_rows(5, D, seed=seed)
    way = GeodesicMidpoint()
    path = trajectory(barrier.grad, x, angle * x.norm(dim=-1), steps=40, integrator=way)
    rises = barrier.h(path.states).diff(dim=0)
    assert float(rises.min()) > -1e-9
    assert gap(path.states[-1], walk(barrier, x, angle, way, 40).points) < FLOAT64
    assert torch.equal(path.states[0], x)


@each
def test_full_steps_and_safeguarded_steps_lead_to_the_same_ends(way: Integrator) -> None:
    for seed, rank in ((0, 2), (1, D), (2, D)):
        barrier, x = drawn_barrier(D, rank, seed=seed, linear=2.0), drawn_rows(30, D, seed=seed)
        length = torch.linspace(-4.0, 4.0, 30).double() * x.norm(dim=-1)
        frame = frame_of(barrier, x, tangent=True)
        for slope, start in ((barrier.grad, x), (frame.slope, frame.enter(x))):
            ends = flow(slope, start, length, steps=9, integrator=way)
            path = trajectory(slope, start, length, steps=9, integrator=way)
            assert torch.equal(ends.at_maximum, path.at_maximum)
            assert 0 < int(ends.at_maximum.sum()) < 30
            # On a ridge that is narrower than a step it is rounding that says where a row stops,
            # and rounding depends on the rows of the batch: there the height is compared.
            settled = (
                ends.at_maximum if slope == barrier.grad else torch.zeros_like(ends.at_maximum)
            )
            assert gap(ends.points[~settled], path.states[-1][~settled]) < FLOAT64
            if slope == barrier.grad:
                bottom, top, again = map(barrier.h, (x, ends.points, path.states[-1]))
                assert bool(((top - again).abs() <= 1e-3 * (top - bottom).abs()).all())


@each
def test_a_flow_ends_at_the_maximum_and_stays(way: Integrator) -> None:
    barrier, x = drawn_barrier(D, D, seed=2, linear=3.0), drawn_rows(8, D)
    top = barrier.supremum()
    long = walk(barrier, x, 6.0, way, 120)
    assert bool(long.at_maximum.all())
    unit = long.points / long.points.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(unit, top.at.expand_as(unit), atol=0.01, rtol=0)
    assert float((top.value - barrier.h(long.points)).abs().max()) < 1e-4
    path = trajectory(barrier.grad, x, 6.0 * x.norm(dim=-1), steps=120, integrator=way)
    assert float(barrier.h(path.states).diff(dim=0).min()) > -1e-9
    bottom = walk(barrier, x, -6.0, way, 120)
    assert float((barrier.h(bottom.points) - barrier.infimum().value).abs().max()) < 1e-4


def test_a_maximum_met_by_the_last_step_is_not_overrun() -> None:
    q = torch.eye(D).double()[0]
    barrier = PolynomialBarrier(torch.zeros(D, 0).double(), torch.zeros(0).double(), q, 0.0)
    x = torch.zeros(1, D).double()
    x[0, :2] = torch.tensor([np.cos(1.0), np.sin(1.0)])
    found = walk(barrier, x, 1.3, GeodesicEuler(), 2)  # the second step would end 0.3 beyond
    assert bool(found.at_maximum.all())
    assert float(torch.atan2(found.points[0, 1], found.points[0, 0]).abs()) < 0.02
    assert not bool(walk(barrier, x, 0.9, GeodesicEuler(), 2).at_maximum.any())


@settings(max_examples=10)
@given(st.integers(0, 40), st.floats(0.05, 1.0))
def test_steps_that_are_certified_are_taken(seed: int, angle: float) -> None:
    """A step of up to |g| / L cannot turn the slope by a right angle: no row of them arrives."""
    barrier, x = drawn_barrier(D, D, seed=seed), drawn_rows(5, D, seed=seed)
    length = angle * x.norm(dim=-1)
    path = trajectory(barrier.grad, x, length, steps=10, integrator=GeodesicEuler())
    sizes = barrier.grad(path.states).norm(dim=-1) * path.states.norm(dim=-1)
    certified = (sizes > angle / 10 * barrier.lipschitz).all(dim=0)
    assert not bool((path.at_maximum & certified).any())


def test_where_the_slope_is_zero_nothing_moves() -> None:
    barrier = drawn_barrier(D, D)
    top = 7.0 * barrier.supremum().at[None]
    for way in ALL:
        assert gap(walk(barrier, top, 1.0, way).points, top) < 1e-6
        zero = torch.zeros(1, D).double()
        assert torch.equal(framed(barrier, zero, 1.0, way), zero)
        flat = flow(torch.zeros_like, top, torch.ones(1).double(), steps=3, integrator=way)
        assert torch.equal(flat.points, top)
        assert bool(flat.at_maximum.all())


@each
def test_any_barrier_can_be_followed(way: Integrator) -> None:
    draw = torch.Generator().manual_seed(0)
    w, p = torch.randn(30, D, generator=draw).double(), torch.randn(30, generator=draw).double()
    barrier = FourierBarrier(0.05 * w, p, p.flip(0), 0.0)
    x = drawn_rows(5, D)
    before, after = barrier.h(x), barrier.h(framed(barrier, x, 0.2, way))
    assert bool((after > before).all())


# ---- to a value of h ----


@each
@pytest.mark.parametrize("rank", [0, 4, D])
def test_seek_ends_at_the_value_where_the_flow_first_has_it(way: Integrator, rank: int) -> None:
    barrier, x = drawn_barrier(D, rank), drawn_rows(40, D)
    target = float(barrier.h(x).quantile(0.7)) + 0.2
    frame = frame_of(barrier, x, tangent=way.geodesic)
    y = frame.enter(x)
    found = seek(frame.slope, frame.h, y, target, 1.5 * x.norm(dim=-1), steps=20, integrator=way)
    end = frame.leave(x, y, found.points)
    there = barrier.h(x) >= target
    assert 0 < int(there.sum()) < 40
    assert torch.equal(end[there], x[there])
    assert not bool(found.length[there].any())
    arrived = found.reached & ~there
    assert int(arrived.sum()) > 5
    assert float((barrier.h(end)[arrived] - target).abs().max()) < 1e-9
    finer = flow(barrier.grad, x, found.length, steps=40, integrator=RK4()).points
    limit = {1: 0.1, 2: 0.02, 4: 1e-3}[way.order]
    assert float((barrier.h(finer)[arrived] - target).abs().max()) < limit
    assert bool((barrier.h(end)[~found.reached] < target).all())


def test_seek_says_what_it_does_not_reach() -> None:
    barrier, x = drawn_barrier(D, D, linear=3.0), drawn_rows(10, D)
    top = barrier.supremum().value
    how: Any = {"steps": 150, "integrator": GeodesicMidpoint()}
    short = seek(barrier.grad, barrier.h, x, top - 0.1, 0.05 * x.norm(dim=-1), **how)
    assert not bool(short.reached.any())
    torch.testing.assert_close(short.length, 0.05 * x.norm(dim=-1))
    beyond = seek(barrier.grad, barrier.h, x, top + 0.1, 6.0 * x.norm(dim=-1), **how)
    assert not bool(beyond.reached.any())
    assert float((barrier.h(beyond.points) - top).abs().max()) < 1e-4


# ---- what is refused ----


@pytest.mark.parametrize("steps", [0, -1, 2.0, True])
def test_steps_are_counted(steps: Any, untyped: None) -> None:
    x = drawn_rows(2, D)
    with pytest.raises(ValueError, match="whole number"):
        flow(drawn_barrier(D, 2).grad, x, x.norm(dim=-1), steps=steps, integrator=Euler())
    how: Any = {"steps": steps, "integrator": Euler()}
    with pytest.raises(ValueError, match="whole number"):
        seek(drawn_barrier(D, 2).grad, drawn_barrier(D, 2).h, x, 0.0, x.norm(dim=-1), **how)


def test_lengths_are_one_per_row(untyped: None) -> None:
    x = drawn_rows(2, D)
    with pytest.raises(ValueError, match="one per row"):
        flow(drawn_barrier(D, 2).grad, x, torch.ones(3), steps=2, integrator=Euler())


def test_what_is_given_is_left_as_it_was() -> None:
    barrier, x = drawn_barrier(D, 3), drawn_rows(4, D)
    length = x.norm(dim=-1)
    before = [t.clone() for t in (x, length, barrier.basis, barrier.linear)]
    for way in ALL:
        flow(barrier.grad, x, length, steps=3, integrator=way)
        framed(barrier, x, 0.3, way)
        way.step(barrier.grad, State.start(barrier.grad, x), length[:, None])
    after = (x, length, barrier.basis, barrier.linear)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@each
@pytest.mark.parametrize("angle", [0.1, 30.0])  # the latter beyond the maximum
def test_one_activation_needs_no_row(way: Integrator, angle: float) -> None:
    barrier, x = drawn_barrier(D, 4), drawn_rows(3, D)
    rows = walk(barrier, x, angle, way)
    for i in range(len(x)):
        alone = walk(barrier, x[i], angle, way)
        assert gap(alone.points, rows.points[i]) < FLOAT64
        assert bool(alone.at_maximum) == bool(rows.at_maximum[i])
