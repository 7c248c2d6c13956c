"""The field against directions that are the same at every activation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.held_out import CLASS_COLOURS, HeldOutRows
from lens_steer.barriers.flows import dot, size_of
from lens_steer.barriers.linear import LinearBarrier
from lens_steer.intervals import Interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FOLDS = 5  # of the probe's cross-validation


@savable
@dataclass(frozen=True, eq=False, repr=False)
class DirectionsReport(Report):
    """Whether a simpler method steers the same way: angles from the field to CAA, a probe and RepE.

    Angles are between the parts of both that are tangent to the sphere through a.

    Attributes:
        names: `CAA` (difference of means), `CAA of directions` (the same of a / |a|), `probe`
            (`LinearBarrier.fit`, C cross-validated), and `RepE` where the training rows are
            pairs: first principal component of their differences, the mean kept, pointing as
            the mean does.
        angles: Degrees: 0 along the direction, 90 unrelated, 180 against it.
        h: The barrier at each row, nats.
        sample: The rows.
    """

    names: tuple[str, ...]
    angles: Float[Tensor, "direction n"]
    h: Float[Tensor, " n"]
    sample: HeldOutRows

    @classmethod
    def fit(
        cls,
        barrier: Barrier,
        rows: Float[Tensor, "n d"],
        training: LayerActivations,
        sample: HeldOutRows,
    ) -> "DirectionsReport":
        """The report of rows where they are.

        Args:
            barrier: In float64.
            rows: The held-out rows.
            training: The activations that directions are estimated from.
            sample: Which class and group the rows are of; its seed draws the probe's folds.

        Raises:
            ValueError: If a class has fewer than five training activations.
        """
        directions = reference_directions(training, sample.seed)
        grad = _tangent(rows, barrier.grad(rows))
        angles = [_angle(grad, _tangent(rows, v.expand_as(rows))) for v in directions.values()]
        return cls(tuple(directions), torch.stack(angles), barrier.h(rows), sample)

    def mean(self, name: str) -> Interval:
        """The mean angle to a direction, degrees.

        Raises:
            ValueError: If there is no such direction.
        """
        if name not in self.names:
            raise ValueError(f"got {name!r}, expected one of {', '.join(self.names)}")
        return self.sample.interval(self.angles[self.names.index(name)])

    @override
    def table(self) -> "pd.DataFrame":
        """A row per direction and class, mean angles in degrees."""
        import pandas as pd

        return pd.DataFrame(
            {"direction": name, "side": side}
            | self.sample.interval(angles, among).columns("degrees")
            for name, angles in zip(self.names, self.angles, strict=True)
            for side, among in self.sample.by_class.items()
        )

    @override
    def figure(self) -> "Figure":
        """Each row's angle against its h, a panel per direction."""
        from lens_steer.figures import canvas

        count = len(self.names)
        with canvas(1, count, width=2.4 * count + 0.4, height=3.3, sharey=True) as (figure, axes):
            for place, name, angles in zip(axes, self.names, self.angles, strict=True):
                for side, among in self.sample.by_class.items():
                    colour = CLASS_COLOURS[side]
                    place.plot(self.h[among], angles[among], ".", color=colour, ms=4, label=side)
                place.axhline(90.0, color="0.6", lw=0.8)
                place.set(xlabel="h (nats)")
                place.locator_params(axis="x", nbins=4)
                mean = self.mean(name)
                place.set_title(f"{name}\n{mean.mean:.1f}° [{mean.low:.1f}, {mean.high:.1f}]")
            most = max(100.0, 1.05 * float(self.angles.nan_to_num().max()))
            axes[0].set(ylabel="angle of the field to it (degrees)", ylim=(-4.0, most))
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7)
            figure.suptitle(f"{self.sample}; means with 95 % intervals", fontsize=9)
        return figure


def reference_directions(
    training: LayerActivations, seed: int = 0
) -> dict[str, Float[Tensor, " d"]]:
    """Directions from the undesired to the desired class; of any length, in float64.

    Args:
        seed: Of the folds by which the probe's C is chosen.

    Raises:
        ValueError: If a class is too small for them.
    """
    fewest = min(len(training.desired), len(training.undesired))
    if fewest < _FOLDS:
        raise ValueError(
            f"{fewest} training activations in the smaller class: the probe that the field is "
            f"compared with has {_FOLDS} folds; give more, or trace without `training`"
        )
    up, down = training.desired.double(), training.undesired.double()
    directions = {
        "CAA": up.mean(dim=0) - down.mean(dim=0),
        "CAA of directions": (up / size_of(up)).mean(dim=0) - (down / size_of(down)).mean(dim=0),
        "probe": LinearBarrier.fit(training, folds=_FOLDS, seed=seed).weight.double(),
    }
    if training.paired:
        difference = up - down
        first = torch.linalg.svd(difference, full_matrices=False).Vh[0]
        sign = torch.where(first @ difference.mean(dim=0) < 0, -1.0, 1.0)
        directions["RepE"] = sign * first
    return directions


def _tangent(rows: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    unit = rows / size_of(rows)
    return vectors - dot(vectors, unit) * unit


def _angle(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The angle between two vectors in degrees, exact near 0 as well; NaN where either is 0."""
    sizes = x.norm(dim=-1), y.norm(dim=-1)
    u, w = x / size_of(x), y / size_of(y)
    angle = 2 * torch.atan2((u - w).norm(dim=-1), (u + w).norm(dim=-1))
    return torch.where(sizes[0] * sizes[1] > 0, angle.rad2deg(), float("nan"))
