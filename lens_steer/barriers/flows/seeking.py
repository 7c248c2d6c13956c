"""The first point of a flow where h has a given value."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.barriers.flows.integration import check_steps
from lens_steer.barriers.flows.integrators import Integrator
from lens_steer.barriers.flows.state import Lengths, Points, Slope, State

_REFINEMENTS = 12  # of the last step, which is short: the error left is that of h's own arithmetic


@dataclass(frozen=True, eq=False)
class TargetReached:
    """Where the flow first reaches a value of h.

    Attributes:
        points: There; of rows that do not reach it, the end of the flow; of rows that have it
            already, where they were.
        length: Arc length walked.
        reached: Which rows have it.
    """

    points: Float[Tensor, "... d"]
    length: Float[Tensor, "..."]
    reached: Bool[Tensor, "..."]


def seek(  # noqa: PLR0913 - a flow and what ends it
    slope: Slope,
    value: Callable[[Tensor], Tensor],
    x: Float[Tensor, "*rows d"],
    target: float | int,
    most: Float[Tensor, "*rows"],
    *,
    steps: int,
    integrator: Integrator,
) -> TargetReached:
    """Follow the unit field until h has a value; the last step is shortened to end there.

    Args:
        slope: The gradient of h.
        value: h.
        target: The value of h to reach; rows that have it stay, bit by bit.
        most: Arc length that a row may walk, at least 0.
        steps: Parts of `most`; between two of them h is taken to rise.

    Raises:
        ValueError: If there is no step.
    """
    whole = most[..., None] / check_steps(steps)

    def short(points: Points) -> Lengths:
        return (value(points) - target)[..., None]

    state, low = State.start(slope, x), short(x)
    reached, walked = low >= 0, torch.zeros_like(whole)
    last, high = torch.zeros_like(whole), torch.zeros_like(low)
    for _ in range(steps):
        part = state.max_step(whole) * ~reached
        trial = integrator.step(slope, state, part)
        after = short(trial)
        crossed = ~reached & (after >= 0)
        last, high = torch.where(crossed, part, last), torch.where(crossed, after, high)
        reached = reached | crossed
        kept = torch.where(reached, state.x, trial)
        tried, refused = state.try_step(slope, kept, part * ~reached, straight=integrator.straight)
        low = torch.where(reached | (refused > 0), low, after)
        walked = walked + part * ~reached * (1 - refused)
        state = tried

    def at(length: Lengths) -> Points:
        return integrator.step(slope, state, length)

    found = _root(lambda length: short(at(length)), last, low, high)
    return TargetReached(at(found), (walked + found)[..., 0], reached[..., 0])


def _root(f: Callable[[Lengths], Lengths], end: Lengths, low: Lengths, high: Lengths) -> Lengths:
    """Where f is 0 between 0 and `end`, f(0) = low < 0 <= high = f(end); 0 where end is 0.

    Illinois' variant of the false position: an end that stays twice counts half.
    """
    a, b = torch.zeros_like(end), end
    found, side = end, torch.zeros_like(end)
    for _ in range(_REFINEMENTS):
        share = torch.where(high > low, high / (high - low), 0.0)
        found = torch.where(end > 0, b - share * (b - a), 0.0)
        at = f(found)
        above = at >= 0
        low = torch.where(above, torch.where(side > 0, low / 2, low), at)
        high = torch.where(above, at, torch.where(side < 0, high / 2, high))
        a, b = torch.where(above, a, found), torch.where(above, found, b)
        side = torch.where(above, 1.0, -1.0)
    return found
