"""The flow along a barrier's gradient: how far each activation walks, and where it ends."""

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TypeVar

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
from lens_steer.linearity import LinearityReport
from lens_steer.sites import Kind
from lens_steer.steering.odesteer.guided import Guided

AnyFlow = TypeVar("AnyFlow", bound="BarrierFlow")


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
        limit: The most that an activation walks, rad, whatever the strength; None is no limit. See
            `within`.
    """

    angle: Angle | None = field(default=None, kw_only=True)
    length: Number | None = field(default=None, kw_only=True)
    steps: Count = field(default=10, kw_only=True)
    integrator: Integrator = field(default_factory=GeodesicMidpoint, kw_only=True)
    only_outside: bool = field(default=False, kw_only=True)
    margin: Number = field(default=0.0, kw_only=True)
    limit: Angle | None = field(
        default=None, kw_only=True, repr=False, metadata={"saved_if_set": True}
    )

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
        if self.limit is not None and not (isfinite(self.limit) and self.limit > 0):
            raise ValueError(f"limit {self.limit!r}: expected an angle above 0 in rad, or None")

    def within(self: AnyFlow, report: LinearityReport) -> AnyFlow:
        """The same flow, limited to where the block that its activations enter is linear.

        The steered activation enters the block behind `layer`, and the limit is that block's
        `trust_radius`, |d| / |a|, taken as an angle: a way is never shorter than the chord d
        between its ends, so that |d| stays within the radius at any strength. The radius is
        measured along the feature, not along the flow, and says nothing of what steering costs.

        Args:
            report: Of the same model, from `ls.linearity.diagnose`.

        Raises:
            ValueError: If no block follows, or that block has no trust radius above 0.

        Example:
            >>> method = ls.ODESteer(barrier, layer=3, angle=0.5).within(report)
        """
        radii = report.trust_radius.tolist()
        assert self.layer is not None  # set when made
        block = self.layer + 1
        if self.barrier.kind is not Kind.RESID:
            raise ValueError(
                f"this flow steers {self.barrier.kind.value}, and trust radii are of the residual "
                "stream that enters a block: expected a barrier of kind 'resid'"
            )
        if block >= len(radii):
            raise ValueError(
                f"layer {self.layer} has no trust radius: no block of the {len(radii)} in this "
                "report follows it; steer at an earlier layer, or without a limit"
            )
        if not radii[block] > 0:  # NaN where there is no feature
            raise ValueError(
                f"layer {self.layer} has no trust radius: that of block {block}, which follows it, "
                f"is {radii[block]:g}; diagnose smaller radii or another layer"
            )
        return replace(self, limit=radii[block], report=None)

    @property
    @override
    def max_useful_strength(self) -> float:
        if self.limit is None or not self.angle:
            return super().max_useful_strength
        return self.limit / abs(self.angle)

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

    def _limited(self, way: Float[Tensor, " n"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """A way as far as the limit lets each activation go."""
        if self.limit is None:
            return way
        most = self.limit * torch.linalg.vector_norm(y, dim=-1)
        return way.minimum(most).maximum(-most)

    def _summary(self) -> list[str]:
        return [] if self.limit is None else [f"limit={self.limit:.3g}"]

    @override
    def _frame(self, like: Tensor) -> Frame:
        return frame_of(self.barrier, like, tangent=self.integrator.geodesic)

    def _walk(self, frame: Frame, y: Float[Tensor, "n d"]) -> FlowEnd:
        length = self._limited(self.strength * self._lengths(y), y)
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
