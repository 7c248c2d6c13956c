"""How h rises along the flow, and where rows come to look desired."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.held_out import CLASS_COLOURS, HeldOutRows
from lens_steer.barriers.field.paths import STATES, FlowPaths
from lens_steer.barriers.flows import GeodesicMidpoint, seek
from lens_steer.barriers.polynomial import PolynomialBarrier
from lens_steer.intervals import Interval, plot_band
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class RiseReport(Report):
    """How far held-out rows must be turned until they count as desired: h against the angle walked.

    That h rises along its own gradient is how the flow is made; the angle it takes is measured.

    Attributes:
        angles: Arc length over |a|, rad.
        h: Nats.
        entry: First angle with h >= 0: 0 for rows that start there, infinite for those that do
            not come there within the largest angle.
        arrival: Angle at which a row met a maximum of h and stopped, else infinite.
        supremum: Largest h of any activation, or None where it is not known (barriers that are no
            quadratic form).
        sample: The rows.
    """

    angles: Float[Tensor, " state"]
    h: Float[Tensor, "state n"]
    entry: Float[Tensor, " n"]
    arrival: Float[Tensor, " n"]
    supremum: float | None
    sample: HeldOutRows

    @classmethod
    def of(cls, barrier: Barrier, paths: FlowPaths, sample: HeldOutRows) -> "RiseReport":
        """The report of rows along their paths."""
        frame, never = paths.frame, float("inf")
        start, length = paths.states[0], paths.angles[-1] * paths.sizes
        way = GeodesicMidpoint()
        zero = seek(frame.slope, frame.h, start, 0.0, length, steps=STATES, integrator=way)
        entry = torch.where(zero.reached, zero.length / paths.sizes, never)
        arrival = torch.where(paths.at_maximum, paths.walked(), never)
        top = barrier.supremum().value if isinstance(barrier, PolynomialBarrier) else None
        return cls(paths.angles, frame.h(paths.states), entry, arrival, top, sample)

    @property
    def desired_median(self) -> float:
        """The median h of held-out desired rows where they are, nats."""
        return float(self.h[0, self.sample.desired].quantile(0.5))

    @property
    def never(self) -> Interval:
        """The share of the undesired rows that do not come to h >= 0."""
        return self.sample.share(self.entry.isinf(), ~self.sample.desired)

    @property
    def at_maximum(self) -> Interval:
        """The share of the undesired rows whose flow stopped at a maximum."""
        return self.sample.share(self.arrival.isfinite(), ~self.sample.desired)

    @property
    def median_entry(self) -> float:
        """The median entry of the undesired rows, rad; infinite if fewer than half enter."""
        return float(self.entry[~self.sample.desired].quantile(0.5, interpolation="higher"))

    @override
    def table(self) -> "pd.DataFrame":
        """A row per angle and class of the starts, h in nats."""
        import pandas as pd

        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            for side, among in self.sample.by_class.items():
                low, middle, high = self._quartiles(i, side)
                row = {"angle": angle, "start": side, "median": middle, "q25": low, "q75": high}
                row |= self.sample.interval(self.h[i], among).columns("mean")
                inside = self.sample.share(self.entry <= angle, among)
                rows.append(row | inside.columns("inside"))
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Median and quartiles of h, and the share that has come to h >= 0."""
        from lens_steer.figures import canvas

        with canvas(1, 2, width=8.4, height=3.7) as (figure, (left, right)):
            for side, colour in CLASS_COLOURS.items():
                low, middle, high = zip(
                    *(self._quartiles(i, side) for i in range(len(self.angles))), strict=True
                )
                left.plot(self.angles, middle, color=colour, label=f"{side} starts")
                left.fill_between(self.angles, low, high, color=colour, alpha=0.2, lw=0)
            if self.supremum is not None:
                label = f"most of any activation: {self.supremum:.3g}"
                left.axhline(self.supremum, color="k", ls="--", lw=0.9, label=label)
            label = "median of desired, as they are"
            left.axhline(self.desired_median, color="C0", ls=":", lw=1.0, label=label)
            left.axhline(0.0, color="0.6", lw=0.8)
            left.set(xlabel="arc length / |a| (rad)", ylabel="h (nats):\nmedian, quartiles")
            left.locator_params(axis="y", nbins=6)  # so few at any height, or labels are clipped
            self._draw_shares(right)
            for axes in (left, right):
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=7)
            figure.suptitle(str(self.sample), fontsize=9)
        return figure

    def _draw_shares(self, axes: Any) -> None:
        among = ~self.sample.desired
        inside = [self.sample.share(self.entry <= angle, among) for angle in self.angles.tolist()]
        plot_band(axes, self.angles.tolist(), inside, CLASS_COLOURS["undesired"], "come to h >= 0")
        angles = self.angles.tolist()
        stopped = [self.sample.share(self.arrival <= angle, among) for angle in angles]
        plot_band(axes, angles, stopped, "0.4", "stopped at a maximum")
        axes.set(ylim=(-0.03, 1.03), xlabel="arc length / |a| (rad)")
        axes.set(ylabel="share of undesired starts\n(95 % intervals)")

    def _quartiles(self, state: int, side: str) -> tuple[float, float, float]:
        levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)
        low, middle, high = self.h[state, self.sample.by_class[side]].quantile(levels).tolist()
        return low, middle, high
