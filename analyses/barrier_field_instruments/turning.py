"""How much the flow bends away from the great circle that one step takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.barriers import Barrier
from lens_steer.barriers.field import CLASS_COLOURS, FlowPaths, HeldOutRows
from lens_steer.barriers.flows import dot, size_of
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_EVERY = 2  # of the states


@dataclass(frozen=True, eq=False, repr=False)
class TurningReport(Report):
    """How much a flow bends, which is what one step misses: its curvature along the way.

    To first order the gap of one step is geodesic * angle / 2.

    Attributes:
        angles: Where on the way, rad.
        geodesic: |(I - v v' - x x') H v| / |g| per rad, where x = a / |a|, v is the field, and g
            and H are gradient and Hessian of h on the unit sphere: 0 where the flow follows a great
            circle, NaN for rows that have met a maximum.
        sizes: |a|.
        sample: The rows.
    """

    angles: Float[Tensor, " state"]
    geodesic: Float[Tensor, "state n"]
    sizes: Float[Tensor, " n"]
    sample: HeldOutRows

    @classmethod
    def of(cls, barrier: Barrier, paths: FlowPaths, sample: HeldOutRows) -> "TurningReport":
        """The report of rows along their paths, at every other state."""
        chosen = list(range(0, len(paths.angles), _EVERY))
        stop = torch.where(paths.at_maximum, paths.walked(), float("inf"))
        curvature = torch.stack([_geodesic(barrier, paths.points(i)) for i in chosen])
        angles = paths.angles[chosen]
        moving = angles[:, None] < stop * (1 - 1e-6)
        turning = torch.where(moving, curvature, float("nan"))
        return cls(angles, turning, paths.sizes, sample)

    @property
    def ambient(self) -> Float[Tensor, "state n"]:
        """The curvature as a curve in space, per unit of activation: sqrt(geodesic^2 + 1) / |a|."""
        return (self.geodesic.square() + 1).sqrt() / self.sizes

    @override
    def table(self) -> "pd.DataFrame":
        """A row per angle and class of the starts; near a maximum a few rows make the mean."""
        import pandas as pd

        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            for side, among in self.sample.by_class.items():
                low, middle, high = self._quartiles(i, side)
                row = {"angle": angle, "start": side, "median": middle, "q25": low, "q75": high}
                row |= self.sample.interval(self.geodesic[i], among).columns("geodesic")
                rows.append(row | self.sample.interval(self.ambient[i], among).columns("ambient"))
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Median and quartiles while half of the rows still move: at a maximum it has no bound."""
        from lens_steer.figures import canvas, legend_outside

        with canvas(width=4.8, height=3.2) as (figure, axes):
            for side, colour in CLASS_COLOURS.items():
                states = range(len(self.angles))
                low, middle, high = zip(*(self._drawn(i, side) for i in states), strict=True)
                axes.plot(self.angles, middle, "o-", color=colour, label=f"{side} starts")
                axes.fill_between(self.angles, low, high, color=colour, alpha=0.2, lw=0)
            axes.set(xlabel="arc length / |a| (rad)", ylim=(0, max(axes.get_ylim()[1], 0.1)))
            axes.set(ylabel="geodesic curvature (per rad):\nmedian, quartiles")
            axes.set_title(f"{self.sample}\nrows that still move, while half of a class do")
            legend_outside(figure)
        return figure

    def _drawn(self, state: int, side: str) -> tuple[float, float, float]:
        values = self.geodesic[state, self.sample.by_class[side]]
        moving = float((~values.isnan()).double().mean())
        nan = float("nan")
        return self._quartiles(state, side) if moving >= 0.5 else (nan, nan, nan)

    def _quartiles(self, state: int, side: str) -> tuple[float, float, float]:
        """The quartiles over rows that move; NaN where no row is left."""
        levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)
        values = self.geodesic[state, self.sample.by_class[side]]
        low, middle, high = values.nanquantile(levels).tolist()
        return low, middle, high


def _geodesic(barrier: Barrier, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The geodesic curvature; the Hessian in space differs from that on the sphere along v only."""
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
