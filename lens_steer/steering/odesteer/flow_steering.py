"""Flowing uphill in a barrier: by an angle, for a length, in one step, or to a target of h."""

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.barriers.flows import (
    Euler,
    FlowEnd,
    Frame,
    GeodesicMidpoint,
    Integrator,
    State,
    TargetReached,
    check_steps,
    flow,
    frame_of,
    seek,
)
from lens_steer.steering.odesteer.guided import (
    Guided,
    check_below_supremum,
    target_in_nats,
)

AnyODESteer = TypeVar("AnyODESteer", bound="ODESteer")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ODESteer(Guided):
    """Follows da/dt = grad h / |grad h|, by an angle or for an arc length T.

    Strength multiplies angle or length; below 0 it goes downhill. Rows that reach a maximum of h
    stay there (`at_maximum`). Several layers: steer by several of these at once,
    `steered(model, one, another)`; several barriers at one layer: a `JointBarrier`.

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

    Example:
        >>> barrier = ls.PolynomialBarrier.fit(resid.at(layer=3), seed=0)
        >>> method = ls.ODESteer(barrier, layer=3, angle=0.5)
        >>> downhill = -method

    Source: ODESteer (arXiv:2602.17560).
    """

    angle: float | int | None = field(default=None, kw_only=True)
    length: float | int | None = field(default=None, kw_only=True)
    steps: int = field(default=10, kw_only=True)
    integrator: Integrator = field(default_factory=GeodesicMidpoint, kw_only=True)
    only_outside: bool = field(default=False, kw_only=True)
    margin: float | int = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        knobs = [knob for knob in (self.angle, self.length) if knob is not None]
        if len(knobs) != 1 or not isfinite(knobs[0]):
            raise ValueError(
                f"angle {self.angle}, length {self.length}: expected one finite number, either an "
                "angle in rad or a length in units of the activation; 0 is no steering"
            )
        check_steps(self.steps)
        if not isinstance(self.integrator, Integrator):
            raise ValueError(f"got {self.integrator!r}, expected an integrator: Euler()")
        if not isfinite(self.margin):
            raise ValueError(f"margin {self.margin}: expected a finite number of nats")

    @classmethod
    def from_length(
        cls,
        barrier: Barrier,
        layer: int | None = None,
        *,
        T: float | int = 5.0,
        steps: int = 10,
        integrator: Integrator | None = None,
        only_outside: bool = False,
    ) -> "ODESteer":
        """Make the published form: the same arc length T for every norm, by default in Euler steps.

        Example:
            >>> ls.ODESteer.from_length(barrier, layer=3, T=5.0)
        """
        scheme = Euler() if integrator is None else integrator
        return cls(
            barrier,
            layer,
            length=T,
            steps=steps,
            integrator=scheme,
            only_outside=only_outside,
        )

    def at_maximum(self, x: Float[Tensor, "... d"]) -> Bool[Tensor, "..."]:
        """Which activations meet a maximum of h (at negative strength: a minimum) on their way.

        Raises:
            ValueError: As `flow`.
        """
        y = self._rows(x, self.sites[0])
        frame = self._frame(y)
        z = frame.enter(y)
        return self._walk(frame, z).at_maximum.reshape(x.shape[:-1])

    def __neg__(self: AnyODESteer) -> AnyODESteer:
        """The flow against the field, as far as this one goes along it: downhill."""
        return self.with_strength(-self.strength)

    def one_step(self, integrator: Integrator | None = None) -> "StepODESteer":
        """The same way in one step: along a tangent, or with `GeodesicEuler()` as a rotation."""
        scheme = Euler() if integrator is None else integrator
        return StepODESteer(**{**self._settings(), "steps": 1, "integrator": scheme})

    def to_target(
        self,
        *,
        h: float | int | None = None,
        probability: float | int | None = None,
        quantile: float | int | None = None,
        activations: LayerActivations | None = None,
    ) -> "TargetODESteer":
        """The same flow, but each activation stops where h reaches a target.

        Angle or length is then the most that one may walk.

        Args:
            h: The target, in nats.
            probability: Instead: of being desired, for classes of equal size; log(p / (1 - p)).
            quantile: Instead: of h on the desired `activations`, 0 to 1; 0.5 is their median.

        Raises:
            ValueError: Unless exactly one target is given; if it is out of range, or above sup h;
                the message then says sup h.
        """
        target = target_in_nats(self.barrier, h, probability, quantile, activations)
        return TargetODESteer(**self._settings(), target=target)

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

    def _settings(self) -> dict[str, Any]:
        """The fields of ODESteer but the report, for a related method."""
        return {f.name: getattr(self, f.name) for f in fields(ODESteer) if f.name != "report"}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class StepODESteer(ODESteer):
    """The whole way in one step, however far a maximum lies behind.

    `Euler()` adds T v(a); `GeodesicEuler()` turns a by the angle (slerp).
    """

    @override
    def _ends(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        length = (self.strength * self._lengths(y)).unsqueeze(-1)
        return self.integrator.step(frame.slope, State.start(frame.slope, y), length)


class Reach(NamedTuple):
    """How far a target is, at strength 1.

    Attributes:
        angle: Rad that each activation walks; 0 of those that are there.
        reached: False where the angle was used up, or a maximum of h met, before.
    """

    angle: Float[Tensor, "..."]
    reached: Bool[Tensor, "..."]


@savable
@dataclass(frozen=True, eq=False, repr=False)
class TargetODESteer(ODESteer):
    """Walks each activation until h is the target; those that have it stay, bit by bit.

    Strength multiplies the way that each has to walk: 0 is the identity, 1 ends at the target, 2
    goes as far again, and below 0 it goes downhill. Those that do not reach the target
    (`reach`) go as far as they can.

    Attributes:
        target: h, in nats; at or below every activation's own it is the identity.
        angle: The most that one may walk; or `length`.
    """

    target: float | int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_supremum(self.barrier, self.target)
        if min(knob for knob in (self.angle, self.length) if knob is not None) < 0:
            raise ValueError("the way to a target is at least 0: negative strength goes downhill")

    def reach(self, x: Float[Tensor, "... d"]) -> Reach:
        """How far the target is from each activation.

        Raises:
            ValueError: As `flow`.
        """
        y = self._rows(x, self.sites[0])
        frame = self._frame(y)
        z = frame.enter(y)
        end = self._seek(frame, z)
        angle = end.length / torch.linalg.vector_norm(z, dim=-1)
        return Reach(angle.reshape(x.shape[:-1]), end.reached.reshape(x.shape[:-1]))

    def _seek(self, frame: Frame, y: Float[Tensor, "n d"]) -> TargetReached:
        return seek(
            frame.slope,
            frame.h,
            y,
            self.target,
            self._lengths(y),
            steps=self.steps,
            integrator=self.integrator,
        )

    @override
    def _ends(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        nearest = self._seek(frame, y)
        if self.strength == 1:
            return nearest.points
        length = self.strength * nearest.length
        end = flow(frame.slope, y, length, steps=self.steps, integrator=self.integrator)
        return end.points
