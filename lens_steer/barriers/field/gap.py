"""Does the ODE matter? The end of the flow against the end of one step along the first field."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity
from typing_extensions import override

from lens_steer.arguments import Angle
from lens_steer.artifacts import savable
from lens_steer.barriers.field.held_out import CLASS_COLOURS, HeldOutRows
from lens_steer.barriers.field.paths import FlowPaths
from lens_steer.barriers.flows import GeodesicEuler, State
from lens_steer.intervals import Interval, plot_band
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class GapReport(Report):
    """What many steps buy over one: the flow to an angle against one rotation by that angle.

    Both end at a distance |a| from the origin. Where a row has met a maximum, the flow has stopped
    and the rotation has gone on.

    Attributes:
        angles: Above 0, rad.
        gap: |end of the flow - end of one step| / T with T = angle |a|.
        cosine: Of the two displacements; NaN where one of them is 0.
        lost: h at the end of the flow less h at the end of one step, nats.
        sample: The rows.
    """

    angles: Float[Tensor, " angle"]
    gap: Float[Tensor, "angle n"]
    cosine: Float[Tensor, "angle n"]
    lost: Float[Tensor, "angle n"]
    sample: HeldOutRows

    @classmethod
    def of(cls, paths: FlowPaths, sample: HeldOutRows) -> "GapReport":
        """The report of rows along their paths, at every state but the first."""
        frame, start = paths.frame, paths.states[0]
        first, angles, parts = State.start(frame.slope, start), paths.angles[1:], []
        for angle, end in zip(angles, paths.states[1:], strict=True):
            length = (angle * paths.sizes)[:, None]
            one = GeodesicEuler().step(frame.slope, first, length)
            cosine = cosine_similarity(end - start, one - start, dim=-1)
            still = (end == start).all(dim=-1) | (one == start).all(dim=-1)
            gap = (end - one).norm(dim=-1) / length[:, 0]
            cosine = torch.where(still, float("nan"), cosine)
            parts.append((gap, cosine, frame.h(end) - frame.h(one)))
        gap, cosine, lost = (torch.stack(part) for part in zip(*parts, strict=True))
        return cls(angles, gap, cosine, lost, sample)

    def at(self, angle: Angle, among: Bool[Tensor, " n"] | None = None) -> dict[str, Interval]:
        """The mean `gap`, `cosine` and `lost` at an angle, linear between the angles measured.

        Args:
            among: The rows to take; None takes the undesired ones.

        Raises:
            ValueError: If the angle is below or above those measured.
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

    @override
    def table(self) -> "pd.DataFrame":
        """A row per angle and class of the starts."""
        import pandas as pd

        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            for side, among in self.sample.by_class.items():
                row = {"angle": angle, "start": side}
                for name, values in self._measured().items():
                    row |= self.sample.interval(values[i], among).columns(name)
                rows.append(row)
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Gap, cosine and lost h against the angle."""
        from lens_steer.figures import canvas, legend_outside

        labels = {
            "gap": "|flow - one rotation| / T",
            "cosine": "cosine of the two displacements",
            "lost": "h(flow) - h(one rotation) (nats)",
        }
        with canvas(1, 3, width=10.0, height=3.2) as (figure, axes):
            for place, (name, values) in zip(axes, self._measured().items(), strict=True):
                for side, among in self.sample.by_class.items():
                    means = [self.sample.interval(row, among) for row in values]
                    plot_band(
                        place, self.angles.tolist(), means, CLASS_COLOURS[side], f"{side} starts"
                    )
                place.set(xlabel="T / |a| (rad)", ylabel=labels[name])
            _widen_limits(axes[0], axes[1], axes[2])
            legend_outside(figure, axes[0])
            figure.suptitle(f"{self.sample}; means with 95 % intervals", fontsize=9)
        return figure

    def _measured(self) -> dict[str, Float[Tensor, "angle n"]]:
        return {"gap": self.gap, "cosine": self.cosine, "lost": self.lost}


def _widen_limits(gap: Any, cosine: Any, lost: Any) -> None:
    """Make the axes so wide that rounding looks like 0."""
    gap.set_ylim(0.0, max(gap.get_ylim()[1], 0.01))
    low = min(cosine.dataLim.y0, 0.99)
    cosine.set_ylim(low - 0.03 * (1 - low), 1 + 0.03 * (1 - low))
    cosine.ticklabel_format(useOffset=False)
    low, high = lost.get_ylim()
    lost.set_ylim(min(low, -0.01), max(high, 0.01))
