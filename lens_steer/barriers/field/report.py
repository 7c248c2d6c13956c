"""Everything about the field of a barrier at held-out activations."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lens_steer.activations import LayerActivations
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.convergence import ConvergenceReport
from lens_steer.barriers.field.crowding import CrowdingReport
from lens_steer.barriers.field.directions import DirectionsReport
from lens_steer.barriers.field.gap import GapReport
from lens_steer.barriers.field.rise import RiseReport
from lens_steer.barriers.field.rows import check_angle, stacked_rows
from lens_steer.barriers.field.sample import HeldOutRows
from lens_steer.barriers.field.scaling import CalibrationPair
from lens_steer.barriers.field.shape import ShapeReport
from lens_steer.barriers.field.turning import TurningReport
from lens_steer.barriers.field.walks import FlowPaths
from lens_steer.barriers.polynomial import PolynomialBarrier

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FieldReport:
    """What ODESteer does along a barrier, and whether its parts are worth having.

    Attributes:
        barrier: The barrier.
        angle: Largest T / |a|, rad.
        sample: Rows and groups that everything is of.
        rise: h along the flow.
        gap: The flow against one step.
        shape: Is the field linear; None of barriers that are no quadratic form.
        calibration: Is h a log-ratio of densities.
        crowding: Do rows crowd together, or leave the data.
        convergence: Which integrator, how many steps.
        turning: How much the flow bends.
        directions: Angles to CAA, a probe and RepE; None without training activations.
    """

    barrier: Barrier
    angle: float
    sample: HeldOutRows
    rise: RiseReport
    gap: GapReport
    shape: ShapeReport | None
    calibration: CalibrationPair
    crowding: CrowdingReport
    convergence: ConvergenceReport
    turning: TurningReport
    directions: DirectionsReport | None

    def __repr__(self) -> str:
        return f"FieldReport({self.barrier}, up to {self.angle:g} rad, {self.sample})"

    def figures(self) -> "dict[str, Figure]":
        """All of them by name."""
        parts = {"rise": self.rise, "gap": self.gap, "calibration": self.calibration}
        parts |= {"crowding": self.crowding, "convergence": self.convergence}
        parts |= {"turning": self.turning}
        parts |= {} if self.directions is None else {"directions": self.directions}
        parts |= {} if self.shape is None else {"shape": self.shape}
        return {name: part.figure() for name, part in parts.items()}

    def summary(self) -> dict[str, float | int]:
        """One number for each question, with the ends of its interval.

        `gap`, `cosine` and `lost` are of the undesired starts at the largest angle; `linearity`,
        `mean_linearity` and `curved` are absent where there is no quadratic form.
        """
        found = {"never": self.rise.never, "arrived": self.rise.at_maximum}
        found |= self.gap.at(self.angle) | self.calibration.raw.summary()
        if self.shape is not None:
            found |= {"linearity": self.shape.linearity, "curved": self.shape.curvature_share}
            found |= {"mean_linearity": self.shape.mean_linearity}
        if self.calibration.scaled is not None:
            found |= {"scaled_log_loss": self.calibration.scaled.log_loss}
        found |= {"crowded_cosine": self.crowding.cosine[-1], "rank": self.crowding.rank[-1]}
        found |= {"turning": self.sample.interval(self.turning.geodesic[0])}
        if self.directions is not None:
            found |= {f"to_{n}": self.directions.mean(n) for n in self.directions.names}
        if self.crowding.distance is not None:
            found |= {"distance": self.crowding.distance[-1]}
        up = int(self.sample.desired.sum())
        row: dict[str, float | int] = {"desired": up, "undesired": len(self.sample) - up}
        row |= {"seed": self.sample.seed, "angle": self.angle}
        row |= {"median_entry": self.rise.median_entry}
        for name, each in found.items():
            row |= each.columns(name)
        return row


def trace(  # noqa: PLR0913 - what is traced, how far, and how it is judged
    barrier: Barrier,
    activations: LayerActivations,
    angle: float | int = 0.5,
    *,
    training: LayerActivations | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> FieldReport:
    """Follow the field of a barrier from held-out activations, and measure it on the way.

    All in float64, along the flow that keeps |a|: of a barrier that is not of directions alone, by
    the part of its gradient at right angles to a.

    Args:
        activations: Not those that the barrier was fitted on: nothing here could tell.
        angle: How far, in rad of arc length over |a|; above 0, at most 2 pi.
        training: What the barrier was fitted on, for distances to it and for directions
            beside the field (of them the probe is cross-validated); None leaves these out.
        groups: A key for each row, the desired first: rows of one prompt or name belong together
            and are drawn together; None takes each row by itself.
        seed: Of intervals, of the halves that h is scaled by, and of the probe's folds.

    Raises:
        ValueError: If the angle is out of range, the activations are of another site or width, one
            of them is 0, there is not a group for each, half of them are among the training ones,
            or a class has fewer than five of these.

    Source: ODESteer (arXiv:2602.17560) for the field; the measurements are ours.
    """
    far = check_angle(angle)
    sample = HeldOutRows.of(activations, groups, seed)
    rows = stacked_rows(barrier, activations)
    if training is not None:
        stacked_rows(barrier, training)
    exact = barrier.to(device=rows.device, dtype=torch.double)
    walks = FlowPaths.of(exact, rows, far)
    beside = training and DirectionsReport.fit(exact, rows, training, sample)
    quadratic = isinstance(exact, PolynomialBarrier)
    return FieldReport(
        *(barrier, far, sample),
        rise=RiseReport.of(exact, walks, sample),
        gap=GapReport.of(walks, sample),
        shape=ShapeReport.fit(exact, rows, sample) if quadratic else None,
        calibration=CalibrationPair.fit(exact, rows, sample),
        crowding=CrowdingReport.fit(walks, sample, training),
        turning=TurningReport.fit(exact, walks, sample),
        directions=beside,
        convergence=ConvergenceReport.fit(exact, rows, far, sample),
    )
