"""Flowing until h has a value, activation by activation."""

from dataclasses import dataclass, field
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.barriers.flows import Frame, TargetReached, flow, seek
from lens_steer.steering.odesteer.flow_steering import ODESteer
from lens_steer.steering.odesteer.guided import check_below_supremum


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
        y = self._checked(x)
        frame = self._frame(y)
        z = frame.enter(y.reshape(-1, y.shape[-1]))
        found = self._seek(frame, z)
        angle = found.length / torch.linalg.vector_norm(z, dim=-1)
        return Reach(angle.reshape(x.shape[:-1]), found.reached.reshape(x.shape[:-1]))

    def _seek(self, frame: Frame, y: Float[Tensor, "n d"]) -> TargetReached:
        return seek(
            *(frame.slope, frame.h, y, self.target, self._lengths(y)),
            steps=self.steps,
            integrator=self.integrator,
        )

    def _ends(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        found = self._seek(frame, y)
        if self.strength == 1:
            return found.points
        length = self.strength * found.length
        end = flow(frame.slope, y, length, steps=self.steps, integrator=self.integrator)
        return end.points


def target_of(
    barrier: Barrier,
    h: float | int | None,
    probability: float | int | None,
    quantile: float | int | None,
    activations: LayerActivations | None,
) -> float:
    """The target in nats, given in one of three ways; see `ODESteer.to_target`."""
    one = [h, probability, quantile].count(None) == 2
    if not one or (quantile is None) != (activations is None):
        raise ValueError(
            "expected one target: h, probability, or quantile with the activations it is of"
        )
    if probability is not None:
        if not 0 < probability < 1:
            raise ValueError(f"probability {probability}: expected between 0 and 1")
        return log(probability / (1 - probability))
    if quantile is not None and activations is not None:
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile {quantile}: expected 0 to 1")
        return float(torch.quantile(barrier.h(activations.desired.double()), float(quantile)))
    assert h is not None  # one of the three is given
    return float(h)
