"""How much a sketched field depends on its hash seed."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.barriers import PolynomialBarrier
from lens_steer.barriers.field import HeldOutRows, stacked_rows
from lens_steer.intervals import plot_band
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class FieldStability(Report):
    """Whether sketches of several hash seeds have one field: cosines at held-out rows.

    Attributes:
        sizes: Numbers of components of the sketches.
        between: Mean over pairs of hash seeds of the cosine of their two fields.
        exact: Mean over hash seeds of the cosine with the field of the exact kernel.
        hashes: Number of hash seeds.
        sample: The rows.
    """

    sizes: tuple[int, ...]
    between: Float[Tensor, "size n"]
    exact: Float[Tensor, "size n"]
    hashes: int
    sample: HeldOutRows

    @classmethod
    def of(
        cls,
        exact: PolynomialBarrier,
        sketches: Mapping[int, Sequence[PolynomialBarrier]],
        held_out: LayerActivations,
        seed: int = 0,
        *,
        groups: Sequence[Hashable] | None = None,
    ) -> "FieldStability":
        """Compare barriers that were fitted to the same rows with the same settings.

        Args:
            exact: The fit by the kernel itself.
            sketches: By number of components, one barrier for each of two hash seeds or more.
            held_out: Where the fields are compared.
            seed: Of the intervals.
            groups: As `trace`.

        Raises:
            ValueError: If there are fewer than two seeds, or not equally many for every size; or as
                `trace`.
        """
        counts = {len(barriers) for barriers in sketches.values()}
        if len(counts) != 1 or min(counts) < 2:
            raise ValueError(
                f"got {sorted(counts)} sketches by size: expected as many of each, at least 2"
            )
        rows = stacked_rows(exact, held_out)
        exact_field, cosines = _field(exact, rows), []
        for size in sorted(sketches):
            fields = [_field(barrier, rows) for barrier in sketches[size]]
            pairs = [cosine_similarity(u, v, dim=-1) for u, v in combinations(fields, 2)]
            to_exact = [cosine_similarity(u, exact_field, dim=-1) for u in fields]
            cosines.append([torch.stack(part).mean(dim=0) for part in (pairs, to_exact)])
        between, with_exact = (torch.stack(part) for part in zip(*cosines, strict=True))
        sample = HeldOutRows.of(held_out, groups, seed)
        return cls(tuple(sorted(sketches)), between, with_exact, counts.pop(), sample)

    @override
    def table(self) -> "pd.DataFrame":
        """A row per number of components."""
        import pandas as pd

        return pd.DataFrame(
            {"components": size, "hashes": self.hashes}
            | self.sample.interval(between).columns("between")
            | self.sample.interval(exact).columns("exact")
            for size, between, exact in zip(self.sizes, self.between, self.exact, strict=True)
        )

    @override
    def figure(self) -> "Figure":
        """Both cosines against the number of components."""
        from lens_steer.figures import canvas, legend_outside

        with canvas(width=4.8, height=3.4) as (figure, axes):
            for i, (name, part) in enumerate((("between", self.between), ("exact", self.exact))):
                label = {"between": "of two hash seeds", "exact": "with the exact kernel"}[name]
                means = [self.sample.interval(row) for row in part]
                plot_band(axes, self.sizes, means, f"C{i}", label)
            axes.set(xscale="log", xlabel="components of the sketch")
            axes.set_xticks(self.sizes, [str(size) for size in self.sizes])
            axes.minorticks_off()
            axes.set(ylabel="cosine of two fields (95 % intervals)")
            axes.set_title(f"{self.hashes} hash seeds\n{self.sample}")
            legend_outside(figure)
        return figure


def _field(barrier: PolynomialBarrier, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return barrier.to(device=rows.device, dtype=torch.double).field(rows)
