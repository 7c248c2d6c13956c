"""Whether one number mends the scale of a barrier: the number, and the calibration with it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.calibration import BarrierCalibration
from lens_steer.barriers.field.calibration_drawing import calibration_panels
from lens_steer.barriers.field.held_out import HeldOutRows
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLOURS = ("C1", "C4")  # as fitted, scaled: neither is that of a class


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CalibrationPair(Report):
    """Whether one number mends the scale of h: calibration as fitted, and of h times that number.

    The number for each half of the sample is fitted on the other half.

    Attributes:
        raw: The calibration as fitted.
        scaled: The calibration of h times one number, or None.
        why: Why there is no `scaled`, else empty.
    """

    raw: BarrierCalibration
    scaled: BarrierCalibration | None
    why: str

    @classmethod
    def fit(
        cls, barrier: Barrier, rows: Float[Tensor, "n d"], sample: HeldOutRows
    ) -> "CalibrationPair":
        """The calibration of a barrier at rows where they are."""
        raw, half = BarrierCalibration(barrier.h(rows), sample), _half(sample)
        try:
            first, second = (_scale(barrier, rows, part, sample) for part in (half, ~half))
        except ValueError as error:  # a likelihood without a maximum is a finding
            return cls(raw, None, str(error))
        scaled = raw.h * torch.where(half, second, first)
        return cls(raw, BarrierCalibration(scaled, sample), "")

    @override
    def table(self) -> "pd.DataFrame":
        """A row per bin, as fitted and scaled."""
        import pandas as pd

        parts = [report.table().assign(scale=name) for name, report in self._reports()]
        return pd.concat(parts, ignore_index=True)

    @override
    def figure(self) -> "Figure":
        """Reliability of both; moments and divergence with their intervals."""
        why = f"\nno scale: {self.why.split(':')[0]}" if self.why else ""
        title, divergence = f"{self.raw.sample}{why}", self.raw.divergence
        with calibration_panels(title, divergence) as (figure, panels):
            for colour, (name, report) in zip(_COLOURS, self._reports(), strict=False):
                report.draw(panels, name, colour)
        return figure

    def _reports(self) -> list[tuple[str, BarrierCalibration]]:
        both = [("as fitted", self.raw)]
        return both if self.scaled is None else [*both, ("times one number", self.scaled)]


def _half(sample: HeldOutRows) -> Bool[Tensor, " n"]:
    """The rows of one half of the groups, drawn by the sample's seed."""
    units = list(dict.fromkeys(sample.groups))
    order = np.random.default_rng(sample.seed).permutation(len(units))
    first = {units[i] for i in order[: len(units) // 2]}
    return torch.tensor([key in first for key in sample.groups])


def _scale(
    barrier: Barrier, rows: Float[Tensor, "n d"], part: Bool[Tensor, " n"], sample: HeldOutRows
) -> float:
    up, down = rows[part & sample.desired], rows[part & ~sample.desired]
    activations = LayerActivations(up, down, barrier.layer, barrier.kind)
    return 1 / float(barrier.calibrated(activations).settings["temperature"])
