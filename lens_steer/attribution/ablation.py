"""What elements do: the answers' margin with and without them, on held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.attribution.answers import answers_at
from lens_steer.attribution.contrasts import over_pairs
from lens_steer.attribution.mask import ElementMask, by_element
from lens_steer.attribution.scaled_points import Factors
from lens_steer.attribution.scores import ElementScores, Ranking
from lens_steer.data import ContrastivePairs
from lens_steer.intervals import Interval, interval
from lens_steer.models import Provenance, SteerableModel, attach
from lens_steer.reports import Report
from lens_steer.sites import Kind, Site, site_shape

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def zero_ablation(
    model: SteerableModel, pairs: ContrastivePairs, kind: str = "head", *, progress: bool = True
) -> ElementScores:
    """What each element alone does for the margin: the margin minus that without the element.

    Elements are set to 0 at the last prompt token and in the answer. One batch row for each
    element, answer and pair: for heads of any model, for neurons of small ones.

    Returns:
        Nats per token; positive elements favour the desired answer.

    Raises:
        ValueError: As `answers_at`.

    Example:
        >>> scores = ls.attribution.zero_ablation(model, pairs, "head")
        >>> mask = scores.top(16)
    """
    what = Kind.parse(kind)
    layers, elements = int(model.cfg.n_layers), site_shape(model, what)[0]
    points: list[Factors] = [{}]
    for i in range(layers * elements):
        factor = torch.ones(elements)
        factor[i % elements] = 0.0
        points.append({Site(i // elements, what): by_element(factor, what)})
    margins = answers_at(model, pairs, points, progress=progress).margin
    gap = (margins[:1] - margins[1:]).unflatten(0, (layers, elements))
    source = Provenance(attach(model).fingerprint, pairs.name, "last prompt token and answer")
    name = "margin lost without it, nats per token"
    return over_pairs(gap.movedim(-1, 0), what, name, source)


def without(mask: ElementMask) -> Factors:
    """What takes the elements of a mask out."""
    kind = Kind.NEURON if mask.kind is Kind.GATE else mask.kind
    kept = zip(mask.layers, (~mask.selected).float(), mask.by_layer.tolist(), strict=True)
    return {Site(layer, kind): by_element(row, kind) for layer, row, count in kept if count}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class AblationReport(Report):
    """The margin lost without the first k elements, and without random ones of the same layers.

    Attributes:
        ks: Elements taken out.
        lost: Margin lost, nats per token, for each k and pair.
        random: The same for masks drawn in the same layers, mean of `draws`.
        margin: Of the model as it is.
        groups: Of the pairs: what belongs together.
        kind: Of the elements.
        ranking: How they were ranked.
        draws: Random masks for each k.
        seed: Of the draws and the intervals.
    """

    ks: tuple[int, ...]
    lost: Float[Tensor, "k pair"]
    random: Float[Tensor, "k pair"]
    margin: Float[Tensor, " pair"]
    groups: tuple[object, ...]
    kind: Kind
    ranking: str
    draws: int
    seed: int

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        scores: ElementScores,
        held_out: ContrastivePairs,
        ks: Sequence[int],
        *,
        by: Ranking = "signed",
        draws: Count = 5,
        seed: Seed,
        progress: bool = True,
    ) -> "AblationReport":
        """Set the first k elements to 0 on pairs that did not choose them.

        Args:
            scores: Which rank the elements.
            held_out: Pairs on which the margin is measured.
            ks: Numbers of elements.
            by: How elements are ranked; see `ElementScores.top`.
            draws: Random masks for each k.
            seed: Of the masks and the intervals.

        Raises:
            ValueError: As `answers_at` and `ElementScores.top`.

        Example:
            >>> scores = ls.attribution.contrast(ls.capture(model, train, "head"))
            >>> report = ls.attribution.AblationReport.fit(model, scores, dev, [1, 4, 16], seed=0)
            >>> report.knee
        """
        masks = [scores.top(k, by) for k in ks]
        drawn = [mask.shuffled(seed=seed + i) for mask in masks for i in range(draws)]
        points = [{}, *map(without, [*masks, *drawn])]
        margins = answers_at(model, held_out, points, progress=progress).margin
        lost = margins[:1] - margins[1:]
        chance = lost[len(masks) :].unflatten(0, (len(masks), draws)).mean(dim=1)
        chosen, groups = lost[: len(masks)], held_out.groups
        return cls(tuple(ks), chosen, chance, margins[0], groups, scores.kind, by, draws, seed)

    def effect(self, k: Count) -> Interval:
        """Mean margin lost with the first k, nats per token, with its 95 % interval."""
        return interval(self.lost[self._row(k)], self.groups, seed=self.seed)

    def beyond_random(self, k: Count) -> Interval:
        """The same beyond what random elements of the same layers lose, pair by pair."""
        row = self._row(k)
        return interval(self.lost[row] - self.random[row], self.groups, seed=self.seed)

    @property
    def knee(self) -> int:
        """The k after which more elements bring little: farthest above the straight line.

        Effect against log k, both scaled to 0..1 (Satopaa et al. 2011, "Kneedle"); the largest
        effect where it never slackens before. How many elements differ significantly cannot
        choose k: of neurons nearly all do.
        """
        x, y = np.log(np.array(self.ks, dtype=float)), self.lost.mean(dim=1).numpy()
        if len(x) < 3 or y.max() == y[0]:
            return self.ks[0]
        last = int(y.argmax())
        x, y = x[: last + 1] - x[0], y[: last + 1] - y[0]
        above = y / y[-1] - x / x[-1]
        return self.ks[int(above.argmax()) if above.max() > 0 else last]

    def table(self) -> "pd.DataFrame":
        """One row per k."""
        import pandas as pd

        rows = []
        for i, k in enumerate(self.ks):
            by_chance = interval(self.random[i], self.groups, seed=self.seed)
            row = {"k": k} | self.effect(k).columns("lost") | by_chance.columns("random")
            rows.append(row | self.beyond_random(k).columns("beyond_random"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Margin lost against k, of the chosen elements and of random ones, the knee marked."""
        from lens_steer.figures import canvas, legend_outside

        table = self.table()
        with canvas() as (figure, axes):
            lines = (("lost", "C0", "chosen"), ("random", "C7", f"random, {self.draws} draws"))
            for name, colour, label in lines:
                low, high = table[f"{name}_low"], table[f"{name}_high"]
                axes.fill_between(table["k"], low, high, color=colour, alpha=0.2, lw=0)
                axes.plot(table["k"], table[name], "o-", color=colour, label=label)
            axes.axhline(0, color="k", lw=0.8)
            axes.axvline(self.knee, color="C3", lw=0.8, ls=":", label=f"knee: {self.knee}")
            axes.set(xscale="log", xlabel=f"{self.kind.value} taken out (by {self.ranking})")
            axes.set_xticks(self.ks, list(map(str, self.ks)), minor=False)
            axes.minorticks_off()
            axes.set(ylabel="margin lost, nats per token")
            title = f"{self.lost.shape[1]} pairs, 95 % intervals"
            legend_outside(figure, title=title, columns=3)
        return figure

    def _row(self, k: int) -> int:
        if k not in self.ks:
            raise ValueError(f"k {k} was not measured: expected one of {list(self.ks)}")
        return self.ks.index(k)
