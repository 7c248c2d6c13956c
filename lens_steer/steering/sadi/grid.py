"""SADI's grid: every k and delta on answers, prompts read once; chosen on dev, reported on test."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, Number, Positive, Seed
from lens_steer.artifacts import savable
from lens_steer.attribution import (
    ElementMask,
    ElementScores,
    Ranking,
    answers_at,
    frozen_answers_at,
)
from lens_steer.data import ContrastivePairs
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.sites import Kind
from lens_steer.steering.sadi.frozen import FrozenSADI
from lens_steer.steering.sadi.grid_answers import GridAnswers, held_factors
from lens_steer.steering.sadi.grid_drawing import Axes, Maps, draw_difference, draw_gains, draw_maps
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

    `SADI` scales what a pass holds itself; the published code patches clean values in
    (`FrozenSADI`), at the last prompt token alone. A report of both says how far they are apart.

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
        frozen: The same with the published patch, or None.
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
    frozen: GridAnswers | None = field(default=None, metadata={"saved_if_set": True})

    def __post_init__(self) -> None:
        if self.frozen is not None and self.frozen.margin.shape != self.margin.shape:
            shapes = f"{tuple(self.frozen.margin.shape)} and {tuple(self.margin.shape)}"
            raise ValueError(f"frozen and online margins of shapes {shapes}: expected one shape")

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
        frozen: bool = False,
        seed: Seed,
        token_budget: Count | None = None,
        progress: bool = True,
    ) -> "GridReport":
        """Try every k with every delta.

        Args:
            pairs: To choose on (dev); measure the choice alone on others (test).
            ks: None: the published ones, as far as there are elements.
            deltas: None: the published ones.
            frozen: Whether to try the published patch at every point as well, at twice the cost.

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
        how: Any = {"token_budget": token_budget, "progress": progress}
        shape = (len(tried), len(sizes))
        online = answers_at(model, pairs, [{}, *(each.gains() for each in methods)], **how)
        margin, kl = (x[1:].unflatten(0, shape) for x in (online.margin, online.kl))
        patched = None
        if frozen:
            held = [held_factors(mask, delta) for mask in masks for delta in sizes]
            found = frozen_answers_at(model, pairs, held, **how)
            patched = GridAnswers(found.margin.unflatten(0, shape), found.kl.unflatten(0, shape))
        plain = online.margin[0]
        return cls(scores, by, tried, sizes, margin, kl, plain, pairs.groups, seed, patched)

    @property
    def accuracy(self) -> Float[Tensor, "k delta"]:
        """Share of pairs whose desired answer is the likelier."""
        return self._online.accuracy

    def best(self, kl: Positive | None = None) -> SADI:
        """The point of the most accuracy, of equal ones that of the largest margin.

        Args:
            kl: Only points of at most so many nats at the answer's first token, on average.

        Raises:
            ValueError: If there is none.
        """
        mask, delta = self._point(self._online, kl)
        return SADI(mask, delta, provenance=self.scores.provenance)

    def best_frozen(self, kl: Positive | None = None) -> FrozenSADI:
        """The same of the published patch.

        Args:
            kl: As `best`.

        Raises:
            ValueError: As `best`, or if the report has no frozen patches.
        """
        mask, delta = self._point(self._frozen(), kl)
        return FrozenSADI(mask, delta, provenance=self.scores.provenance)

    def _point(self, answers: GridAnswers, kl: float | int | None) -> tuple[ElementMask, float]:
        i, j = answers.best(kl)
        return self.scores.top(self.ks[i], self.ranking), self.deltas[j]

    @property
    def difference(self) -> Float[Tensor, "k delta"]:
        """How far the published patch is from scaling online, as a share of what online changes.

        Root mean squares over pairs: of the difference of the two margins, over that of what the
        margin gains online. 0: the two are one; NaN where online changes nothing.

        Raises:
            ValueError: If the report has no frozen patches.
        """
        apart = self._frozen().margin - self.margin
        gained = self.margin - self.plain
        return (apart.square().mean(dim=-1) / gained.square().mean(dim=-1)).sqrt()

    def _frozen(self) -> GridAnswers:
        if self.frozen is None:
            raise ValueError("this grid has no frozen patches: GridReport.fit(..., frozen=True)")
        return self.frozen

    def interval(self, k: Count, delta: Number) -> Interval:
        """Accuracy at one point, with its 95 % interval over groups of pairs."""
        i, j = self.ks.index(k), self.deltas.index(float(delta))
        return self._online.interval(i, j, self.groups, self.seed)

    def table(self) -> "pd.DataFrame":
        """One row per point, the unsteered model first (k 0); `frozen_*`: the published patch."""
        import pandas as pd

        plain = interval((self.plain > 0).double(), self.groups, seed=self.seed)
        start = {"k": 0, "delta": 0.0, "margin": float(self.plain.mean()), "kl": 0.0}
        rows = [start | plain.columns("accuracy")]
        for i, k in enumerate(self.ks):
            for j, delta in enumerate(self.deltas):
                own = {"k": k, "delta": delta} | self._online.columns(i, j, self.groups, self.seed)
                if self.frozen is not None:
                    own |= self.frozen.columns(i, j, self.groups, self.seed, "frozen_")
                    own["frozen_difference"] = float(self.difference[i, j])
                rows.append(own)
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Accuracy over k and delta, beside the nats it costs; below, the frozen patches."""
        plain = f"unsteered {float((self.plain > 0).double().mean()):.0%}"
        if self.frozen is None:
            rows = [Maps(plain, self.accuracy, self.kl.mean(dim=-1))]
        else:
            rows = [
                Maps(f"scaled online; {plain}", self.accuracy, self.kl.mean(dim=-1)),
                Maps("frozen patch", self.frozen.accuracy, self.frozen.kl.mean(dim=-1)),
            ]
        return draw_maps(self._axes, rows, len(self.plain))

    def dose_figure(self) -> "Figure":
        """What the margin gains against delta, a line for each k, with 95 % intervals."""
        gains = {
            k: [interval(row, self.groups, seed=self.seed) for row in margin - self.plain]
            for k, margin in zip(self.ks, self.margin, strict=True)
        }
        return draw_gains(self._axes, gains)

    def difference_figure(self) -> "Figure":
        """How far frozen patches are from scaling online (`difference`), a line for each k.

        Raises:
            ValueError: As `difference`.
        """
        return draw_difference(self._axes, self.difference)

    @property
    def _online(self) -> GridAnswers:
        return GridAnswers(self.margin, self.kl)

    @property
    def _axes(self) -> Axes:
        return Axes(self.ks, self.deltas, self.scores.kind.value)


def _usual(scores: ElementScores) -> tuple[tuple[int, ...], tuple[float, ...]]:
    kind = Kind.NEURON if scores.kind is Kind.GATE else scores.kind
    ks, deltas = PUBLISHED.get(kind, PUBLISHED[Kind.MLP_OUT])
    return tuple(k for k in ks if k <= scores.values.numel()), deltas
