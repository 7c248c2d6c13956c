"""Everything about the field of a barrier at held-out activations."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isfinite, pi
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier, PolynomialBarrier
from lens_steer.field._calibration import CalibrationPair
from lens_steer.field._convergence import ConvergenceReport
from lens_steer.field._crowding import CrowdingReport
from lens_steer.field._gap import GapReport
from lens_steer.field._rise import RiseReport
from lens_steer.field._sample import Sample
from lens_steer.field._shape import ShapeReport
from lens_steer.field._walks import Walks

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
    """

    barrier: Barrier
    angle: float
    sample: Sample
    rise: RiseReport
    gap: GapReport
    shape: ShapeReport | None
    calibration: CalibrationPair
    crowding: CrowdingReport
    convergence: ConvergenceReport

    def __repr__(self) -> str:
        return f"FieldReport({self.barrier}, up to {self.angle:g} rad, {self.sample})"

    def figures(self) -> "dict[str, Figure]":
        """All of them by name."""
        parts = {"rise": self.rise, "gap": self.gap, "calibration": self.calibration}
        parts |= {"crowding": self.crowding, "convergence": self.convergence}
        parts |= {} if self.shape is None else {"shape": self.shape}
        return {name: part.figure() for name, part in parts.items()}

    def summary(self) -> dict[str, float]:
        """One number for each question, with the ends of its interval.

        `gap`, `cosine` and `lost` are of the undesired starts at the largest angle; `linearity`,
        `mean_linearity` and `curved` are absent where there is no quadratic form.
        """
        found = {"never": self.rise.never, "arrived": self.rise.arrived}
        found |= self.gap.at(self.angle) | self.calibration.raw.summary()
        if self.shape is not None:
            found |= {"linearity": self.shape.linearity, "curved": self.shape.curvature_share}
            found |= {"mean_linearity": self.shape.mean_linearity}
        if self.calibration.scaled is not None:
            found |= {"scaled_log_loss": self.calibration.scaled.log_loss}
        found |= {"crowded_cosine": self.crowding.cosine[-1], "rank": self.crowding.rank[-1]}
        if self.crowding.distance is not None:
            found |= {"distance": self.crowding.distance[-1]}
        up = int(self.sample.desired.sum())
        row: dict[str, float] = {"desired": up, "undesired": len(self.sample) - up}
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
        training: What the barrier was fitted on, for distances to it; None leaves these out.
        groups: A key for each row, the desired first: rows of one prompt or name belong together
            and are drawn together; None takes each row by itself.
        seed: Of intervals, and of the halves that h is scaled by.

    Raises:
        ValueError: If the angle is out of range, the activations are of another site or width, one
            of them is 0, there is not a group for each, or half of them are among the training
            ones.

    Source: ODESteer (arXiv:2602.17560) for the field; the measurements are ours.
    """
    if not (isfinite(angle) and 0 < angle <= 2 * pi):
        raise ValueError(f"angle {angle}: expected above 0 and at most 2 pi rad")
    sample = Sample.of(activations, groups, seed)
    rows = _rows(barrier, activations)
    if training is not None:
        _rows(barrier, training)
    exact = barrier.to(device=rows.device, dtype=torch.double)
    walks = Walks.along(exact, rows, float(angle))
    quadratic = isinstance(exact, PolynomialBarrier)
    return FieldReport(
        *(barrier, float(angle), sample),
        rise=RiseReport.measure(exact, walks, sample),
        gap=GapReport.measure(walks, sample),
        shape=ShapeReport.measure(exact, rows, sample) if quadratic else None,
        calibration=CalibrationPair.measure(exact, rows, sample),
        crowding=CrowdingReport.measure(walks, sample, training),
        convergence=ConvergenceReport.measure(exact, rows, float(angle), sample),
    )


def _rows(barrier: Barrier, activations: LayerActivations) -> Float[Tensor, "n d"]:
    """Both classes in float64, the desired first."""
    own, got = (barrier.kind, barrier.layer), (activations.kind, activations.layer)
    if own != got:
        raise ValueError(
            f"got activations of {got[0].value} {got[1]} for a barrier of {own[0].value} {own[1]}: "
            "capture the same site"
        )
    shape = tuple(activations.desired.shape)
    if len(shape) != 2 or shape[1] != barrier.width:
        raise ValueError(f"got activations of shape {shape}: expected [n, {barrier.width}]")
    rows = torch.cat([activations.desired, activations.undesired]).double()
    zero = int((~rows.any(dim=-1)).sum())
    if zero:
        raise ValueError(f"{zero} of {len(rows)} activations are 0 and have no direction")
    return rows
