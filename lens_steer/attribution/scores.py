"""A number for every element, and the choice of the highest."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Accepts, Count
from lens_steer.artifacts import savable
from lens_steer.attribution.mask import ElementMask, check_layers
from lens_steer.models import Provenance
from lens_steer.reports import Report
from lens_steer.sites import Kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MAPPED = 64  # elements of a layer that are drawn as a map
_RING: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "none", "mec": "k", "ms": 9}

Ranking = Literal["signed", "negative", "absolute", "t", "consistency", "layer_z"]


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ElementScores(Report):
    """A number for every element of one kind.

    Attributes:
        values: The higher, the more wanted, unless elements are ranked in another way.
        kind: What the elements are.
        layers: Block indices of the layer axis.
        name: What the number is, with its unit.
        error: Standard error of the value over pairs; None where it is not known.
        consistency: Share of pairs whose own value has the sign of the mean; None if not known.
        provenance: The model and data; None if made by hand.
    """

    values: Float[Tensor, "layer element"]
    kind: Kind
    layers: Annotated[tuple[int, ...], Accepts(Sequence[int])]
    name: str = "score"
    error: Float[Tensor, "layer element"] | None = None
    consistency: Float[Tensor, "layer element"] | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.parse(self.kind))
        object.__setattr__(self, "layers", tuple(self.layers))
        check_layers(self.values, self.layers)
        if not bool(torch.isfinite(self.values).all()):
            raise ValueError("the scores are not finite: does the model run in its dtype?")

    @property
    def t(self) -> Float[Tensor, "layer element"]:
        """Value over its standard error; 0 where both are 0.

        Raises:
            ValueError: If the standard error is not known, or of a single pair.
        """
        error = _known(self.error, "t")
        if bool(error.isnan().any()):
            raise ValueError("a single pair has no standard error: take two or more")
        return torch.where(self.values == 0, 0.0, self.values / error)

    def top(self, k: Count, by: Ranking = "signed", *, per_layer: bool = False) -> ElementMask:
        """The k elements that rank highest; of equal elements, the first.

        Args:
            k: Over all layers together, or in each layer.
            by: `signed` (the value, as published), `negative` (the lowest), `absolute`, `t`
                (|value| / standard error), `consistency` (share of pairs that agree in sign; equal
                ones by size) or `layer_z` (|value| over its layer's root mean square).
            per_layer: k of each layer.

        Raises:
            ValueError: If k is out of range, all scores are 0, or these scores cannot be ranked in
                that way.

        Example:
            >>> mask = ls.attribution.contrast(ls.capture(model, pairs, "head")).top(16, "t")
        """
        total = self.values.shape[1] if per_layer else self.values.numel()
        if isinstance(k, bool) or not isinstance(k, Integral) or not 1 <= k <= total:
            raise ValueError(f"k {k!r}: expected 1 to {total}, of {self.kind.value} elements")
        if not bool(self.values.any()):
            raise ValueError("all scores are 0: the two sides of the pairs are read as the same")
        ranked = self._ranked(by)
        flat = ranked if per_layer else ranked.flatten()[None]
        order = flat.argsort(dim=1, descending=True, stable=True)[:, : int(k)]
        chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(1, order, value=True)
        return ElementMask(
            chosen.reshape(self.values.shape), self.kind, self.layers, self.provenance
        )

    def _ranked(self, by: Ranking) -> Float[Tensor, "layer element"]:
        size = self.values.abs()
        match by:
            case "signed":
                return self.values
            case "negative":
                return -self.values
            case "absolute":
                return size
            case "t":
                return self.t.abs()
            case "consistency":
                return _known(self.consistency, by).double() + 1e-9 * size / size.max()
            case "layer_z":
                spread = self.values.square().mean(dim=1, keepdim=True).sqrt()
                return torch.where(spread > 0, size / spread, 0.0)
            case _:
                rankings = ", ".join(get_args(Ranking))
                raise ValueError(f"ranking by {by!r}: expected one of {rankings}")

    def table(self) -> "pd.DataFrame":
        """One row per element, highest first."""
        import pandas as pd

        layer, element = torch.meshgrid(
            torch.tensor(self.layers), torch.arange(self.values.shape[1]), indexing="ij"
        )
        columns: dict[str, Any] = {"layer": layer, self.kind.value: element, "value": self.values}
        columns |= {
            n: getattr(self, n) for n in ("error", "consistency") if getattr(self, n) is not None
        }
        frame = pd.DataFrame({n: x.flatten().numpy() for n, x in columns.items()})
        return frame.sort_values("value", ascending=False, kind="stable", ignore_index=True)

    def figure(self, chosen: ElementMask | None = None) -> "Figure":
        """Every element's score by layer, the chosen ringed: a map for heads, else a strip."""
        from lens_steer.figures import canvas, name_layers

        if chosen is not None and (chosen.kind, chosen.layers) != (self.kind, self.layers):
            raise ValueError(f"got {chosen!r} to ring on a map of {self!r}")
        most = float(self.values.abs().max()) or 1.0
        rings = [] if chosen is None else chosen.selected.nonzero().tolist()
        names = list(map(str, self.layers))
        mapped = self.values.shape[1] <= _MAPPED
        height = max(3.4, 0.16 * len(names) + 0.9) if mapped else 3.4  # a ring fits into its cell
        with canvas(width=5.4, height=height) as (figure, axes):
            if mapped:
                scale = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
                image = axes.imshow(self.values.numpy(), aspect="auto", origin="lower", **scale)
                figure.colorbar(image, ax=axes, label=fill(self.name, 30))
                axes.plot([e for _, e in rings], [i for i, _ in rings], **_RING)
                name_layers(axes.yaxis, names)
                axes.xaxis.get_major_locator().set_params(integer=True)
                axes.set(xlabel=self.kind.value, ylabel="layer")
            else:
                for i, row in enumerate(self.values):
                    axes.plot((i + _spread(len(row))).numpy(), row.numpy(), ".", color="C7", ms=2)
                place = [i + float(_spread(self.values.shape[1])[e]) for i, e in rings]
                axes.plot(
                    place, [float(self.values[i, e]) for i, e in rings], **(_RING | {"ms": 4})
                )
                name_layers(axes.xaxis, names)
                axes.set(xlabel="layer", ylabel=fill(self.name, 36))
            if chosen is not None:
                axes.set_title(f"ringed: the {chosen.count} chosen")
        return figure

    def __repr__(self) -> str:
        layers, elements = self.values.shape
        size = f"{layers} layers x {elements} {self.kind.value}"
        span = f"{self.values.min():.3g} to {self.values.max():.3g}"
        return f"ElementScores({self.name}; {size}, {span})"


def _spread(n: int) -> Float[Tensor, " element"]:
    """Places of a layer's elements next to each other, within the layer's column."""
    return torch.linspace(-0.38, 0.38, n)


def _known(x: Tensor | None, by: str) -> Tensor:
    if x is None:
        raise ValueError(
            f"ranking by {by!r} needs every pair's own value: score the Activations of paired "
            "examples, not their statistics"
        )
    return x
