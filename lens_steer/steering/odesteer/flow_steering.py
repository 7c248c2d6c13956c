"""ODESteer: uphill in a barrier by an angle, for a length, in one step, or to a target of h."""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Count, Layer, Number
from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.barriers.flows import (
    Euler,
    Frame,
    Integrator,
    State,
    TargetReached,
    flow,
    seek,
)
from lens_steer.steering.odesteer.barrier_flow import BarrierFlow
from lens_steer.steering.odesteer.guided import check_below_supremum, target_in_nats

AnyODESteer = TypeVar("AnyODESteer", bound="ODESteer")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ODESteer(BarrierFlow):
    """Follows da/dt = grad h / |grad h|, by an angle or for an arc length T.

    Its settings are those of `BarrierFlow`: `angle` or `length`, `steps`, `integrator`,
    `only_outside`, `margin` and `limit` (`within`). Several layers: steer by several of these at
    once, `steered(model, one, another)`; several barriers at one layer: a `JointBarrier`.

    Example:
        >>> barrier = ls.PolynomialBarrier.fit(resid.at(layer=3), seed=0)
        >>> method = ls.ODESteer(barrier, layer=3, angle=0.5)
        >>> downhill = -method

    Source: ODESteer (arXiv:2602.17560).
    """

    @classmethod
    def from_length(
        cls,
        barrier: Barrier,
        layer: Layer | None = None,
        *,
        T: Number = 5.0,
        steps: Count = 10,
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
        h: Number | None = None,
        probability: Number | None = None,
        quantile: Number | None = None,
        activations: LayerActivations | None = None,
    ) -> "TargetODESteer":
        """The same flow, but each activation stops where h reaches a target.

        Angle or length is then the most that one may walk.

        Args:
            h: The target, in nats of the barrier as it is.
            probability: Instead: of being desired, for classes of equal size. The target is then
                log(p / (1 - p)) of h calibrated on `activations`.
            quantile: Instead: of h on the desired `activations`, 0 to 1; 0.5 is their median.
            activations: Held out: the barrier was not fitted on them. A probability needs none
                where the barrier is `calibrated` already.

        Raises:
            ValueError: Unless exactly one target is given; if it is out of range, above sup h (the
                message says sup h), or every undesired one of `activations` has it already; if a
                probability is asked of a barrier that is not calibrated, or cannot be.

        Example:
            >>> flow = ls.ODESteer(barrier, layer=3, angle=0.5)
            >>> flow.to_target(probability=0.9, activations=dev.at(layer=3))
        """
        target = target_in_nats(self.barrier, h, probability, quantile, activations)
        return TargetODESteer(**self._settings(), target=target)

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
        length = self._limited(self.strength * self._lengths(y), y).unsqueeze(-1)
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

    target: Number = field(kw_only=True)

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
            self._limited(self._lengths(y), y),
            steps=self.steps,
            integrator=self.integrator,
        )

    @override
    def _ends(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        nearest = self._seek(frame, y)
        if self.strength == 1:
            return nearest.points
        length = self._limited(self.strength * nearest.length, y)
        end = flow(frame.slope, y, length, steps=self.steps, integrator=self.integrator)
        return end.points
