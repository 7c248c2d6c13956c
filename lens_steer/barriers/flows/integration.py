"""Many steps: end points and whole trajectories.

The unit field does not vanish at a maximum, so steps of fixed length would cross it again and
again. A step after which the slope points back along it is therefore not taken: its row goes on
by steps of at most |g| / k, with k the change of slope per length that this step has shown. That
is gradient ascent, which settles at the maximum; a row far from one keeps its full steps. Rows
know nothing of each other, and no step waits for the device.

On a CPU all steps are first taken whole, and the few rows of which one would have been refused walk
again with care: a third of the arithmetic.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.barriers.flows.integrators import Integrator
from lens_steer.barriers.flows.state import EASY, FormSlope, Points, Slope, State, accepted_steps, size_of

_FEW = 2**14  # numbers: so many are looked at once, at the end; more, while they are in the cache


@dataclass(frozen=True, eq=False)
class FlowEnd:
    """Where a flow leads.

    Attributes:
        points: The end of each row.
        arrived: Rows that met a maximum of h (against the field: a minimum) within their length,
            or a ridge narrower than a step; they have walked less than was asked.
    """

    points: Float[Tensor, "... d"]
    at_maximum: Bool[Tensor, "..."]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A flow, state by state.

    Attributes:
        states: The start, then the state after each step.
        arrived: As in `FlowEnd`.
    """

    states: Float[Tensor, "state ... d"]
    at_maximum: Bool[Tensor, "..."]


def flow(
    slope: Slope,
    x: Float[Tensor, "*rows d"],
    length: Float[Tensor, "*rows"],
    *,
    steps: int,
    integrator: Integrator,
) -> FlowEnd:
    """Follow the unit field of a slope for an arc length.

    Args:
        length: Of each row, in units of the activation; angle * |a| for an angle in rad. Negative
            goes against the field; 0 gives the row back, bit by bit.
        steps: Equal parts that the length is walked in.

    Raises:
        ValueError: If there is no step, or the lengths are not one per row.
    """
    # Elsewhere to ask which rows they are means to wait; of one activation there is none to choose.
    if x.device.type != "cpu" or length.ndim == 0:
        return _safeguarded(slope, x, length, steps, integrator)
    points, astray = _whole(slope, x, length, steps, integrator)
    where = astray.nonzero(as_tuple=True)
    if not len(where[0]):
        return FlowEnd(points, astray)
    again = _safeguarded(slope, x[where], length[where], steps, integrator)
    return FlowEnd(
        points.index_put(where, again.points),
        torch.zeros_like(astray).index_put(where, again.at_maximum),
    )


def trajectory(
    slope: Slope,
    x: Float[Tensor, "*rows d"],
    length: Float[Tensor, "*rows"],
    *,
    steps: int,
    integrator: Integrator,
) -> Trajectory:
    """`flow` with everything on the way; the last state is what `flow` gives, up to rounding.

    Raises:
        ValueError: As `flow`.
    """
    states = list(_states(slope, x, length, steps, integrator))
    return Trajectory(torch.stack([state.x for state in states]), _at_maximum(states[-1]))


def check_steps(steps: int) -> int:
    """Raise a ValueError unless there is a step."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps {steps!r}: expected a whole number from 1 on")
    return steps


def _safeguarded(
    slope: Slope, x: Points, length: Float[Tensor, "*rows"], steps: int, integrator: Integrator
) -> FlowEnd:
    [last] = deque(_states(slope, x, length, steps, integrator), maxlen=1)
    return FlowEnd(last.x, _at_maximum(last))


def _whole(
    slope: Slope, x: Points, length: Float[Tensor, "*rows"], steps: int, integrator: Integrator
) -> tuple[Points, Bool[Tensor, "*rows"]]:
    """The ends of whole steps, and the rows of which one was none: see `State.tried`."""
    part = _lengths(x, length, steps)
    if integrator.geodesic and isinstance(slope, FormSlope):
        slope = slope.of_size(size_of(x))
    stride, states = integrator.fixed_step(slope, x, part), [State.for_full_steps(slope, x)]
    few = x.numel() <= _FEW
    onward = torch.ones_like(length, dtype=torch.bool)
    for _ in range(steps):
        states.append(State.for_full_steps(slope, stride(states[-1])))
        if not few:
            onward = onward & accepted_steps(*states, part, straight=integrator.straight)
            states = states[1:]
    if few:
        before, after = State.stack(states[:-1]), State.stack(states[1:])
        onward = accepted_steps(before, after, part, straight=integrator.straight).all(dim=0)
    return states[-1].x, ~onward


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
        own = sign * state.max_step(part)
        trial = integrator.step(slope, state, own)
        state, refused = state.try_step(slope, trial, own, straight=integrator.straight)
        if i == steps - 1:  # a row refused at the very end still goes to its maximum
            rest = sign * refused * state.max_step(part)
            end = integrator.step(slope, state, rest)
            state = State(end, state.g, state.size, state.step_per_slope)
        yield state


def _at_maximum(state: State) -> Bool[Tensor, "*rows"]:
    return ((state.step_per_slope < EASY) | ~state.g.any(dim=-1, keepdim=True))[..., 0]
