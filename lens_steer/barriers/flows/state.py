"""A row on its way, and the row-wise arithmetic of steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Points = Float[Tensor, "*rows d"]
Lengths = Float[Tensor, "*rows 1"]
Slope = Callable[[Tensor], Tensor]

UNLIMITED = 1e30  # of a row that was refused no step
_PROGRESS = 0.25  # along the first slope; of a step on a great circle: less from 2.5 rad on
# torch.where with a mask that is broadcast over the rows' entries takes ten times as long as a
# product on the CPU, and three times as long on one number per row: hence floors and lerp.
TINY = 1e-15  # its square is a float32 too


def size_of(x: Points) -> Lengths:
    """|x| of each row, and a number that can be divided by where x is 0."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)


def dot(x: Points, y: Points) -> Lengths:
    """Row by row."""
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
        """At any points."""
        unit = y / size_of(y)
        pull = torch.addcmul(self.linear, unit, self.eigenvalues)
        return torch.addcmul(pull, unit, dot(pull, unit), value=-1)

    def of_size(self, size: Lengths) -> Slope:
        """The same for rows of these sizes, which are then not computed again."""
        eigenvalues, shrink = self.eigenvalues / size, -1 / size.square()

        def slope(y: Points) -> Points:
            pull = torch.addcmul(self.linear, y, eigenvalues)
            return torch.addcmul(pull, y, dot(pull, y) * shrink)

        return slope


@dataclass(frozen=True, eq=False)
class State:
    """Where each row is on its way.

    Attributes:
        g: The slope at x.
        size: |g|.
        ease: 1 / k of the module's text, as far as refused steps have shown it.
    """

    x: Points
    g: Points
    size: Lengths
    step_per_slope: Lengths

    @classmethod
    def start(cls, slope: Slope, x: Points) -> "State":
        """At x, refused no step."""
        g = slope(x)
        size = size_of(g)
        return cls(x, g, size, torch.full_like(size, UNLIMITED))

    @classmethod
    def for_full_steps(cls, slope: Slope, x: Points) -> "State":
        """The same for whole steps alone: where the slope is 0 they lead to NaN."""
        g = slope(x)
        size = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        return cls(x, g, size, size)

    @classmethod
    def stack(cls, states: "Sequence[State]") -> "State":
        """Of several, along a new first axis."""
        return cls(*(torch.stack([getattr(at, f.name) for at in states]) for f in fields(cls)))

    def max_step(self, length: Lengths) -> Lengths:
        """The length, or as much of it as does not cross a maximum that was met."""
        return torch.minimum(length, self.size * self.step_per_slope)

    def try_step(
        self, slope: Slope, trial: Points, length: Lengths, *, straight: bool
    ) -> "tuple[State, Lengths]":
        """The state after a step to `trial`, and 1 where that step was refused, else 0.

        Args:
            length: As the step was asked for, negative against the field.
            straight: Whether it went along the slope at its beginning.
        """
        g, pace = slope(trial), length.abs() / self.size
        whole = (length.abs() * self.size).clamp_min(TINY * TINY)
        end = pace * dot(self.g, g) if straight else self._end(g, trial - self.x, whole, length)
        refused = (end < 0).to(g.dtype)
        share = whole / (whole - end.clamp_max(0.0))  # to where the slope along the way is 0
        kept = 1 - refused
        state = State(
            torch.lerp(self.x, trial, kept),  # exactly one or the other
            torch.lerp(self.g, g, kept),
            torch.lerp(self.size, size_of(g), kept),
            torch.lerp(self.step_per_slope, pace * share, refused),
        )
        return state, refused

    def _end(self, g: Points, way: Points, whole: Lengths, length: Lengths) -> Lengths:
        """The slope at a way's end, times the way; below 0 if the way itself is no good.

        Schemes of several slopes look beyond a maximum, and then go nowhere or back.
        """
        sign = length.sign()
        lost = (sign * dot(way, self.g) < _PROGRESS * whole) & (length != 0)
        return sign * dot(way, g) - 2 * whole * lost


def accepted_steps(
    before: State, after: State, length: Lengths, *, straight: bool
) -> Bool[Tensor, "..."]:
    """Rows of which a step of this length, from one state to the other, is none `tried` refuses.

    Not those with a length of 0, a slope of 0 or NaN on their way: they go nowhere.
    """
    if straight:
        return (dot(before.g, after.g) > 0)[..., 0]
    way = (after.x - before.x) * length.sign()
    enough = dot(way, before.g) > _PROGRESS * length.abs() * before.size
    return (enough & (dot(way, after.g) > 0))[..., 0]
