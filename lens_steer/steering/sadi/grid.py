"""SADI's grid: every k and delta on answers, prompts read once; chosen on dev, reported on test."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, Number, Positive, Seed
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementScores, Ranking, answers_at
from lens_steer.data import ContrastivePairs
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.sites import Kind
from lens_steer.steering.sadi.scaling import SADI

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# The published grid: delta is the code's factor less one. 96 + 60 + 176 = 332 points.
_FACTORS = tuple(range(5, 85, 5))
PUBLISHED: dict[Kind, tuple[tuple[int, ...], tuple[float, ...]]] = {
    Kind.HEAD: ((1, 2, 4, 6, 8, 10), tuple(f - 1.0 for f in _FACTORS)),
    Kind.NEURON: (
        (3, 5, 10, 30, 50, 100, 200, 300, 400, 500),
        tuple(f - 1.0 for f in (10, 20, 30, 50, 70, 90)),
    ),
    Kind.MLP_OUT: ((1, *range(2, 22, 2)), tuple(f - 1.0 for f in _FACTORS)),
}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class GridReport(Report):
    """What every k and delta does to the answers, at scope "last".

    Attributes:
        scores: That elements were ranked by.
        ranking: How.
        ks: Elements chosen.
        deltas: What they were scaled by, less one.
        margin: Log-probability per token of the desired answer minus that of the undesired, nats.
        kl: KL(steered || unsteered) of the answer's first token, nats.
        plain: The unsteered model's margin.
        groups: Of the pairs: what belongs together.
        seed: Of the intervals.
    """

    scores: ElementScores
    ranking: Ranking
    ks: tuple[int, ...]
    deltas: tuple[float, ...]
    margin: Float[Tensor, "k delta pair"]
    kl: Float[Tensor, "k delta pair"]
    plain: Float[Tensor, " pair"]
    groups: tuple[Hashable, ...]
    seed: int

    @classmethod
    def fit(  # noqa: PLR0913 - a grid has two axes
        cls,
        model: SteerableModel,
        scores: ElementScores,
        pairs: ContrastivePairs,
        ks: Sequence[int] | None = None,
        deltas: Sequence[float | int] | None = None,
        *,
        by: Ranking = "signed",
        seed: Seed,
        token_budget: Count | None = None,
        progress: bool = True,
    ) -> "GridReport":
        """Try every k with every delta.

        Args:
            pairs: To choose on (dev); measure the choice alone on others (test).
            ks: None: the published ones, as far as there are elements.
            deltas: None: the published ones.

        Raises:
            ValueError: As `answers_at`, `ElementScores.top` and `SADI`.

        Example:
            >>> scores = ls.attribution.contrast(ls.capture(model, train, "head"))
            >>> grid = ls.steering.GridReport.fit(model, scores, dev, (1, 2, 4), (-1, 1, 4), seed=0)
            >>> method = grid.best(kl=0.1)
        """
        wide, far = _usual(scores)
        tried = tuple(ks) if ks is not None else wide
        sizes = tuple(map(float, deltas)) if deltas is not None else far
        masks = [scores.top(k, by) for k in tried]
        methods = [SADI(mask, delta) for mask in masks for delta in sizes]
        methods[0].factors(model)  # does it fit?
        points = [method.gains() for method in methods]
        answers = answers_at(
            model, pairs, [{}, *points], token_budget=token_budget, progress=progress
        )
        shape = (len(tried), len(sizes))
        margin, kl = (x[1:].unflatten(0, shape) for x in (answers.margin, answers.kl))
        return cls(scores, by, tried, sizes, margin, kl, answers.margin[0], pairs.groups, seed)

    @property
    def accuracy(self) -> Float[Tensor, "k delta"]:
        """Share of pairs whose desired answer is the likelier."""
        return (self.margin > 0).double().mean(dim=-1)

    def best(self, kl: Positive | None = None) -> SADI:
        """The point of the most accuracy, of equal ones that of the largest margin.

        Args:
            kl: Only points of at most so many nats at the answer's first token, on average.

        Raises:
            ValueError: If there is none.
        """
        allowed = self.kl.mean(dim=-1) <= (torch.inf if kl is None else kl)
        if not bool(allowed.any()):
            least = float(self.kl.mean(dim=-1).min())
            raise ValueError(f"no point of at most {kl} nats: the least is {least:.3g}")
        order = self.accuracy + 1e-9 * self.margin.mean(dim=-1).tanh()
        i = int(order.masked_fill(~allowed, -torch.inf).argmax())
        k, delta = self.ks[i // len(self.deltas)], self.deltas[i % len(self.deltas)]
        return SADI(self.scores.top(k, self.ranking), delta, provenance=self.scores.provenance)

    def interval(self, k: Count, delta: Number) -> Interval:
        """Accuracy at one point, with its 95 % interval over groups of pairs."""
        right = self.margin[self.ks.index(k), self.deltas.index(float(delta))] > 0
        return interval(right.double(), self.groups, seed=self.seed)

    def table(self) -> "pd.DataFrame":
        """One row per point, the unsteered model first (k 0)."""
        import pandas as pd

        plain = interval((self.plain > 0).double(), self.groups, seed=self.seed)
        start = {"k": 0, "delta": 0.0, "margin": float(self.plain.mean()), "kl": 0.0}
        rows = [start | plain.columns("accuracy")]
        for i, k in enumerate(self.ks):
            for j, delta in enumerate(self.deltas):
                means = {"margin": self.margin[i, j].mean(), "kl": self.kl[i, j].mean()}
                rows.append(
                    {"k": k, "delta": delta}
                    | {name: float(mean) for name, mean in means.items()}
                    | self.interval(k, delta).columns("accuracy")
                )
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Accuracy over k and delta, beside the nats it costs."""
        from lens_steer.figures import canvas

        with canvas(1, 2, width=8.6, height=3.6, sharey=True) as (figure, (left, right)):
            kl = self.kl.mean(dim=-1)
            for axes, values, label, colours, span in (
                (left, self.accuracy, "share preferring desired", "RdBu_r", (0.0, 1.0)),
                (
                    right,
                    kl,
                    "KL of the first answer token, nats",
                    "magma_r",
                    (0.0, min(1.0, float(kl.max()))),
                ),
            ):
                scale = {"vmin": span[0], "vmax": span[1], "cmap": colours}
                image = axes.imshow(values.numpy(), aspect="auto", origin="lower", **scale)
                figure.colorbar(image, ax=axes, label=label)
                axes.set_xticks(
                    range(len(self.deltas)), [f"{d:g}" for d in self.deltas], rotation=90
                )
                axes.set(xlabel="delta")
            left.set_yticks(range(len(self.ks)), list(map(str, self.ks)))
            left.set(ylabel=f"k, {self.scores.kind.value} elements")
            left.set_title(f"unsteered {float((self.plain > 0).double().mean()):.0%}")
            clipped = "; the darkest is 1 nat or more" if kl.max() > 1 else ""
            right.set_title(f"{len(self.plain)} pairs{clipped}")
        return figure

    def dose_figure(self) -> "Figure":
        """What the margin gains against delta, a line for each k, with 95 % intervals."""
        from lens_steer.figures import canvas

        with canvas() as (figure, axes):
            for i, k in enumerate(self.ks):
                gains = self.margin[i] - self.plain
                intervals = [interval(row, self.groups, seed=self.seed) for row in gains]
                middle = [gain.mean for gain in intervals]
                span = [[gain.mean - gain.low, gain.high - gain.mean] for gain in intervals]
                style = {"fmt": "o-", "color": f"C{i}", "label": f"{k}", "elinewidth": 0.8}
                axes.errorbar(self.deltas, middle, yerr=torch.tensor(span).T.numpy(), **style)
            axes.axhline(0, color="k", lw=0.8)
            axes.set(xlabel="delta", ylabel="margin gained by the desired answer,\nnats per token")
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xticks(self.deltas, [f"{delta:g}" for delta in self.deltas])
            axes.minorticks_off()
            axes.legend(title=f"k, {self.scores.kind.value}")
        return figure


def _usual(scores: ElementScores) -> tuple[tuple[int, ...], tuple[float, ...]]:
    kind = Kind.NEURON if scores.kind is Kind.GATE else scores.kind
    ks, deltas = PUBLISHED.get(kind, PUBLISHED[Kind.MLP_OUT])
    return tuple(k for k in ks if k <= scores.values.numel()), deltas
