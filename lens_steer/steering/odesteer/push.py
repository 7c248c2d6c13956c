"""The smallest push that lifts h to a margin."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.barriers.flows import Frame, dot, frame_of, size_of
from lens_steer.steering.odesteer.guided import Guided, check_below_supremum

# Measured on quadratic forms of 16 to 256 dimensions: whole slides diverge where the level set is
# strongly curved, shares of 0.3 to 0.5 do not unless the margin is near sup h.
_SLIDES, _SHARE, _RISES = 24, 0.4, 8
_FAR = 0.2  # rad that one round may turn by: beyond, what was linearised says little


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierPush(Guided):
    """a + strength * u with a shortest u such that h(a + u) = margin.

    Where h >= margin nothing is done, bit by bit. One push u = (margin - h) g / |g|^2 along the
    gradient g misses the margin, so pushes are repeated from where the last one led, each beside
    a slide along the level set back towards a; the last ones are pushes alone, which settle h. For
    a margin near sup h the slides may not have settled by then, and u is longer than it need be;
    and an activation that climbs a lower maximum of h stays below the margin: look at h of
    `flow(x)`. Where h knows directions alone, the end is shorter than a, |a| times the cosine of
    the turn; `ODESteer.to_target` keeps |a|.

    Attributes:
        margin: h to reach, in nats; at or below every activation's own it is the identity.
    """

    margin: float | int = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_supremum(self.barrier, self.margin)

    def _frame(self, like: Tensor) -> Frame:
        return frame_of(self.barrier, like, tangent=False)

    def _move(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        inside, end = (frame.h(y) >= self.margin)[:, None], y
        for i in range(_SLIDES + _RISES):
            g, far = frame.grad(end), _FAR * size_of(end)
            square = size_of(g).square()
            rise = g * ((self.margin - frame.h(end)[:, None]) / square)
            back = y - end
            slide = _SHARE * torch.addcmul(back, g, dot(back, g) / square, value=-1)
            end = end + _at_most(rise, far)
            if i < _SLIDES:
                end = end + _at_most(slide, far)
        return torch.where(inside, y, y + self.strength * (end - y))


def _at_most(step: Float[Tensor, "n d"], far: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
    return step * (far / size_of(step)).clamp_max(1.0)
