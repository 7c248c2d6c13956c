"""The flow along a barrier's gradient: how far each activation walks, and where it ends."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Angle, Count, Number
from lens_steer.barriers.flows import (
    FlowEnd,
    Frame,
    GeodesicMidpoint,
    Integrator,
    check_steps,
    flow,
    frame_of,
)
from lens_steer.steering.odesteer.guided import Guided


@dataclass(frozen=True, eq=False, repr=False)
class BarrierFlow(Guided):
    """Moves activations along the unit gradient of a barrier, by an angle or for a length.

    Strength multiplies angle or length; below 0 it goes downhill. Rows that reach a maximum of h
    stay there (`at_maximum`).

    Attributes:
        angle: T / |a| in rad, the same turn for every activation whatever its norm; 0 is the
            identity. On the sphere it is the length of the way, at least the angle between its
            ends.
        length: Instead of the angle: T in units of the activation, the same for every activation;
            0 is the identity. The paper's knob, there 5.
        steps: Equal parts of the way.
        integrator: Default: geodesic midpoint, which keeps |a| and whose error falls with the
            square of the step. `Euler()` is the paper's: |a|^2 grows by T^2 / steps.
        only_outside: Leave activations with h >= margin as they are, bit by bit.
        margin: In nats.
    """

    angle: Angle | None = field(default=None, kw_only=True)
    length: Number | None = field(default=None, kw_only=True)
    steps: Count = field(default=10, kw_only=True)
    integrator: Integrator = field(default_factory=GeodesicMidpoint, kw_only=True)
    only_outside: bool = field(default=False, kw_only=True)
    margin: Number = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        knobs = [knob for knob in (self.angle, self.length) if knob is not None]
        if len(knobs) != 1:
            raise ValueError(
                f"angle {self.angle}, length {self.length}: expected one finite number, either an "
                "angle in rad or a length in units of the activation; 0 is no steering"
            )
        check_steps(self.steps)
        if not isinstance(self.integrator, Integrator):
            raise ValueError(f"got {self.integrator!r}, expected an integrator: Euler()")

    def at_maximum(self, x: Float[Tensor, "... d"]) -> Bool[Tensor, "..."]:
        """Which activations meet a maximum of h (at negative strength: a minimum) on their way.

        Raises:
            ValueError: As `flow`.
        """
        y = self._rows(x, self.sites[0])
        frame = self._frame(y)
        z = frame.enter(y)
        return self._walk(frame, z).at_maximum.reshape(x.shape[:-1])

    def _lengths(self, y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """How far each activation is to walk at strength 1."""
        if self.length is not None:
            return y.new_full(y.shape[:-1], float(self.length))
        assert self.angle is not None  # checked when made
        return self.angle * torch.linalg.vector_norm(y, dim=-1)

    @override
    def _frame(self, like: Tensor) -> Frame:
        return frame_of(self.barrier, like, tangent=self.integrator.geodesic)

    def _walk(self, frame: Frame, y: Float[Tensor, "n d"]) -> FlowEnd:
        length = self.strength * self._lengths(y)
        return flow(frame.slope, y, length, steps=self.steps, integrator=self.integrator)

    def _ends(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where coordinates go, whether or not `only_outside` then leaves them alone."""
        return self._walk(frame, y).points

    @override
    def _move(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        ends = self._ends(frame, y)
        if not self.only_outside:
            return ends
        return torch.where((frame.h(y) >= self.margin)[:, None], y, ends)
