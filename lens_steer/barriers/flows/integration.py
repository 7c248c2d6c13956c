"""Many steps: end points and whole trajectories.

The unit field does not vanish at a maximum, so steps of fixed length would cross it again and
again. A step after which the slope points back along it is therefore rejected: its row goes on by
steps of at most |g| / k, where k is the change of slope per length that the step has shown. That is
gradient ascent, which settles at the maximum; a row far from one keeps its full steps. Rows do not
depend on each other, and no step waits for the device.

On a CPU full steps are taken first, and the few rows of which a step would have been rejected
integrate again with this safeguard: a third of the arithmetic.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Count
from lens_steer.barriers.flows.integrators import Integrator
from lens_steer.barriers.flows.state import (
    UNLIMITED,
    FormSlope,
    Points,
    Slope,
    State,
    accepted_steps,
    size_of,
)
from lens_steer.reports import short_repr

_FEW = 2**14  # numbers: so many are checked once, at the end; more, while they are in the cache


@dataclass(frozen=True, eq=False)
class FlowEnd:
    """The end of a flow.

    Attributes:
        points: The end of each row.
        at_maximum: Rows that met a maximum of h (against the field: a minimum) within their length,
            or a ridge narrower than a step; they have gone less far than was asked.
    """

    points: Float[Tensor, "... d"]
    at_maximum: Bool[Tensor, "..."]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A flow, state by state.

    Attributes:
        states: The start, then the state after each step.
        at_maximum: As in `FlowEnd`.
    """

    states: Float[Tensor, "state ... d"]
    at_maximum: Bool[Tensor, "..."]

    __repr__ = short_repr


def flow(
    slope: Slope,
    x: Float[Tensor, "*rows d"],
    length: Float[Tensor, "*rows"],
    *,
    steps: Count,
    integrator: Integrator,
) -> FlowEnd:
    """Follow the unit field of a slope for an arc length.

    Args:
        slope: Its direction is the field: `barrier.grad`, or `Frame.slope` in its coordinates.
        x: Where each row starts.
        length: Of each row, in units of the activation; angle * |a| for an angle in rad. Negative
            goes against the field; 0 gives the row back, bit by bit.
        steps: Number of equal steps that the length is divided into.
        integrator: The scheme of a step.

    Raises:
        ValueError: If there is no step, or the lengths are not one per row.

    Example:
        >>> from lens_steer.barriers.flows import GeodesicMidpoint, flow
        >>> length = 0.5 * x.norm(dim=-1)  # a turn by 0.5 rad
        >>> end = flow(barrier.grad, x, length, steps=10, integrator=GeodesicMidpoint())
        >>> end.points, end.at_maximum
    """
    # On another device, asking which rows to repeat would wait for it; one row leaves no choice.
    if x.device.type != "cpu" or length.ndim == 0:
        return _safeguarded(slope, x, length, steps, integrator)
    points, rejected = _full_steps(slope, x, length, steps, integrator)
    where = rejected.nonzero(as_tuple=True)
    if not len(where[0]):
        return FlowEnd(points, rejected)
    again = _safeguarded(slope, x[where], length[where], steps, integrator)
    return FlowEnd(
        points.index_put(where, again.points),
        torch.zeros_like(rejected).index_put(where, again.at_maximum),
    )


def trajectory(
    slope: Slope,
    x: Float[Tensor, "*rows d"],
    length: Float[Tensor, "*rows"],
    *,
    steps: Count,
    integrator: Integrator,
) -> Trajectory:
    """`flow` with all states on the way; the last is the end that `flow` gives, up to rounding.

    Raises:
        ValueError: As `flow`.
    """
    states = list(_states(slope, x, length, steps, integrator))
    return Trajectory(torch.stack([state.x for state in states]), _at_maximum(states[-1]))


def check_steps(steps: Count) -> int:
    """Raise a ValueError unless `steps` is a whole number from 1 on."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps {steps!r}: expected a whole number from 1 on")
    return steps


def _safeguarded(
    slope: Slope, x: Points, length: Float[Tensor, "*rows"], steps: int, integrator: Integrator
) -> FlowEnd:
    [last] = deque(_states(slope, x, length, steps, integrator), maxlen=1)
    return FlowEnd(last.x, _at_maximum(last))


def _full_steps(
    slope: Slope, x: Points, length: Float[Tensor, "*rows"], steps: int, integrator: Integrator
) -> tuple[Points, Bool[Tensor, "*rows"]]:
    """The ends of full steps, and the rows of which `State.try_step` would have rejected one."""
    part = _lengths(x, length, steps)
    if integrator.geodesic and isinstance(slope, FormSlope):
        slope = slope.at_length(size_of(x))
    step, states = integrator.fixed_step(slope, x, part), [State.for_full_steps(slope, x)]
    few = x.numel() <= _FEW
    accepted = torch.ones_like(length, dtype=torch.bool)
    for _ in range(steps):
        states.append(State.for_full_steps(slope, step(states[-1])))
        if not few:
            before, after = states
            accepted &= accepted_steps(before, after, part, straight=integrator.straight)
            states = [after]
    if few:
        before, after = State.stack(states[:-1]), State.stack(states[1:])
        accepted = accepted_steps(before, after, part, straight=integrator.straight).all(dim=0)
    return states[-1].x, ~accepted


def _lengths(x: Points, length: Float[Tensor, "*rows"], steps: int) -> Float[Tensor, "*rows 1"]:
    if length.shape != x.shape[:-1]:
        shapes = f"{tuple(length.shape)} for activations of shape {tuple(x.shape)}"
        raise ValueError(f"got lengths of shape {shapes}: expected one per row")
    return length.unsqueeze(-1) / check_steps(steps)


def _states(
    slope: Slope, x: Points, length: Float[Tensor, "*rows"], steps: int, integrator: Integrator
) -> Iterator[State]:
    signed = _lengths(x, length, steps)
    part, sign = signed.abs(), signed.sign()
    state = State.start(slope, x)
    yield state
    for i in range(steps):
        size = sign * state.max_step(part)
        trial = integrator.step(slope, state, size)
        state, rejected = state.try_step(slope, trial, size, straight=integrator.straight)
        if i == steps - 1:  # a row whose last step was rejected still goes to its maximum
            rest = sign * rejected * state.max_step(part)
            end = integrator.step(slope, state, rest)
            state = State(end, state.g, state.size, state.step_per_slope)
        yield state


def _at_maximum(state: State) -> Bool[Tensor, "*rows"]:
    return ((state.step_per_slope < UNLIMITED) | ~state.g.any(dim=-1, keepdim=True))[..., 0]
