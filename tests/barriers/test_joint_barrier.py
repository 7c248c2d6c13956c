"""Joint barriers against their definition, finite differences, and what steering makes of them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lens_steer.barriers import JointBarrier, LinearBarrier
from lens_steer.steering import BarrierPush, ODESteer
from tests.barrier_samples import drawn_barrier, drawn_rows

D = 8


def joint(temperature: float = 0.5) -> JointBarrier:
    parts = [drawn_barrier(D, 3, seed=i, linear=2.0) for i in range(3)]
    return JointBarrier.of(*parts, temperature=temperature)


def test_it_is_a_soft_least() -> None:
    x = drawn_rows(4, 5, D)
    for t in (0.1, 1.0):
        barrier = joint(t)
        values = torch.stack([b.h(x) for b in barrier.barriers])
        expected = -t * (-values / t).exp().sum(dim=0).log()
        torch.testing.assert_close(barrier.h(x), expected)
        below = values.min(dim=0).values - barrier.h(x)
        assert bool((below >= 0).all())
        assert bool((below <= t * torch.tensor(3.0).log()).all())


def test_its_derivatives_are_those_of_differences() -> None:
    barrier, x, v = joint(), drawn_rows(4, D), drawn_rows(4, D, seed=5, norm=1.0)
    step = 1e-4
    rise = (barrier.h(x + step * v) - barrier.h(x - step * v)) / (2 * step)
    torch.testing.assert_close((barrier.grad(x) * v).sum(dim=-1), rise, rtol=1e-6, atol=1e-9)
    bend = (barrier.grad(x + step * v) - barrier.grad(x - step * v)) / (2 * step)
    torch.testing.assert_close(barrier.hessian_vector(x, v), bend, rtol=1e-5, atol=1e-9)


def test_one_barrier_alone_is_itself_and_a_multiple_is_the_multiple() -> None:
    single, x = drawn_barrier(D, 3), drawn_rows(5, D)
    torch.testing.assert_close(JointBarrier.of(single).h(x), single.h(x))
    torch.testing.assert_close(joint().scaled(2.5).h(x), 2.5 * joint().h(x))
    single32 = joint().to(dtype=torch.float32)
    assert single32.h(x.float()).dtype is torch.float32


def test_steering_raises_all_of_them_to_a_target() -> None:
    parts = [LinearBarrier(torch.eye(D).double()[i], -1.0) for i in range(3)]
    barrier, x = JointBarrier.of(*parts, temperature=0.2), drawn_rows(10, D)
    method = ODESteer(barrier, angle=3.0, steps=60).to_target(h=0.5)
    assert bool(method.reach(x).reached.all())
    for part in parts:
        assert float(part.h(method.flow(x)).min()) > 0.5 - 1e-6
        assert float(part.h(BarrierPush(barrier, margin=0.5).flow(x)).min()) > 0.5 - 1e-6


@pytest.mark.parametrize("given", [{"temperature": 0.0}, {"temperature": float("inf")}])
def test_bad_temperatures_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="temperature"):
        JointBarrier.of(drawn_barrier(D, 2), **given)


def test_barriers_of_different_places_are_refused() -> None:
    one = drawn_barrier(D, 2)
    for other in (drawn_barrier(D + 1, 2), replace(one, layer=3)):
        with pytest.raises(ValueError, match="one site"):
            JointBarrier.of(one, other)
    with pytest.raises(ValueError, match="at least one"):
        JointBarrier.of()


def test_an_activation_of_0_stays_where_it_is() -> None:
    x = drawn_rows(3, D)
    x[1] = 0
    ends = ODESteer(joint(), 0, angle=0.5).flow(x)
    assert torch.equal(ends[1], x[1])
    assert bool(ends.isfinite().all())
    assert not torch.equal(ends[0], x[0])
