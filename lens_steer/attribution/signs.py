"""Whether the activations that would be scaled have the sign of the behaviour."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.attribution.mask import ElementMask
from lens_steer.intervals import Interval, interval
from lens_steer.reports import Report
from lens_steer.sites import Kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SignReport(Report):
    """How often the activations that would be scaled have the sign of the desired examples.

    Scaling amplifies the sign that an activation has: at a share of one half it pushes the wrong
    way as often as the right way.

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
        seed: Seed,
    ) -> "SignReport":
        """Signs of held-out activations against those of the mean difference.

        Args:
            chosen_on: What the mask was chosen on; its mean difference has the wanted signs.
            held_out: Read where it would be steered: `capture(..., read="prompt_last").desired`.
            groups: What each held-out example belongs to, such as `pairs.groups`; None takes every
                example by itself.
            seed: Of the interval.

        Raises:
            ValueError: If the mask or the examples are of other elements.

        Example:
            >>> mask = ls.attribution.contrast(heads).top(16)
            >>> at_prompt = ls.capture(model, test, "head", read="prompt_last")
            >>> ls.attribution.SignReport.fit(heads, mask, at_prompt.desired, seed=0).share
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
        clusters = tuple(range(len(held_out))) if groups is None else groups
        return cls(right.double().mean(dim=1), clusters, seed)

    @property
    def share(self) -> Interval:
        """Mean over examples, with its 95 % interval."""
        return interval(self.agreement, self.groups, seed=self.seed)

    def table(self) -> "pd.DataFrame":
        """One row: the mean share with its 95 % interval, and how many examples it is of."""
        import pandas as pd

        return pd.DataFrame([self.share.columns("share") | {"examples": len(self.agreement)}])

    def figure(self) -> "Figure":
        """How many examples have which share."""
        from lens_steer.figures import canvas, legend_outside

        with canvas() as (figure, axes):
            axes.hist(self.agreement.numpy(), bins=20, range=(0, 1), color="C0")
            axes.axvline(0.5, color="k", lw=0.8, ls=":", label="chance")
            axes.axvline(self.share.mean, color="C3", lw=1.0, label=f"mean {self.share}")
            axes.set(xlabel="share of chosen activations with the desired sign", ylabel="examples")
            legend_outside(figure)
        return figure
