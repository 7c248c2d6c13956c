"""How far a choice of elements can be trusted: chosen from other pairs, and label by label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.attribution.contrasts import contrast
from lens_steer.attribution.scores import ElementScores, Ranking
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
        k: int,
        sizes: Sequence[int],
        *,
        by: Ranking = "signed",
        draws: int = 50,
        seed: int,
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
                    a, b = (_scores(activations, part).top(k, by) for part in parts)
                    halves[i, j] = a.overlap(b)
                again = source.integers(n, size=size)
                against[i, j] = _scores(activations, again).top(k, by).overlap(whole)
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
        from lens_steer.figures import canvas

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
            axes.legend(loc="lower right", bbox_to_anchor=(1, 0.06))
        return figure


def _scores(activations: Activations, pairs: np.ndarray) -> ElementScores:
    """The mean difference of some of the pairs, by element."""
    a = activations
    return contrast(Activations(a.desired[pairs], a.undesired[pairs], a.kind, a.layers))


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LabelBalance(Report):
    """Whether the difference belongs to the behaviour or to one frequent label.

    Attributes:
        labels: What the desired sides of the pairs are called.
        counts: Pairs of each.
        directions: Each label's own mean difference.
        balanced: Scores that weigh every label the same.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    directions: Float[Tensor, "label layer element"]
    balanced: ElementScores

    @classmethod
    def fit(cls, activations: Activations, labels: Sequence[str]) -> "LabelBalance":
        """Mean differences label by label.

        Args:
            activations: Of paired examples.
            labels: Of each pair, such as its desired answer.

        Raises:
            ValueError: If there is not one label per pair.

        Example:
            >>> labels = [example.continuation for example in pairs.desired]
            >>> ls.attribution.LabelBalance.fit(heads, labels).balanced.top(16)
        """
        if not activations.paired or len(labels) != len(activations.desired):
            n = len(activations.desired)
            raise ValueError(f"got {len(labels)} labels, expected one for each of {n} pairs")
        names = tuple(dict.fromkeys(labels))
        rows = [np.flatnonzero([label == name for label in labels]) for name in names]
        directions = torch.stack([_scores(activations, of_label).values for of_label in rows])
        whole = contrast(activations)
        balanced = replace(
            whole,
            values=directions.mean(dim=0),
            error=None,
            consistency=None,
            name="mean difference, labels weighing the same",
        )
        return cls(names, tuple(map(len, rows)), directions, balanced)

    def table(self) -> "pd.DataFrame":
        """One row per label: its pairs, and the cosine of its difference with the others' mean."""
        import pandas as pd

        flat, rows = self.directions.flatten(1), []
        for i, (label, count) in enumerate(zip(self.labels, self.counts, strict=True)):
            others = flat[[j for j in range(len(flat)) if j != i]].mean(dim=0)
            cosine = (
                torch.cosine_similarity(flat[i], others, dim=0).item()
                if len(flat) > 1
                else float("nan")
            )
            rows.append({"label": label, "pairs": count, "cosine_with_others": cosine})
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The cosine of each label's difference with the mean of the others'."""
        from lens_steer.figures import canvas

        table = self.table()
        with canvas() as (figure, axes):
            axes.bar(range(len(table)), table["cosine_with_others"], color="C0")
            counted = zip(self.labels, self.counts, strict=True)
            axes.set_xticks(range(len(table)), [f"{name}\n{n} pairs" for name, n in counted])
            axes.axhline(0, color="k", lw=0.8)
            axes.set(ylabel="cosine with the others' mean", ylim=(-1.02, 1.02))
        return figure
