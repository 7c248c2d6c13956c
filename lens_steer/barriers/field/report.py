"""Everything about the field of a barrier at held-out activations."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Angle, Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.calibration_scale import CalibrationPair
from lens_steer.barriers.field.directions import DirectionsReport
from lens_steer.barriers.field.gap import GapReport
from lens_steer.barriers.field.held_out import (
    HeldOutRows,
    check_angle,
    check_held_out,
    stacked_rows,
)
from lens_steer.barriers.field.paths import FlowPaths
from lens_steer.barriers.field.rise import RiseReport
from lens_steer.barriers.field.shape import ShapeReport
from lens_steer.barriers.polynomial import PolynomialBarrier
from lens_steer.intervals import Interval
from lens_steer.models import Provenance
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class FieldReport(Report):
    """What following a barrier does to held-out activations, and whether its parts are needed.

    Attributes:
        barrier: The barrier.
        angle: Largest T / |a|, rad.
        sample: The rows that everything is measured on.
        rise: How far rows must be turned: h along the flow.
        gap: What many steps buy: the flow against one step.
        shape: Whether the field is linear; None for barriers that are no quadratic form.
        calibration: Whether h is a log-ratio of densities.
        directions: Angles to CAA, a probe and RepE; None without training activations.
    """

    barrier: Barrier
    angle: float
    sample: HeldOutRows
    rise: RiseReport
    gap: GapReport
    shape: ShapeReport | None
    calibration: CalibrationPair
    directions: DirectionsReport | None

    @property
    def provenance(self) -> Provenance | None:
        """The model and data of the barrier."""
        return self.barrier.provenance

    @override
    def __repr__(self) -> str:
        return f"FieldReport({self.barrier}, up to {self.angle:g} rad, {self.sample})"

    @override
    def table(self) -> "pd.DataFrame":
        """A row per statistic of `summary`, with the ends of its interval where it has one."""
        import pandas as pd

        rows = [{"statistic": "median_entry", "value": self.rise.median_entry}]
        for name, interval in self._intervals().items():
            ends = {"low": interval.low, "high": interval.high}
            rows.append({"statistic": name, "value": interval.mean} | ends)
        return pd.DataFrame(rows)

    @override
    def figure(self, part: str = "rise") -> "Figure":
        """The figure of one part: `rise`, `gap`, `shape`, `calibration` or `directions`.

        Raises:
            ValueError: If the report has no such part.
        """
        parts = self._parts()
        if part not in parts:
            raise ValueError(f"got part {part!r}: expected one of {', '.join(parts)}")
        return parts[part].figure()

    def figures(self) -> "dict[str, Figure]":
        """The figures of all parts by their names."""
        return {name: part.figure() for name, part in self._parts().items()}

    def summary(self) -> dict[str, float | int]:
        """One number for each question, with the ends of its interval.

        `gap`, `cosine` and `lost` are of the undesired rows at the largest angle; `linearity`,
        `mean_linearity` and `curved` are absent where there is no quadratic form.
        """
        up = int(self.sample.desired.sum())
        row: dict[str, float | int] = {"desired": up, "undesired": len(self.sample) - up}
        row |= {"seed": self.sample.seed, "angle": self.angle}
        row |= {"median_entry": self.rise.median_entry}
        for name, interval in self._intervals().items():
            row |= interval.columns(name)
        return row

    def _parts(self) -> dict[str, Report]:
        names = ("rise", "gap", "shape", "calibration", "directions")
        parts = {name: getattr(self, name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

    def _intervals(self) -> dict[str, Interval]:
        rise, shape, scaled = self.rise, self.shape, self.calibration.scaled
        intervals = {"never": rise.never, "arrived": rise.at_maximum}
        intervals |= self.gap.at(self.angle) | self.calibration.raw.summary()
        if shape is not None:
            intervals |= {"linearity": shape.linearity, "curved": shape.curvature_share}
            intervals |= {"mean_linearity": shape.mean_linearity}
        if scaled is not None:
            intervals |= {"scaled_log_loss": scaled.log_loss}
        if self.directions is not None:
            intervals |= {
                f"to_{name}": self.directions.mean(name) for name in self.directions.names
            }
        return intervals


def trace(
    barrier: Barrier,
    activations: LayerActivations,
    angle: Angle = 0.5,
    *,
    training: LayerActivations | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: Seed = 0,
) -> FieldReport:
    """Follow the field of a barrier from held-out activations, and measure it on the way.

    Everything is computed in float64, along the flow that keeps |a|: for a barrier that does not
    depend on the direction alone, by the part of its gradient at right angles to a.

    Args:
        barrier: The barrier.
        activations: Not those that the barrier was fitted on, which cannot be checked without
            `training`.
        angle: How far, in rad of arc length over |a|; above 0, at most 2 pi.
        training: What the barrier was fitted on, for the directions that the field is compared
            with (of which the probe is cross-validated); None leaves these out.
        groups: A key for each row, the desired first: rows of one prompt or name belong together
            and are drawn together; None draws each row by itself.
        seed: Of intervals, of the halves that h is scaled by, and of the probe's folds.

    Raises:
        ValueError: If the angle is out of range, the activations are of another site or width, one
            of them is 0, there is not a group for each, half of them are among the training ones,
            or a class has fewer than five of these.

    Example:
        >>> acts = ls.capture(model, dev, "resid", read="mean").at(layer=3)
        >>> report = ls.field.trace(barrier, acts, angle=0.5)
        >>> report.table()
        >>> report.gap.figure()

    Source: ODESteer (arXiv:2602.17560) for the field; the measurements are ours.
    """
    largest = check_angle(angle)
    sample = HeldOutRows.of(activations, groups, seed)
    rows = stacked_rows(barrier, activations)
    if training is not None:
        check_held_out(rows, stacked_rows(barrier, training))
    exact = barrier.to(device=rows.device, dtype=torch.double)
    paths = FlowPaths.of(exact, rows, largest)
    quadratic = isinstance(exact, PolynomialBarrier)
    return FieldReport(
        barrier=barrier,
        angle=largest,
        sample=sample,
        rise=RiseReport.of(exact, paths, sample),
        gap=GapReport.of(paths, sample),
        shape=ShapeReport.fit(exact, rows, sample) if quadratic else None,
        calibration=CalibrationPair.fit(exact, rows, sample),
        directions=None
        if training is None
        else DirectionsReport.fit(exact, rows, training, sample),
    )
