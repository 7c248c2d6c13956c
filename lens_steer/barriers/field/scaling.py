"""Calibration of h as fitted, and of h times one number."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.calibration import BarrierCalibration
from lens_steer.barriers.field.sample import HeldOutRows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOMENTS = ("mean of e^h,\nundesired rows", "mean of e^-h,\ndesired rows")
_COLOURS = ("C1", "C4")  # as fitted, scaled: none of a class


@dataclass(frozen=True, eq=False)
class CalibrationPair:
    """Calibration as fitted and with h times one number.

    The number of each half of the sample is fitted on the other half.

    Attributes:
        raw: As it is.
        scaled: After that, or None.
        why: Why there is no `scaled`, else empty.
    """

    raw: BarrierCalibration
    scaled: BarrierCalibration | None
    why: str

    @classmethod
    def fit(
        cls, barrier: Barrier, rows: Float[Tensor, "n d"], sample: HeldOutRows
    ) -> "CalibrationPair":
        """At rows as they are."""
        raw, half = BarrierCalibration(barrier.h(rows), sample), _half(sample)
        try:
            first, second = (_scale(barrier, rows, part, sample) for part in (half, ~half))
        except ValueError as error:  # a likelihood without a maximum is a finding, and is told
            return cls(raw, None, str(error))
        scaled = raw.h * torch.where(half, second, first)
        return cls(raw, BarrierCalibration(scaled, sample), "")

    def table(self) -> "pd.DataFrame":
        """A row per bin, as fitted and scaled."""
        import pandas as pd

        parts = [report.table().assign(scale=name) for name, report in self._reports()]
        return pd.concat(parts, ignore_index=True)

    def figure(self) -> "Figure":
        """Reliability of either; moments and divergence with their intervals."""
        from lens_steer.figures import canvas

        with canvas(1, 2, width=8.4, height=4.0) as (figure, (left, right)):
            left.plot([0, 1], [0, 1], color="0.6", lw=0.8)
            for i, (name, report) in enumerate(self._reports()):
                _draw_bins(left, report, _COLOURS[i], name)
                _draw_moments(right, report, _COLOURS[i], name, 0.12 * (2 * i - 1))
            left.set(xlabel="sigmoid(h + log prior odds): means of bins of equally many rows")
            left.set(
                ylabel="share desired (95 % intervals)", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
            )
            right.set_xticks([0, 1], _MOMENTS)
            right.axhline(1.0, color="0.6", lw=0.8)
            right.set(ylabel="1 if h is the log-ratio (95 % intervals)")
            right.set_title(f"divergence as fitted: {self.raw.divergence} nats")
            _decades(right)
            for place in (left, right):
                place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
            why = f"\nno scale: {self.why.split(':')[0]}" if self.why else ""
            figure.suptitle(f"{self.raw.sample}{why}", fontsize=9)
        return figure

    def _reports(self) -> list[tuple[str, BarrierCalibration]]:
        both = [("as fitted", self.raw)]
        return both if self.scaled is None else [*both, ("times one number", self.scaled)]


def _half(sample: HeldOutRows) -> Bool[Tensor, " n"]:
    """The rows of half of the groups, drawn by the sample's seed."""
    units = list(dict.fromkeys(sample.groups))
    order = np.random.default_rng(sample.seed).permutation(len(units))
    first = {units[i] for i in order[: len(units) // 2]}
    return torch.tensor([key in first for key in sample.groups])


def _scale(
    barrier: Barrier, rows: Float[Tensor, "n d"], part: Bool[Tensor, " n"], sample: HeldOutRows
) -> float:
    own = rows[part & sample.desired], rows[part & ~sample.desired]
    settings = barrier.calibrated(LayerActivations(*own, barrier.layer, barrier.kind)).settings
    return 1 / float(settings["temperature"])


def _draw_bins(axes: Any, report: BarrierCalibration, colour: str, name: str) -> None:
    table: Any = report.table()
    low, high = table["desired"] - table["desired_low"], table["desired_high"] - table["desired"]
    label = f"{name}: ECE {report.calibration_error.mean:.3f} (chance {report.chance_error:.3f})"
    how = {"fmt": "o-", "color": colour, "ms": 3, "lw": 1, "capsize": 2, "label": label}
    axes.errorbar(table["probability"], table["desired"], yerr=[low, high], **how)


def _draw_moments(
    axes: Any, report: BarrierCalibration, colour: str, name: str, shift: float
) -> None:
    for place, each in enumerate((report.undesired_moment, report.desired_moment)):
        ends = [[each.mean - each.low], [each.high - each.mean]]
        axes.errorbar([place + shift], [each.mean], yerr=ends, fmt="o", color=colour, capsize=2)
    slope = str(report.slope) if isfinite(report.slope.mean) else "infinite: a threshold parts them"
    axes.plot([], [], "o", color=colour, label=f"{name}: calibration slope {slope}")


def _decades(axes: Any) -> None:
    """A logarithmic axis around 1 that holds at least a decade, with labels that can be read."""
    axes.set(yscale="log", xlim=(-0.5, 1.5))
    low, high = axes.get_ylim()
    low, high = min(low, 0.3), max(high, 3.0)
    most = int(np.ceil(np.log10(high / low) / 6))
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    ticks = [
        step * 10.0**power
        for power in range(first, last + 1)
        for step in ((1, 3) if most == 1 else (1,))
        if power % most == 0
    ]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(ylim=(low, high))
