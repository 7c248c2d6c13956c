"""The flow of every held-out row, on the sphere through it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Angle
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.flows import Frame, GeodesicMidpoint, frame_of, size_of, trajectory
from lens_steer.reports import short_repr

STATES = 20  # states that are kept after the start
_STEPS_PER_STATE = 4  # 80 in all, where the error of a smooth flow is about 1e-6 of its length


@dataclass(frozen=True, eq=False)
class FlowPaths:
    """Where each row is after an arc length of angle * |a|, for angles from 0 on.

    What is measured along the flow is measured on these states. The flow follows the part of
    grad h that is tangent to the sphere; of a barrier of directions that is all of it.

    Attributes:
        frame: The coordinates that the states are in.
        start: The rows.
        angles: Rad.
        states: In coordinates of the frame, where distances are those of the activations.
        at_maximum: Rows that met a maximum of h on their way and stopped.
    """

    frame: Frame
    start: Float[Tensor, "n d"]
    angles: Float[Tensor, " state"]
    states: Float[Tensor, "state n m"]
    at_maximum: Bool[Tensor, " n"]

    __repr__ = short_repr

    @classmethod
    def of(cls, barrier: Barrier, start: Float[Tensor, "n d"], angle: Angle) -> "FlowPaths":
        """The paths of float64 rows up to an angle."""
        frame = frame_of(barrier, start, tangent=True)
        y = frame.enter(start)
        length = angle * size_of(y)[..., 0]
        steps, way = STATES * _STEPS_PER_STATE, GeodesicMidpoint()
        path = trajectory(frame.slope, y, length, steps=steps, integrator=way)
        angles = torch.linspace(0, angle, STATES + 1, dtype=torch.double)
        return cls(frame, start, angles, path.states[::_STEPS_PER_STATE].clone(), path.at_maximum)

    @property
    def sizes(self) -> Float[Tensor, " n"]:
        """The length |a| of each row."""
        return self.start.norm(dim=-1)

    def points(self, state: int) -> Float[Tensor, "n d"]:
        """The activations of one state."""
        return self.frame.leave(self.start, self.states[0], self.states[state])

    def walked(self) -> Float[Tensor, " n"]:
        """The angle in rad that each row has walked in all, by great circles between states."""
        chords = (self.states[1:] - self.states[:-1]).norm(dim=-1) / (2 * self.sizes)
        return 2 * torch.asin(chords.clamp(max=1.0)).sum(dim=0)  # above 1 by rounding only
