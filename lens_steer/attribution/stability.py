"""How far a choice of elements can be trusted: chosen again from other pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.attribution.contrasts import contrast, contrast_of_pairs
from lens_steer.attribution.scores import Ranking
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class StabilityReport(Report):
    """Overlap of the masks that different pairs give, by the number of pairs.

    Overlaps are corrected for chance: 0 is what random masks of that size have, 1 is equal.

    Attributes:
        sizes: Numbers of pairs.
        halves: Overlap of two disjoint sets of that size, for each draw; NaN where too few pairs.
        whole: Overlap of a bootstrap sample of that size with the mask of all pairs.
        k: Elements of each mask.
        ranking: How elements were ranked.
        kind: What they are.
        pairs: All pairs there were.
        seed: Of the draws.
    """

    sizes: tuple[int, ...]
    halves: Float[Tensor, "size draw"]
    whole: Float[Tensor, "size draw"]
    k: int
    ranking: str
    kind: str
    pairs: int
    seed: int

    @classmethod
    def fit(
        cls,
        activations: Activations,
        k: Count,
        sizes: Sequence[int],
        *,
        by: Ranking = "signed",
        draws: Count = 50,
        seed: Seed,
    ) -> "StabilityReport":
        """Choose k elements from parts of the pairs, again and again.

        Args:
            activations: Of paired examples.
            k: Elements of each mask.
            sizes: Numbers of pairs to choose from.
            by: How elements are ranked; see `ElementScores.top`.
            draws: Random parts of each size.
            seed: Of the draws.

        Raises:
            ValueError: If the examples are unpaired, or a size is out of range.

        Example:
            >>> heads = ls.capture(model, pairs, "head")
            >>> ls.attribution.StabilityReport.fit(heads, k=16, sizes=[8, 16, 32], seed=0)
        """
        n = len(activations.desired)
        if not activations.paired:
            raise ValueError(f"{activations!r}: expected paired examples")
        if not sizes or min(sizes) < 2 or max(sizes) > n:
            raise ValueError(f"sizes {list(sizes)}: expected numbers of pairs from 2 to {n}")
        source, whole = np.random.default_rng(seed), contrast(activations).top(k, by)
        halves = torch.full((len(sizes), draws), torch.nan)
        against = torch.zeros(len(sizes), draws)
        for i, size in enumerate(sizes):
            for j in range(draws):
                order = source.permutation(n)
                if 2 * size <= n:
                    parts = order[:size], order[size : 2 * size]
                    a, b = (contrast_of_pairs(activations, part).top(k, by) for part in parts)
                    halves[i, j] = a.overlap(b)
                again = source.integers(n, size=size)
                against[i, j] = contrast_of_pairs(activations, again).top(k, by).overlap(whole)
        kind = activations.kind.value
        return cls(tuple(sizes), halves, against, k, by, kind, n, seed)

    def table(self) -> "pd.DataFrame":
        """One row per number of pairs: means over draws, with the middle 95 % of the draws."""
        import pandas as pd

        columns = {"pairs": self.sizes}
        for name, values in (("halves", self.halves), ("whole", self.whole)):
            low, high = np.quantile(values.numpy(), [0.025, 0.975], axis=1)
            columns |= {name: values.mean(dim=1).numpy(), f"{name}_low": low, f"{name}_high": high}
        return pd.DataFrame(columns)

    def figure(self) -> "Figure":
        """Overlap against the number of pairs."""
        from lens_steer.figures import canvas, legend_outside

        table = self.table()
        with canvas() as (figure, axes):
            lines = (
                ("halves", "C0", "two disjoint sets of pairs"),
                ("whole", "C1", "resampled, with all pairs"),
            )
            for name, colour, label in lines:
                low, high = table[f"{name}_low"], table[f"{name}_high"]
                axes.fill_between(table["pairs"], low, high, color=colour, alpha=0.2, lw=0)
                axes.plot(table["pairs"], table[name], "o-", color=colour, label=label)
            axes.axhline(0, color="k", lw=0.8, ls=":")
            axes.set(xscale="log", xlabel="pairs", ylim=(-0.05, 1.03))
            axes.set_xticks(self.sizes, list(map(str, self.sizes)))
            axes.minorticks_off()
            axes.set(ylabel="overlap beyond chance (1: equal)")
            title = f"first {self.k} {self.kind} elements by {self.ranking}; mean, 95 % of draws"
            axes.set_title(title)
            legend_outside(figure)
        return figure
