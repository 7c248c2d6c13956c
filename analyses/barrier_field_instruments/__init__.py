"""Reports about a barrier's flow that answer questions of the barrier field study.

`CrowdingReport` asks whether steered rows become alike, `TurningReport` how much the flow bends,
`ConvergenceReport` which integrator and how many steps it takes, and `FieldStability` how much a
sketched field depends on its hash seed. `FlowReport` holds the first three.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from analyses.barrier_field_instruments.convergence import ConvergenceReport as ConvergenceReport
from analyses.barrier_field_instruments.crowding import CrowdingReport as CrowdingReport
from analyses.barrier_field_instruments.stability import FieldStability as FieldStability
from analyses.barrier_field_instruments.turning import TurningReport as TurningReport
from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier
from lens_steer.barriers.field import FlowPaths, HeldOutRows, stacked_rows
from lens_steer.reports import Report


@dataclass(frozen=True, eq=False)
class FlowReport:
    """What the flow from held-out activations does on its way.

    Attributes:
        crowding: Whether rows become alike, or leave the data.
        convergence: Which integrator, and how many steps.
        turning: How much the flow bends.
    """

    crowding: CrowdingReport
    convergence: ConvergenceReport
    turning: TurningReport

    @classmethod
    def fit(
        cls,
        barrier: Barrier,
        activations: LayerActivations,
        angle: float,
        *,
        training: LayerActivations | None = None,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
    ) -> "FlowReport":
        """Follow the field from held-out activations; arguments and errors as `field.trace`."""
        sample, rows = HeldOutRows.of(activations, groups, seed), stacked_rows(barrier, activations)
        exact = barrier.to(device=rows.device, dtype=torch.double)
        paths = FlowPaths.of(exact, rows, angle)
        return cls(
            crowding=CrowdingReport.of(paths, sample, training),
            convergence=ConvergenceReport.fit(exact, rows, angle, sample),
            turning=TurningReport.of(exact, paths, sample),
        )

    @property
    def parts(self) -> dict[str, Report]:
        """The three reports by their names."""
        names = ("crowding", "convergence", "turning")
        return {name: getattr(self, name) for name in names}

    def summary(self) -> dict[str, float]:
        """Cosine, rank and distance at the largest angle, and turning at the start."""
        crowding, turning = self.crowding, self.turning
        intervals = {"crowded_cosine": crowding.cosine[-1], "rank": crowding.rank[-1]}
        intervals |= {"turning": turning.sample.interval(turning.geodesic[0])}
        if crowding.distance is not None:
            intervals |= {"distance": crowding.distance[-1]}
        row: dict[str, float] = {}
        for name, interval in intervals.items():
            row |= interval.columns(name)
        return row
