"""One step along the unit field of a slope: the classical schemes, and two that stay on the sphere.

Source: da/dt = v(a) = grad h / |grad h| of ODESteer (arXiv:2602.17560), whose steps are Euler's;
the geodesic schemes are ours. A slope is any function whose direction is the field, such as
`Barrier.grad`; the geodesic schemes expect it to be tangent to the sphere through a.

Which to take: `GeodesicMidpoint` keeps |a| and has order 2 for two evaluations of the slope a step.
`Euler` reproduces the paper. `GeodesicEuler` in one step is a rotation, and exact for a linear
barrier. `RK4` is for reference solutions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

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
    """A scheme for one step along a unit field.

    Attributes:
        order: The error of a whole flow falls with this power of the step size.
        geodesic: Whether it moves along great circles about the origin, at constant |a|.
        straight: Whether a step is a multiple of the slope at its start.
    """

    order: ClassVar[int]
    geodesic: ClassVar[bool] = False
    straight: ClassVar[bool] = False

    @abstractmethod
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        """The point that a step leads to; where the slope is 0, the row stays.

        Args:
            slope: Its direction is the field.
            state: The start, where the slope is already known: it is not evaluated again.
            length: Arc length, in units of the activation; negative goes against the field, 0 gives
                x back, bit by bit.
        """

    def fixed_step(self, slope: Slope, x: Points, length: Lengths) -> FixedStep:
        """`step` for many steps of one length from x on: what they share is computed once.

        The result is that of `step` up to rounding, and NaN where the slope is 0 on the way.
        """
        del x

        def step(state: State) -> Points:
            return self.step(slope, state, length)

        return step


@savable
class Euler(Integrator):
    """Euler's method, which the paper uses: a step of size s leads to x + s v(x).

    Order 1, one evaluation of the slope a step. In a field that is tangent to the sphere every step
    adds s^2 to |a|^2: prefer `GeodesicEuler`, unless the paper's own steps are wanted.
    """

    order, straight = 1, True

    @override
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        del slope
        return torch.addcmul(state.x, state.g, length / state.size)


@savable
class Midpoint(Integrator):
    """The explicit midpoint method: a step of size s leads to x + s v(x + s/2 v(x)).

    Order 2, two evaluations of the slope a step. Prefer it to `Euler` where |a| need not be kept
    exactly; `GeodesicMidpoint` costs the same and keeps |a|.
    """

    order = 2

    @override
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        g = slope(torch.addcmul(state.x, state.g, length / state.size, value=0.5))
        return torch.addcmul(state.x, g, length / size_of(g))


@savable
class RK4(Integrator):
    """The classical Runge-Kutta method.

    Order 4, four evaluations of the slope a step; |a| is kept up to the error of the scheme. Prefer
    it for a reference solution in many small steps of a smooth field.
    """

    order = 4

    @override
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        first = state.g / state.size
        second = _unit(slope(state.x + length / 2 * first))
        third = _unit(slope(state.x + length / 2 * second))
        fourth = _unit(slope(state.x + length * third))
        return state.x + length / 6 * (first + 2 * (second + third) + fourth)


@savable
class GeodesicEuler(Integrator):
    """Euler's method on the sphere: a step follows the great circle in the direction of v(x).

    Order 1, one evaluation of the slope a step; |a| is kept. One step is a rotation (a slerp), and
    exact along a linear barrier: prefer it for those, and where a single step has to do.
    """

    order, geodesic = 1, True

    @override
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        del slope
        return _rotated(state.x, state.g, length)


@savable
class GeodesicMidpoint(Integrator):
    """The midpoint method on the sphere: a great circle in the direction of v half a step ahead.

    Order 2, two evaluations of the slope a step; |a| is kept. Prefer it for barriers that bend: it
    is the default of `ODESteer`.
    """

    order, geodesic = 2, True

    @override
    def step(self, slope: Slope, state: State, length: Lengths) -> Points:
        return _rotated(state.x, slope(_rotated(state.x, state.g, length / 2)), length)

    @override
    def fixed_step(self, slope: Slope, x: Points, length: Lengths) -> FixedStep:
        size = size_of(x)  # constant, and with it sines and cosines
        angle, shrink = length / size, -1 / size.square()
        half_cos, half_sin = (angle / 2).cos(), size * (angle / 2).sin()
        whole_cos, whole_sin = angle.cos(), size * angle.sin()

        def step(state: State) -> Points:
            g = slope(torch.addcmul(state.x * half_cos, state.g, half_sin / state.size))
            tangent = torch.addcmul(g, state.x, dot(state.x, g) * shrink)
            width = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True)
            return torch.addcmul(state.x * whole_cos, tangent, whole_sin / width)

        return step


def _unit(g: Points) -> Points:
    return g / size_of(g)


def _rotated(x: Points, g: Points, length: Lengths) -> Points:
    """Each row rotated towards g by length / |x| rad, |x| kept."""
    size, tangent = size_of(x), across(x, g)
    width = size_of(tangent)
    angle = length / size * (width > TINY)
    return torch.addcmul(x * angle.cos(), tangent, size * angle.sin() / width)
