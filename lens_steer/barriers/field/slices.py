"""A map of h and its field on a plane through the data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Angle
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.held_out import (
    CLASS_COLOURS,
    HeldOutRows,
    check_angle,
    stacked_rows,
)
from lens_steer.barriers.field.paths import FlowPaths
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_GRID, _WAYS, _MARGIN = 61, 8, 0.15  # points a side; trajectories; of the data's range
_PC, _GIVEN = "first PC of what is left", "given second direction"
_APART = 0.07  # of the figure: nearer to each other labels of contours may touch
_IN_PLANE = 0.3  # mean share below which a map of arrows misleads, and says so


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SliceMap(Report):
    """A picture of a barrier: h and its field on a plane, at points m + s e1 + t e2.

    m is the mean of the rows. A slice is not a projection: the rows drawn on it lie outside of the
    plane, and their h is not that of the point that they are drawn at.

    Attributes:
        axes: e1 and e2, orthonormal.
        s: Coordinates along e1, units of activation.
        t: Coordinates along e2, units of activation.
        h: Nats.
        field: Components of the unit field in the plane; its length there is `share`.
        near: Points no farther from the projected rows than 99 % of these are (Mahalanobis
            distance by their covariance in the plane).
        rows: The held-out rows, projected.
        ways: Flows of up to eight undesired rows, projected.
        angle: How far the flows go, rad.
        second: What e2 is, in words.
        sample: Which class and group the rows are of.
    """

    axes: Float[Tensor, "2 d"]
    s: Float[Tensor, " s"]
    t: Float[Tensor, " t"]
    h: Float[Tensor, "t s"]
    field: Float[Tensor, "t s 2"]
    near: Bool[Tensor, "t s"]
    rows: Float[Tensor, "n 2"]
    ways: Float[Tensor, "state way 2"]
    angle: float
    second: str
    sample: HeldOutRows

    @classmethod
    def fit(
        cls,
        barrier: Barrier,
        held_out: Float[Tensor, "n d"],
        second: Float[Tensor, " d"] | None,
        angle: Angle,
        sample: HeldOutRows,
    ) -> "SliceMap":
        """The plane of the class means' difference and of `second`, or else of the first PC."""
        mean = held_out.mean(dim=0)
        up, down = held_out[sample.desired], held_out[~sample.desired]
        axes = _axes(up.mean(dim=0) - down.mean(dim=0), held_out - mean, second)
        rows = (held_out - mean) @ axes.T
        few = torch.linspace(0, len(down) - 1, min(_WAYS, len(down))).round().long()
        paths = FlowPaths.of(barrier, down[few], angle)
        ways = [(paths.points(i) - mean) @ axes.T for i in range(len(paths.angles))]
        s, t = (_range(torch.cat([rows, *ways])[:, i]) for i in range(2))
        grid = torch.stack(torch.meshgrid(s, t, indexing="xy"), dim=-1)
        points = mean + grid @ axes
        return cls(
            axes=axes,
            s=s,
            t=t,
            h=barrier.h(points),
            field=barrier.field(points) @ axes.T,
            near=_near(grid, rows),
            rows=rows,
            ways=torch.stack(ways),
            angle=angle,
            second=_PC if second is None else _GIVEN,
            sample=sample,
        )

    @property
    def share(self) -> Float[Tensor, "t s"]:
        """The length of the unit field's part in the plane: 1 where arrows show all of it."""
        return self.field.norm(dim=-1)

    @property
    def mean_share(self) -> float:
        """The mean `share` over points near the rows."""
        return float(self.share[self.near].mean())

    @override
    def table(self) -> "pd.DataFrame":
        """A row per point of the grid."""
        import pandas as pd

        t, s = torch.meshgrid(self.t, self.s, indexing="ij")
        columns = {"s": s, "t": t, "h": self.h, "share": self.share, "near": self.near}
        columns |= {"field_s": self.field[..., 0], "field_t": self.field[..., 1]}
        return pd.DataFrame({name: part.flatten().numpy() for name, part in columns.items()})

    @override
    def figure(self) -> "Figure":
        """Contours of h, streamlines coloured by the share in the plane, projected rows."""
        from matplotlib.colors import Normalize

        from lens_steer.figures import canvas

        with canvas(width=6.2, height=4.8) as (figure, axes):
            s, t, far = self.s.numpy(), self.t.numpy(), ~self.near.numpy()
            h = self.h.masked_fill(~self.near, float("nan")).numpy()
            lines = axes.contour(s, t, h, levels=9, colors="0.6", linewidths=0.7)
            _thin(axes.clabel(lines, fontsize=6), float(s[-1] - s[0]), float(t[-1] - t[0]))
            if bool((self.h[self.near] < 0).any()) and bool((self.h[self.near] > 0).any()):
                axes.contour(s, t, h, levels=[0.0], colors="k", linewidths=2.0)
            u, v = (self.field[..., i].numpy().copy() for i in range(2))
            u[far], v[far] = float("nan"), float("nan")
            how = {"color": self.share.numpy(), "cmap": "viridis", "norm": Normalize(0.0, 1.0)}
            stream = axes.streamplot(s, t, u, v, linewidth=0.8, arrowsize=0.8, **how)
            figure.colorbar(stream.lines, ax=axes, label="length of the unit field in the slice")
            self._draw_rows(axes)
            out = "\nMOST OF THE FIELD LEAVES THE PLANE" if self.mean_share < _IN_PLANE else ""
            plane = f"slice through the mean row; {self.mean_share:.2f} of the unit field in it"
            axes.set_title(f"{plane}{out}\n{self.sample}; contours: h (nats)")
            axes.set_aspect("equal", adjustable="datalim")  # else right angles do not look right
            axes.locator_params(nbins=6)
            axes.set(xlabel="along the class means' difference (activation units)")
            axes.set(ylabel=f"along the {self.second} (activation units)")
            figure.legend(loc="outside lower center", ncols=4, fontsize=7)
        return figure

    def _draw_rows(self, axes: Any) -> None:
        for side, among in self.sample.by_class.items():
            (s, t), colour = self.rows[among].T, CLASS_COLOURS[side]
            axes.plot(s, t, ".", color=colour, ms=4, label=f"{side}, projected", zorder=3)
        for i, way in enumerate(self.ways.unbind(dim=1)):
            label = f"flows to {self.angle:g} rad, projected" if i == 0 else None
            axes.plot(way[:, 0], way[:, 1], "-", color="C1", lw=1.4, label=label, zorder=4)
            axes.plot(way[-1:, 0], way[-1:, 1], "o", color="C1", ms=3, zorder=4)
        axes.plot([], [], color="k", lw=2, label="h = 0 on the plane")


def _thin(labels: Iterable[Any], width: float, height: float) -> None:
    """Hide labels of contours that would stand on others."""
    kept: list[tuple[float, float]] = []
    for label in labels:
        x, y = label.get_position()
        near = [abs(x - a) < _APART * width and abs(y - b) < _APART * height for a, b in kept]
        label.set_visible(not any(near))
        kept += [] if any(near) else [(x, y)]


def _axes(
    along: Float[Tensor, " d"], deviations: Float[Tensor, "n d"], second: Float[Tensor, " d"] | None
) -> Float[Tensor, "2 d"]:
    """Two orthonormal axes; without `second`, by the first principal component of what is left."""
    first = along / along.norm()
    left = deviations - (deviations @ first)[:, None] * first
    other = torch.linalg.svd(left, full_matrices=False).Vh[0] if second is None else second
    other = other - first * (other @ first)
    if not float(other.norm()) > 1e-9 * float(1 if second is None else second.norm()):
        raise ValueError("the second axis lies along the class means' difference: take another")
    return torch.stack([first, other / other.norm()])


def _range(values: Float[Tensor, " n"]) -> Float[Tensor, " point"]:
    low, high = float(values.min()), float(values.max())
    margin = _MARGIN * (high - low)
    return torch.linspace(low - margin, high + margin, _GRID, dtype=torch.double)


def _near(grid: Float[Tensor, "t s 2"], rows: Float[Tensor, "n 2"]) -> Bool[Tensor, "t s"]:
    centred = rows - rows.mean(dim=0)
    inverse = torch.linalg.inv(centred.T @ centred / len(rows))
    distances = ((centred @ inverse) * centred).sum(dim=-1)
    away = grid - rows.mean(dim=0)
    return ((away @ inverse) * away).sum(dim=-1) <= distances.quantile(0.99)


def slice_map(
    barrier: Barrier,
    activations: LayerActivations,
    angle: Angle = 0.5,
    *,
    second: Float[Tensor, " d"] | None = None,
) -> SliceMap:
    """A map of h on the plane of the class means' difference and a second direction.

    Args:
        activations: Held-out activations, not those that the barrier was fitted on.
        angle: How far the flows that are drawn go, rad.
        second: Such as an eigenvector of A of large size; None takes the rows' first principal
            component at right angles to the first axis.

    Raises:
        ValueError: As `trace`; or if the second direction lies along the first.

    Example:
        >>> ls.field.slice_map(barrier, held_out.at(layer=3), angle=0.5).figure()
    """
    far, rows = check_angle(angle), stacked_rows(barrier, activations)
    exact = barrier.to(device=rows.device, dtype=torch.double)
    sample = HeldOutRows.of(activations, None, 0)
    axis = None if second is None else second.to(rows)
    return SliceMap.fit(exact, rows, axis, far, sample)
