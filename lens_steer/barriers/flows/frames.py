"""The coordinates that a barrier's flow is computed in.

A flow along a quadratic form on the sphere commutes with rotations. In the eigenvectors of A it is
elementwise, and of what is outside of them and of q only the length matters: whatever the scheme
and the number of steps, a flow costs two matrix products, into these coordinates and back.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.flows.state import FormSlope, Points, Slope, across, dot, size_of
from lens_steer.barriers.polynomial import PolynomialBarrier

_BLOCK = 2**17  # numbers; measured best of 2**14 to 2**18 and all at once, d = 256 and 1024
_IN_SPAN = 1e-10  # share of |q|, float64, below which q counts as lying among the eigenvectors


Coordinates = Float[Tensor, "*rows m"]


class Frame(ABC):
    """A barrier in coordinates in which its flow is cheap; lengths are those of the activations."""

    @abstractmethod
    def enter(self, x: Points) -> Coordinates:
        """The coordinates of activations."""

    @abstractmethod
    def leave(self, x: Points, start: Coordinates, end: Coordinates) -> Points:
        """The activations moved as `start` to `end`; x, bit by bit, where these are equal."""

    @property
    @abstractmethod
    def slope(self) -> Slope:
        """What a flow follows: the gradient of h, up to a factor that depends on |y| alone."""

    @abstractmethod
    def grad(self, y: Points) -> Points:
        """The gradient of h, with its length."""

    @abstractmethod
    def h(self, y: Points) -> Float[Tensor, "*rows"]:
        """The barrier's value, nats."""


@dataclass(frozen=True, eq=False)
class Ambient(Frame):
    """The activations' own coordinates: right for every barrier.

    Attributes:
        barrier: The barrier.
        tangent: Whether to leave out the part of the gradient that changes |a|.
    """

    barrier: Barrier
    tangent: bool

    @override
    def enter(self, x: Points) -> Coordinates:
        return x

    @override
    def leave(self, x: Points, start: Coordinates, end: Coordinates) -> Points:
        del x, start
        return end

    @property
    @override
    def slope(self) -> Slope:
        return self._tangent if self.tangent else self.grad

    @override
    def grad(self, y: Points) -> Points:
        # Where y is 0, barriers of directions have no gradient.
        return torch.where(y.any(dim=-1, keepdim=True), self.barrier.unchecked_grad(y), 0.0)

    @override
    def h(self, y: Points) -> Float[Tensor, "*rows"]:
        return self.barrier.unchecked_h(y)

    def _tangent(self, y: Points) -> Points:
        return across(y, self.grad(y))


@dataclass(frozen=True, eq=False)
class Principal(Frame):
    """Eigenvectors of A, the part of q outside of them, and the length of what is left.

    Attributes:
        basis: Orthonormal; A and q are 0 outside of it.
        eigenvalues: Of A, by column, and 0 for what is left.
        linear: q, by column, and 0 for what is left.
        constant: c.
    """

    basis: Float[Tensor, "d k"]
    eigenvalues: Float[Tensor, " m"]
    linear: Float[Tensor, " m"]
    constant: float

    @classmethod
    def of(cls, barrier: PolynomialBarrier, like: Tensor) -> "Principal":
        """The frame of a quadratic barrier, in the device and dtype of `like`."""
        v, q = barrier.basis.double(), barrier.linear.double()
        linear = v.T @ q
        outside = q - v @ linear
        outside = outside - v @ (v.T @ outside)
        values, size = barrier.eigenvalues.double(), outside.norm()
        zero = values.new_zeros(1)
        if v.shape[1] < len(q) and float(size) > _IN_SPAN * float(q.norm()):
            v = torch.cat([v, (outside / size)[:, None]], dim=1)
            values, linear = torch.cat([values, zero]), torch.cat([linear, size[None]])
        if v.shape[1] < len(q):
            values, linear = torch.cat([values, zero]), torch.cat([linear, zero])
        return cls(v.to(like), values.to(like), linear.to(like), float(barrier.constant))

    @override
    def enter(self, x: Points) -> Coordinates:
        y = x @ self.basis
        if self._complete:
            return y
        # Where nothing is left, |left| is rounding, a few ulps of |x|: only its ratio is used.
        total = dot(x, x)
        left = (total - dot(y, y)).maximum(torch.finfo(x.dtype).eps * total).sqrt()
        return torch.cat([y, left], dim=-1)

    @override
    def leave(self, x: Points, start: Coordinates, end: Coordinates) -> Points:
        if self._complete:
            return x + self._back(end - start)
        y, moved = start[..., :-1], end[..., :-1]
        share = torch.where(start[..., -1:] > 0, end[..., -1:] / start[..., -1:], 1.0)
        return x * share + self._back(moved - share * y)

    @property
    @override
    def slope(self) -> Slope:
        return FormSlope(self.eigenvalues, self.linear)

    @override
    def grad(self, y: Points) -> Points:
        return self.slope(y) * (2 / size_of(y))

    @override
    def h(self, y: Points) -> Float[Tensor, "*rows"]:
        x = y / size_of(y)
        return x.square() @ self.eigenvalues + 2 * (x @ self.linear) + self.constant

    def _back(self, y: Coordinates) -> Points:
        """Out of the coordinates; with few rows a third faster as columns (one thread, fp32)."""
        few = y.ndim == 2 and len(y) < self.basis.shape[0]
        return (self.basis @ y.T).T if few else y @ self.basis.T

    @property
    def _complete(self) -> bool:
        return self.basis.shape[1] == len(self.eigenvalues)


# Measured on a busy machine (CPU ms of 10 Euler steps, fp32, one thread): by the barrier's own
# gradient / here / here with all d eigenvectors though the rank is less.
#   d     rank   1 row              32 rows            1024 rows
#   256     16   4.9 / 2.7 / 3.4    5.5 / 3.3 / 3.7     55 / 8.5 / 34
#   256    256   5.5 / 3.0 / 2.4    5.6 / 2.3 / 2.0     84 / 28 / 27
#   1024    16   2.9 / 2.3 / 2.7    8.4 / 3.1 / 8.1    180 / 8.6 / 181
#   1024    64   5.6 / 2.6 / 2.5    8.1 / 2.8 / 5.6    210 / 14 / 153
#   1024  1024    10 / 2.8 / 2.8     40 / 7.2 / 6.8    983 / 183 / 178
# So these coordinates are taken whatever the rank, and never more of them than the rank needs.
def frame_of(barrier: Barrier, like: Tensor, *, tangent: bool) -> Frame:
    """The fastest exact coordinates for a flow, in the device and dtype of `like`.

    Args:
        barrier: The barrier that is followed.
        like: A tensor of the wanted device and dtype.
        tangent: Whether the flow is to keep |a|, as a geodesic integrator does.
    """
    if isinstance(barrier, PolynomialBarrier):
        return Principal.of(barrier, like)
    return Ambient(barrier.to(device=like.device, dtype=like.dtype), tangent)


def move_in_frame(frame: Frame, x: Points, move: Callable[[Tensor], Tensor]) -> Points:
    """Move activations by what `move` does to their coordinates, row by row.

    On a CPU this takes a block of rows at a time, small enough to stay in the cache.
    """
    rows = x.reshape(-1, x.shape[-1])
    start = frame.enter(rows)
    size = max(1, _BLOCK // start.shape[-1]) if x.device.type == "cpu" else max(1, len(rows))
    end = torch.cat([move(block) for block in start.split(size)])
    return frame.leave(rows, start, end).reshape(x.shape)
