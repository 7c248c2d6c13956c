"""The state of rows on their way, the safeguard of a step, and the row-wise arithmetic of steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.reports import short_repr

Points = Float[Tensor, "*rows d"]
Lengths = Float[Tensor, "*rows 1"]
Slope = Callable[[Tensor], Tensor]

UNLIMITED = 1e30  # `step_per_slope` of a row none of whose steps was rejected
_PROGRESS = 0.25  # of a step, along the slope at its start; a great circle has less from 2.5 rad on
# torch.where with a mask that is broadcast over the rows' entries takes ten times as long as a
# product on the CPU, and three times as long on one number per row: hence TINY and lerp.
TINY = 1e-15  # its square is a float32 too


def size_of(x: Points) -> Lengths:
    """The length |x| of each row; where x is 0, a number that can be divided by."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)


def dot(x: Points, y: Points) -> Lengths:
    """The dot product of two vectors, row by row."""
    return torch.linalg.vecdot(x, y).unsqueeze(-1)


def across(x: Points, g: Points) -> Points:
    """The part of g that is at right angles to x."""
    return torch.addcmul(g, x, dot(x, g) / size_of(x).square(), value=-1)


@dataclass(frozen=True, eq=False)
class FormSlope:
    """The tangent slope of a quadratic form whose matrix is diagonal: half its gradient at y / |y|.

    Attributes:
        eigenvalues: The diagonal.
        linear: q.
    """

    eigenvalues: Float[Tensor, " m"]
    linear: Float[Tensor, " m"]

    def __call__(self, y: Points) -> Points:
        """The slope at any points."""
        unit = y / size_of(y)
        ambient = torch.addcmul(self.linear, unit, self.eigenvalues)
        return torch.addcmul(ambient, unit, dot(ambient, unit), value=-1)

    def at_length(self, size: Lengths) -> Slope:
        """The same slope for rows of these lengths, which are then not computed again."""
        eigenvalues, shrink = self.eigenvalues / size, -1 / size.square()

        def slope(y: Points) -> Points:
            ambient = torch.addcmul(self.linear, y, eigenvalues)
            return torch.addcmul(ambient, y, dot(ambient, y) * shrink)

        return slope


@dataclass(frozen=True, eq=False)
class State:
    """Where each row is on its way, and how long its steps may be.

    Attributes:
        x: The point.
        g: The slope at x.
        size: |g|.
        step_per_slope: A step may be this times |g| long: 1 / k of `integration`, as far as
            rejected steps have shown k, or `UNLIMITED`.
    """

    x: Points
    g: Points
    size: Lengths
    step_per_slope: Lengths

    __repr__ = short_repr

    @classmethod
    def start(cls, slope: Slope, x: Points) -> "State":
        """The state at x, where no step was rejected yet."""
        g = slope(x)
        size = size_of(g)
        return cls(x, g, size, torch.full_like(size, UNLIMITED))

    @classmethod
    def for_full_steps(cls, slope: Slope, x: Points) -> "State":
        """The state at x for full steps alone: where the slope is 0 they lead to NaN."""
        g = slope(x)
        size = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        return cls(x, g, size, size)

    @classmethod
    def stack(cls, states: "Sequence[State]") -> "State":
        """Several states as one, along a new first axis."""
        return cls(*(torch.stack([getattr(one, f.name) for one in states]) for f in fields(cls)))

    def max_step(self, length: Lengths) -> Lengths:
        """The length, or as much of it as does not cross a maximum that was met."""
        return torch.minimum(length, self.size * self.step_per_slope)

    def try_step(
        self, slope: Slope, trial: Points, length: Lengths, *, straight: bool
    ) -> "tuple[State, Lengths]":
        """The state after a step to `trial`, and 1 where that step was rejected, else 0.

        A step is rejected where the slope at its end points back along it: it has crossed a
        maximum. The row then stays, and its next steps are at most `max_step` long.

        Args:
            slope: The slope that is followed.
            trial: Where the step leads.
            length: The arc length that was asked for, negative against the field.
            straight: Whether the step is a multiple of the slope at its start.
        """
        g, step_per_slope = slope(trial), length.abs() / self.size
        rise = (length.abs() * self.size).clamp_min(TINY * TINY)  # at a constant slope
        if straight:
            end = step_per_slope * dot(self.g, g)
        else:
            end = self._end_slope(g, trial - self.x, rise, length)
        rejected = (end < 0).to(g.dtype)
        share = rise / (rise - end.clamp_max(0.0))  # of the step, to where its slope is 0
        kept = 1 - rejected
        state = State(
            torch.lerp(self.x, trial, kept),  # exactly one or the other
            torch.lerp(self.g, g, kept),
            torch.lerp(self.size, size_of(g), kept),
            torch.lerp(self.step_per_slope, step_per_slope * share, rejected),
        )
        return state, rejected

    def _end_slope(self, g: Points, step: Points, rise: Lengths, length: Lengths) -> Lengths:
        """The slope at a step's end times the step; below 0 if the step makes no progress.

        Schemes of several slopes look beyond a maximum, and then go nowhere or back.
        """
        sign = length.sign()
        lost = (sign * dot(step, self.g) < _PROGRESS * rise) & (length != 0)
        return sign * dot(step, g) - 2 * rise * lost


def accepted_steps(
    before: State, after: State, length: Lengths, *, straight: bool
) -> Bool[Tensor, "..."]:
    """Rows whose step of this length, from one state to the other, `try_step` would accept.

    Rows with a length of 0, a slope of 0 or NaN on their way are not among them.
    """
    if straight:
        return (dot(before.g, after.g) > 0)[..., 0]
    step = (after.x - before.x) * length.sign()
    enough = dot(step, before.g) > _PROGRESS * length.abs() * before.size
    return (enough & (dot(step, after.g) > 0))[..., 0]
