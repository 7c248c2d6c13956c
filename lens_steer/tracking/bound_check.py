"""How often bounds on feature errors hold on other texts, and how wide they are."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, interval, proportion_interval
from lens_steer.reports import Report
from lens_steer.tracking.conformal import worst_of_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BoundCheck(Report):
    """How often bounds hold on other texts, and how wide they are, behind every block from `start`.

    Attributes:
        errors: The feature errors e_k, in units of v . z.
        bounds: The bounds on |e_k|, by kind.
        holds: Whether e_k is inside the band around its prediction, which is the narrower claim.
        sizes: mu_k, the distances of the class means.
        start: The state from which the bounds a priori are predicted.
        groups: The group of each text.
        alpha: The share of groups that may be outside.
        loop: The name of the loop that the bounds belong to.
        seed: The seed of the intervals.
    """

    errors: Float[Tensor, "text layer"]
    bounds: dict[str, Float[Tensor, "text layer"]]
    holds: dict[str, Bool[Tensor, "text layer"]]
    sizes: Float[Tensor, " layer"]
    start: int
    groups: tuple[Hashable, ...]
    alpha: float
    loop: str
    seed: Seed

    def coverage(self) -> dict[str, Interval]:
        """The share of groups all of whose texts are inside at all layers, by kind.

        Intervals are over these groups: the calibration groups are as they were.
        """
        coverage = {}
        for kind in self.holds:
            inside = self.inside(kind)
            coverage[kind] = proportion_interval(interval(inside, seed=self.seed), len(inside))
        return coverage

    def inside(self, kind: str) -> Float[Tensor, " group"]:
        """1 for each group all of whose texts are inside at all layers, else 0."""
        outside = (~self.holds[kind]).double()
        return 1 - worst_of_groups(outside, self.groups)

    def table(self) -> "pd.DataFrame":
        """A row per kind and layer, in units of mu_k: errors, bounds, the share inside.

        `layer` is k of z_k; NaN where there is no feature.
        """
        import pandas as pd

        rows, coverage = [], self.coverage()
        errors = self.errors.abs() / self._units
        for kind, bounds in self.bounds.items():
            relative, inside = bounds / self._units, self.holds[kind].double().mean(dim=0)
            for k in range(len(self.sizes)):
                row: dict[str, float | str] = {
                    "loop": self.loop,
                    "bound": kind,
                    "layer": self.start + k + 1,
                    "error": float(errors[:, k].median()),
                    "worst": float(errors[:, k].max()),
                    "allowed": float(relative[:, k].median()),
                    "inside": float(inside[k]),
                }
                rows.append(row | coverage[kind].columns("coverage"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Errors of all texts beside each kind's bound for its worst text; log scale from 1 %.

        Texts of both classes have different errors: check those of one to see how wide bounds are.
        """
        from lens_steer.figures import canvas, whole_numbers

        layers = range(self.start + 1, self.start + 1 + len(self.sizes))
        coverage = self.coverage()
        with canvas(width=5.6, height=4.4) as (figure, axes):
            lines = axes.plot(layers, (self.errors.abs() / self._units).T, color="0.6", lw=0.5)
            lines[0].set_label("$|e_k|$ of each text")
            for i, (kind, bounds) in enumerate(self.bounds.items()):
                label = f"{kind}: all inside in {coverage[kind]} of groups"
                largest = (bounds / self._units).amax(dim=0)
                axes.plot(layers, largest, "s--", color=f"C{i}", ms=3, label=label)
            axes.set(yscale="log", xlabel="k: $z_k$ leaves block k - 1")
            axes.set(ylabel="$|v_k\\cdot z_k - \\beta_k|\\ /\\ \\mu_k$", ylim=(0.01, None))
            whole_numbers(axes.xaxis)
            texts = f"n = {len(self.groups)} texts, {len(set(self.groups))} groups"
            title = f"loop {self.loop}; {1 - self.alpha:.0%} bounds,\nlargest over texts; {texts}"
            figure.legend(loc="outside lower center", ncols=1, title=title)
        return figure

    @property
    def _units(self) -> Float[Tensor, " layer"]:
        return torch.where(self.sizes > 0, self.sizes, torch.nan)
