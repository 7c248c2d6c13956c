"""How much the flow bends away from the great circle that one step takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.drawing import CLASS_COLOURS, sides
from lens_steer.barriers.field.sample import HeldOutRows
from lens_steer.barriers.field.walks import FlowPaths
from lens_steer.barriers.flows import dot, size_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_EVERY = 2  # of the states


@dataclass(frozen=True, eq=False)
class TurningReport:
    """Curvature of the flow on its way; to first order a gap of geodesic * angle / 2 in one step.

    Attributes:
        angles: Where on the way, rad.
        geodesic: |(I - v v' - x x') H v| / |g| per rad, x = a / |a|, v the field, g and H gradient
            and Hessian of h on the unit sphere: 0 where the flow follows a great circle. NaN of
            rows that have met a maximum.
        sizes: |a|.
    """

    angles: Float[Tensor, " state"]
    geodesic: Float[Tensor, "state n"]
    sizes: Float[Tensor, " n"]
    sample: HeldOutRows

    @classmethod
    def fit(cls, barrier: Barrier, walks: FlowPaths, sample: HeldOutRows) -> "TurningReport":
        """At every other state."""
        chosen = list(range(0, len(walks.angles), _EVERY))
        stop = torch.where(walks.at_maximum, walks.walked(), float("inf"))
        found = [_geodesic(barrier, walks.points(i)) for i in chosen]
        angles = walks.angles[chosen]
        there = angles[:, None] < stop * (1 - 1e-6)
        turning = torch.where(there, torch.stack(found), float("nan"))
        return cls(angles, turning, walks.sizes, sample)

    @property
    def ambient(self) -> Float[Tensor, "state n"]:
        """Curvature as a curve in space, per unit of activation: sqrt(geodesic^2 + 1) / |a|."""
        return (self.geodesic.square() + 1).sqrt() / self.sizes

    def table(self) -> "pd.DataFrame":
        """A row per angle and class of the starts; near a maximum a few rows make the mean."""
        import pandas as pd

        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            for side, among in sides(self.sample).items():
                low, middle, high = self._quartiles(i, side)
                row = {"angle": angle, "start": side, "median": middle, "q25": low, "q75": high}
                row |= self.sample.interval(self.geodesic[i], among).columns("geodesic")
                rows.append(row | self.sample.interval(self.ambient[i], among).columns("ambient"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Median and quartiles while half of the rows still move: at a maximum it has no bound."""
        from lens_steer.figures import canvas

        with canvas(width=4.8, height=3.2) as (figure, axes):
            for side in sides(self.sample):
                states = range(len(self.angles))
                low, middle, high = zip(*(self._shown(i, side) for i in states), strict=True)
                axes.plot(self.angles, middle, "o-", color=CLASS_COLOURS[side], label=f"{side} starts")
                axes.fill_between(self.angles, low, high, color=CLASS_COLOURS[side], alpha=0.2, lw=0)
            axes.set(xlabel="arc length / |a| (rad)", ylim=(0, max(axes.get_ylim()[1], 0.1)))
            axes.set(ylabel="geodesic curvature (per rad):\nmedian, quartiles")
            axes.set_title(f"{self.sample}\nrows that still move, while half of a class do")
            axes.legend(loc="best", fontsize=7)
        return figure

    def _shown(self, state: int, side: str) -> tuple[float, float, float]:
        own = self.geodesic[state, sides(self.sample)[side]]
        moving = float((~own.isnan()).double().mean())
        nan = float("nan")
        return self._quartiles(state, side) if moving >= 0.5 else (nan, nan, nan)

    def _quartiles(self, state: int, side: str) -> tuple[float, float, float]:
        """NaN where no row is left."""
        at = torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)
        own = self.geodesic[state, sides(self.sample)[side]]
        low, middle, high = own.nanquantile(at).tolist()
        return low, middle, high


def _geodesic(barrier: Barrier, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Of a Hessian in space: what it lacks of that on the sphere is along v."""
    size = size_of(a)
    x = a / size
    slope = barrier.grad(a)
    slope = slope - dot(slope, x) * x
    length = size_of(slope)
    v = slope / length
    bend = barrier.hessian_vector(a, v)
    bend = bend - dot(bend, x) * x
    bend = bend - dot(bend, v) * v
    return (size * bend.norm(dim=-1, keepdim=True) / length)[:, 0]
