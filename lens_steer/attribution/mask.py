"""Masks that choose elements of one kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.arguments import Accepts, Seed
from lens_steer.artifacts import savable
from lens_steer.models import Provenance
from lens_steer.reports import Report
from lens_steer.sites import Kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LISTED = 8  # layers of a mask that are printed


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ElementMask(Report):
    """Chosen elements of one kind. Masks combine: `a & b`, `a | b`, `~a`.

    Attributes:
        selected: True for the chosen.
        kind: What the elements are: heads, neurons, or dimensions of the residual stream.
        layers: Block indices of the layer axis.
        provenance: The model and data they were chosen on; None if made by hand.
    """

    selected: Bool[Tensor, "layer element"]
    kind: Kind
    layers: Annotated[tuple[int, ...], Accepts(Sequence[int])]
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.parse(self.kind))
        object.__setattr__(self, "layers", tuple(self.layers))
        check_layers(self.selected, self.layers)

    @property
    def count(self) -> int:
        """How many are chosen."""
        return int(self.selected.sum())

    @property
    def by_layer(self) -> Int[Tensor, " layer"]:
        """How many are chosen in each layer."""
        return self.selected.sum(dim=1)

    def shuffled(self, *, seed: Seed) -> "ElementMask":
        """A random mask of as many elements in each layer: what choosing layers alone does."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.rand(self.selected.shape, generator=generator).argsort(dim=1).argsort(dim=1)
        return replace(self, selected=order < self.by_layer[:, None])

    def elements(self) -> list[tuple[int, int]]:
        """The chosen as (layer, element), in order."""
        return [(self.layers[i], int(e)) for i, e in self.selected.nonzero().tolist()]

    def table(self) -> "pd.DataFrame":
        """One row per chosen element."""
        import pandas as pd

        layers, elements = zip(*self.elements(), strict=True) if self.count else ((), ())
        return pd.DataFrame({"layer": layers, self.kind.value: elements})

    def figure(self) -> "Figure":
        """How many are chosen in each layer."""
        from lens_steer.figures import canvas, name_layers

        with canvas(height=2.6) as (figure, axes):
            axes.bar(range(len(self.layers)), self.by_layer.numpy(), color="C0")
            name_layers(axes.xaxis, list(map(str, self.layers)))
            axes.set(xlabel="layer", ylabel=f"chosen of {self.selected.shape[1]}")
            axes.set_title(f"{self.count} {self.kind.value} elements")
        return figure

    def overlap(self, other: "ElementMask") -> float:
        """Share of the smaller mask that is in both, corrected for chance: 0 by chance, 1 if equal.

        Cohen's correction with the hypergeometric expectation |a||b| / number of elements.

        Raises:
            ValueError: If the masks are of different kinds, layers or shapes, or one is empty.
        """
        self._check_like(other)
        a, b, total = self.count, other.count, self.selected.numel()
        least = min(a, b)
        if least == 0 or a * b == least * total:
            raise ValueError(
                f"masks of {a} and {b} of {total} elements: their overlap says nothing"
            )
        both, chance = int((self.selected & other.selected).sum()), a * b / total
        return (both - chance) / (least - chance)

    def __and__(self, other: "ElementMask") -> "ElementMask":
        self._check_like(other)
        return replace(self, selected=self.selected & other.selected)

    def __or__(self, other: "ElementMask") -> "ElementMask":
        self._check_like(other)
        return replace(self, selected=self.selected | other.selected)

    def __invert__(self) -> "ElementMask":
        return replace(self, selected=~self.selected)

    def __repr__(self) -> str:
        counts = zip(self.layers, self.by_layer.tolist(), strict=True)
        chosen = [f"{layer}: {count}" for layer, count in counts if count]
        places = ", ".join([*chosen[:_LISTED], *(["..."] if len(chosen) > _LISTED else [])])
        size = f"{self.count} of {self.selected.numel()} {self.kind.value}"
        return f"ElementMask({size}; by layer {{{places}}})"

    def _check_like(self, other: "ElementMask") -> None:
        ours, theirs = ((m.kind.value, m.layers, tuple(m.selected.shape)) for m in (self, other))
        if ours != theirs:
            raise ValueError(f"masks of {ours} and {theirs} (kind, layers, shape) do not combine")


def masked(activations: Activations, mask: ElementMask) -> Activations:
    """The chosen elements' activations, 0 elsewhere: `CAA.fit` of them is SADI's fixed vector.

    Raises:
        ValueError: If the mask is over other elements than the activations.

    Example:
        >>> heads = ls.capture(model, pairs, "head")
        >>> ls.CAA.fit(ls.attribution.masked(heads, ls.attribution.contrast(heads).top(16))[3])
    """
    a = activations
    if (a.kind, a.layers) != (mask.kind, mask.layers):
        raise ValueError(f"got {mask!r} for {a!r}: expected the same kind and layers")
    chosen = mask.selected[..., None] if a.kind is Kind.HEAD else mask.selected
    return replace(a, desired=a.desired * chosen, undesired=a.undesired * chosen)


def by_element(values: Float[Tensor, " element"], kind: Kind) -> Float[Tensor, "element *width"]:
    """A number for each element, in a shape that multiplies its site's activation."""
    return values[:, None] if kind is Kind.HEAD else values


def check_layers(x: Tensor, layers: tuple[int, ...]) -> None:
    """Raise a ValueError unless the first axis has one row for each layer."""
    if len(x) != len(layers) or len(set(layers)) != len(layers) or x.numel() == 0:
        raise ValueError(f"got {tuple(x.shape)} (layer, element) for the layers {layers}")
