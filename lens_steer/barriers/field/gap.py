"""Does the ODE matter? Its end against that of one step along the first field."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lens_steer.barriers.field.drawing import CLASS_COLOURS, sides
from lens_steer.barriers.field.sample import HeldOutRows
from lens_steer.barriers.field.walks import FlowPaths
from lens_steer.barriers.flows import GeodesicEuler, State
from lens_steer.intervals import Interval, band

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class GapReport:
    """Following the field to an angle against one rotation by that angle, row by row.

    Both end at a distance |a| from the origin; where a row has met a maximum the flow has stopped
    and the rotation has gone on.

    Attributes:
        angles: Above 0, rad.
        gap: |end of the flow - end of one step| / T with T = angle |a|.
        cosine: Of the two displacements; NaN where one of them is 0.
        lost: h at the end of the flow less h at the end of one step, nats.
    """

    angles: Float[Tensor, " angle"]
    gap: Float[Tensor, "angle n"]
    cosine: Float[Tensor, "angle n"]
    lost: Float[Tensor, "angle n"]
    sample: HeldOutRows

    @classmethod
    def of(cls, walks: FlowPaths, sample: HeldOutRows) -> "GapReport":
        """At every state but the first."""
        frame, start = walks.frame, walks.states[0]
        first, angles, found = State.start(frame.slope, start), walks.angles[1:], []
        for angle, end in zip(angles, walks.states[1:], strict=True):
            length = (angle * walks.sizes)[:, None]
            one = GeodesicEuler().step(frame.slope, first, length)
            cosine = cosine_similarity(end - start, one - start, dim=-1)
            still = (end == start).all(dim=-1) | (one == start).all(dim=-1)
            gap = (end - one).norm(dim=-1) / length[:, 0]
            cosine = torch.where(still, float("nan"), cosine)
            found.append((gap, cosine, frame.h(end) - frame.h(one)))
        gap, cosine, lost = (torch.stack(part) for part in zip(*found, strict=True))
        return cls(angles, gap, cosine, lost, sample)

    def at(
        self, angle: float | int, among: Bool[Tensor, " n"] | None = None
    ) -> dict[str, Interval]:
        """Mean `gap`, `cosine` and `lost` at an angle, linear between those measured.

        Args:
            among: The rows to take; None takes the undesired ones.

        Raises:
            ValueError: If the angle is not among those measured.
        """
        least, most = float(self.angles[0]), float(self.angles[-1])
        if not least <= angle <= most * (1 + 1e-12):
            raise ValueError(
                f"angle {angle}: measured from {least:g} to {most:g} rad; trace a larger angle"
            )
        after = min(int((self.angles < angle).sum()), len(self.angles) - 1)
        before = max(after - 1, 0)
        width = float(self.angles[after] - self.angles[before])
        share = (angle - float(self.angles[before])) / width if width else 0.0
        rows = ~self.sample.desired if among is None else among
        return {
            name: self.sample.interval(torch.lerp(values[before], values[after], share), rows)
            for name, values in self._measured().items()
        }

    def table(self) -> "pd.DataFrame":
        """A row per angle and class of the starts."""
        import pandas as pd

        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            for side, among in sides(self.sample).items():
                row = {"angle": angle, "start": side}
                for name, values in self._measured().items():
                    row |= self.sample.interval(values[i], among).columns(name)
                rows.append(row)
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The three against the angle."""
        from lens_steer.figures import canvas

        labels = {
            "gap": "|flow - one rotation| / T",
            "cosine": "cosine of the two displacements",
            "lost": "h(flow) - h(one rotation) (nats)",
        }
        with canvas(1, 3, width=10.0, height=3.2) as (figure, axes):
            for place, (name, values) in zip(axes, self._measured().items(), strict=True):
                for side, among in sides(self.sample).items():
                    found = [self.sample.interval(row, among) for row in values]
                    band(place, self.angles.tolist(), found, CLASS_COLOURS[side], f"{side} starts")
                place.set(xlabel="T / |a| (rad)", ylabel=labels[name])
            _open(*axes)
            axes[0].legend(loc="best", fontsize=7)
            figure.suptitle(f"{self.sample}; means with 95 % intervals", fontsize=9)
        return figure

    def _measured(self) -> dict[str, Float[Tensor, "angle n"]]:
        return {"gap": self.gap, "cosine": self.cosine, "lost": self.lost}


def _open(gap: Any, cosine: Any, lost: Any) -> None:
    """Axes wide enough for rounding to look like nothing."""
    gap.set_ylim(0.0, max(gap.get_ylim()[1], 0.01))
    low = min(cosine.dataLim.y0, 0.99)
    cosine.set_ylim(low - 0.03 * (1 - low), 1 + 0.03 * (1 - low))
    cosine.ticklabel_format(useOffset=False)
    low, high = lost.get_ylim()
    lost.set_ylim(min(low, -0.01), max(high, 0.01))
