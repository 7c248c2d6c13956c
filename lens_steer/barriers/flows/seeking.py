"""The first point of a flow where h has a given value."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Count, Number
from lens_steer.barriers.flows.integration import check_steps
from lens_steer.barriers.flows.integrators import Integrator
from lens_steer.barriers.flows.state import Lengths, Points, Slope, State
from lens_steer.reports import short_repr

_REFINEMENTS = 12  # of the last step, which is short: the error left is that of h's own arithmetic


@dataclass(frozen=True, eq=False)
class TargetReached:
    """The first point of a flow where h has a value.

    Attributes:
        points: That point; the end of the flow for rows that do not reach it, and the start for
            rows that have it already.
        length: Arc length walked.
        reached: Which rows have reached the value.
    """

    points: Float[Tensor, "... d"]
    length: Float[Tensor, "..."]
    reached: Bool[Tensor, "..."]

    __repr__ = short_repr


def seek(
    slope: Slope,
    value: Callable[[Tensor], Tensor],
    x: Float[Tensor, "*rows d"],
    target: Number,
    most: Float[Tensor, "*rows"],
    *,
    steps: Count,
    integrator: Integrator,
) -> TargetReached:
    """Follow the unit field until h has a value; the last step is shortened to end there.

    Args:
        slope: The gradient of h.
        value: h.
        x: Where each row starts.
        target: The value of h to reach; rows that have it stay, bit by bit.
        most: The arc length that a row may go at most, at least 0.
        steps: Number of steps for `most`; within a step h is assumed to rise.
        integrator: The scheme of a step.

    Raises:
        ValueError: If there is no step.

    Example:
        >>> most = 1.0 * x.norm(dim=-1)
        >>> seek(barrier.grad, barrier.h, x, 0.0, most, steps=20, integrator=GeodesicMidpoint())
    """
    full = most[..., None] / check_steps(steps)

    def excess(points: Points) -> Lengths:
        return (value(points) - target)[..., None]

    state, low = State.start(slope, x), excess(x)
    reached, walked = low >= 0, torch.zeros_like(full)
    last, high = torch.zeros_like(full), torch.zeros_like(low)
    for _ in range(steps):
        part = state.max_step(full) * ~reached
        trial = integrator.step(slope, state, part)
        after = excess(trial)
        crossed = ~reached & (after >= 0)
        last, high = torch.where(crossed, part, last), torch.where(crossed, after, high)
        reached = reached | crossed
        kept = torch.where(reached, state.x, trial)
        part = part * ~reached
        state, rejected = state.try_step(slope, kept, part, straight=integrator.straight)
        low = torch.where(reached | (rejected > 0), low, after)
        walked = walked + part * (1 - rejected)

    def end(length: Lengths) -> Points:
        return integrator.step(slope, state, length)

    last = _root(lambda length: excess(end(length)), last, low, high)
    return TargetReached(end(last), (walked + last)[..., 0], reached[..., 0])


def _root(f: Callable[[Lengths], Lengths], end: Lengths, low: Lengths, high: Lengths) -> Lengths:
    """The root of f between 0 and `end`, f(0) = low < 0 <= high = f(end); 0 where `end` is 0.

    The Illinois variant of regula falsi: the value at an end that stays twice is halved.
    """
    a, b = torch.zeros_like(end), end
    root, side = end, torch.zeros_like(end)
    for _ in range(_REFINEMENTS):
        share = torch.where(high > low, high / (high - low), 0.0)
        root = torch.where(end > 0, b - share * (b - a), 0.0)
        value = f(root)
        above = value >= 0
        low = torch.where(above, torch.where(side > 0, low / 2, low), value)
        high = torch.where(above, value, torch.where(side < 0, high / 2, high))
        a, b = torch.where(above, a, root), torch.where(above, root, b)
        side = torch.where(above, 1.0, -1.0)
    return root
