"""Whether several attributions say the same, and whether activations have the sign they should."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.attribution.mask import ElementMask
from lens_steer.attribution.scores import ElementScores, Ranking
from lens_steer.intervals import Interval, interval
from lens_steer.sites import Kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AgreementReport:
    """How alike several attributions of the same elements are.

    Attributes:
        scores: By name.
        k: Of the masks whose overlap is taken.
        ranking: How elements are ranked for them.
    """

    scores: dict[str, ElementScores]
    k: int
    ranking: Ranking

    @classmethod
    def of(
        cls, scores: Mapping[str, ElementScores], k: int, *, by: Ranking = "signed"
    ) -> "AgreementReport":
        """Of two attributions or more.

        Raises:
            ValueError: If there are fewer, or they are of different elements.
        """
        if len(scores) < 2:
            raise ValueError(f"got {list(scores)}: expected two attributions or more")
        forms = {(s.kind.value, s.layers, tuple(s.values.shape)) for s in scores.values()}
        if len(forms) > 1:
            raise ValueError(f"attributions of different elements: {sorted(map(str, forms))}")
        for each in scores.values():
            each.top(k, by)
        return cls(dict(scores), k, by)

    def table(self) -> "pd.DataFrame":
        """One row for each two: Spearman's rank correlation, overlap of the masks beyond chance."""
        import pandas as pd
        from scipy.stats import spearmanr

        rows, names = [], list(self.scores)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                x, y = (self.scores[name].values.flatten().numpy() for name in (a, b))
                rank: Any = spearmanr(x, y)
                masks = [self.scores[name].top(self.k, self.ranking) for name in (a, b)]
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "rank_correlation": float(rank.statistic),
                        "overlap": masks[0].overlap(masks[1]),
                    }
                )
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Every element's two scores against each other, for each two attributions."""
        from lens_steer.figures import canvas

        table = self.table()
        columns = min(3, len(table))
        rows = -(-len(table) // columns)
        with canvas(rows, columns, width=3.1 * columns, height=2.9 * rows, squeeze=False) as (
            figure,
            axes,
        ):
            for place, (_, each) in zip(axes.flat, table.iterrows(), strict=False):
                row: Any = each
                x, y = (self.scores[row[side]].values.flatten().numpy() for side in ("a", "b"))
                place.axhline(0, color="k", lw=0.5)
                place.axvline(0, color="k", lw=0.5)
                place.plot(x, y, ".", color="C0", alpha=0.5)
                place.set(xlabel=row["a"], ylabel=row["b"])
                alike = f"rank correlation {row['rank_correlation']:.2f}"
                place.set_title(f"{alike}\noverlap of {self.k}: {row['overlap']:.2f}")
            for place in list(axes.flat)[len(table) :]:
                place.set_axis_off()
        return figure


@dataclass(frozen=True, eq=False)
class SignReport:
    """How often the activations that would be scaled have the sign of the desired examples.

    Scaling amplifies the sign that is there: at one half it pushes the wrong way as often as not.

    Attributes:
        agreement: Share of the chosen elements (of heads: of their dimensions), for each example.
        groups: Of the examples: what belongs together.
        seed: Of the interval.
    """

    agreement: Float[Tensor, " example"]
    groups: tuple[Hashable, ...]
    seed: int

    @classmethod
    def fit(
        cls,
        chosen_on: Activations,
        mask: ElementMask,
        held_out: Float[Tensor, "example layer *site"],
        *,
        groups: tuple[Hashable, ...] | None = None,
        seed: int,
    ) -> "SignReport":
        """Signs of held-out activations against those of the mean difference.

        Args:
            chosen_on: What the mask was chosen on; its mean difference has the wanted signs.
            held_out: Read where it would be steered: `capture(..., read="prompt_last").desired`.
            groups: None: every example for itself.

        Raises:
            ValueError: If the mask or the examples are of other elements.
        """
        direction = chosen_on.direction
        if (mask.kind, mask.layers) != (chosen_on.kind, chosen_on.layers):
            raise ValueError(f"got {mask!r} for {chosen_on!r}: expected the same kind and layers")
        if held_out.shape[1:] != direction.shape:
            shapes = f"{tuple(held_out.shape[1:])} and {tuple(direction.shape)}"
            raise ValueError(f"activations of shapes {shapes}: capture both in the same way")
        chosen = mask.selected[..., None] if mask.kind is Kind.HEAD else mask.selected
        counted = (chosen & (direction != 0)).expand_as(direction)
        right = ((held_out * direction) > 0)[:, counted]
        own = tuple(range(len(held_out))) if groups is None else groups
        return cls(right.double().mean(dim=1), own, seed)

    @property
    def share(self) -> Interval:
        """Mean over examples, with its 95 % interval."""
        return interval(self.agreement, self.groups, seed=self.seed)

    def figure(self) -> "Figure":
        """How many examples have which share."""
        from lens_steer.figures import canvas

        with canvas() as (figure, axes):
            axes.hist(self.agreement.numpy(), bins=20, range=(0, 1), color="C0")
            axes.axvline(0.5, color="k", lw=0.8, ls=":", label="chance")
            axes.axvline(self.share.mean, color="C3", lw=1.0, label=f"mean {self.share}")
            axes.set(xlabel="share of chosen activations with the desired sign", ylabel="examples")
            axes.legend()
        return figure
