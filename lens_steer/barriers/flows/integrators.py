"""One step along the unit field of a slope: the classical schemes, and two that stay on the sphere.

Source: da/dt = v(a) = grad h / |grad h| of ODESteer (arXiv:2602.17560), whose steps are Euler's;
the geodesic schemes are ours. A slope is any function whose direction is the field, such as
`Barrier.grad`; the geodesic schemes want it tangent to the sphere through a.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from lens_steer.artifacts import savable
from lens_steer.barriers.flows.state import (
    TINY,
    Lengths,
    Points,
    Slope,
    State,
    across,
    dot,
    size_of,
)

FixedStep = Callable[[State], Points]


@dataclass(frozen=True)
class Integrator(ABC):
    """A scheme for one step.

    Attributes:
        order: The error of a whole flow falls with this power of the step.
        geodesic: Whether it moves along great circles about the origin, at constant |a|.
        straight: Whether a step is a multiple of the slope at its beginning.
    """

    order: ClassVar[int]
    geodesic: ClassVar[bool] = False
    straight: ClassVar[bool] = False

    @abstractmethod
    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """Where a step leads; where the slope is 0, x stays.

        Args:
            length: Arc length, in units of the activation; negative goes against the field, 0 gives
                x back, bit by bit.
        """

    def fixed_step(self, slope: Slope, x: Points, length: Lengths) -> FixedStep:
        """`step` for many steps of one length from x on: what they share is computed once.

        Equal to `step` up to rounding; NaN where the slope is 0 on the way.
        """
        del x

        def step(at: State) -> Points:
            return self.step(slope, at, length)

        return step


@savable
class Euler(Integrator):
    """x + s v(x); |a|^2 grows by s^2 in a field that is tangent to the sphere. The paper's."""

    order, straight = 1, True

    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """See `Integrator`."""
        del slope
        return torch.addcmul(at.x, at.g, length / at.size)


@savable
class Midpoint(Integrator):
    """x + s v(x + s/2 v(x))."""

    order = 2

    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """See `Integrator`."""
        g = slope(torch.addcmul(at.x, at.g, length / at.size, value=0.5))
        return torch.addcmul(at.x, g, length / size_of(g))


@savable
class RK4(Integrator):
    """The classical Runge-Kutta scheme."""

    order = 4

    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """See `Integrator`."""
        first = at.g / at.size
        second = _unit(slope(at.x + length / 2 * first))
        third = _unit(slope(at.x + length / 2 * second))
        fourth = _unit(slope(at.x + length * third))
        return at.x + length / 6 * (first + 2 * (second + third) + fourth)


@savable
class GeodesicEuler(Integrator):
    """Along the great circle through x in the direction of v(x); one step of it is a slerp."""

    order, geodesic = 1, True

    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """See `Integrator`."""
        del slope
        return _turned(at.x, at.g, length)


@savable
class GeodesicMidpoint(Integrator):
    """Along a great circle in the direction of the field half a step ahead."""

    order, geodesic = 2, True

    def step(self, slope: Slope, at: State, length: Lengths) -> Points:
        """See `Integrator`."""
        return _turned(at.x, slope(_turned(at.x, at.g, length / 2)), length)

    def fixed_step(self, slope: Slope, x: Points, length: Lengths) -> FixedStep:
        """See `Integrator`: |a| is constant, and with it sines and cosines."""
        size = size_of(x)
        angle, shrink = length / size, -1 / size.square()
        half, along, whole, beside = (angle / 2).cos(), (angle / 2).sin(), angle.cos(), angle.sin()
        along, beside = size * along, size * beside

        def step(at: State) -> Points:
            g = slope(torch.addcmul(at.x * half, at.g, along / at.size))
            tangent = torch.addcmul(g, at.x, dot(at.x, g) * shrink)
            width = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True)
            return torch.addcmul(at.x * whole, tangent, beside / width)

        return step


def _unit(g: Points) -> Points:
    return g / size_of(g)


def _turned(x: Points, g: Points, length: Lengths) -> Points:
    """Each row rotated towards g by length / |x| rad, |x| kept."""
    size, tangent = size_of(x), across(x, g)
    width = size_of(tangent)
    angle = length / size * (width > TINY)
    return torch.addcmul(x * angle.cos(), tangent, size * angle.sin() / width)
