"""What the directions of several layers say, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import override

from lens_steer.arguments import Accepts, Count, CountFromZero, Layer, Seed, Texts
from lens_steer.artifacts import savable
from lens_steer.axes import ranges
from lens_steer.diagnostics.promoted_tokens import Via, What, vocabulary
from lens_steer.diagnostics.readout import CarriedApartError, places
from lens_steer.models import SteerableModel
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class VocabularyByLayer(Report):
    """The `Vocabulary` of a direction at each of several layers; made by `vocabulary_by_layer`.

    Attributes:
        z: As in `Vocabulary`, by layer.
        slopes: As in `Vocabulary`, nats per unit of each layer's own direction.
        tokens: The text of each token.
        layers: The blocks behind which the directions are.
        left_out: Layers from which halves of the texts carry the direction to others.
        what: What was read, in words.
        via: As in `Vocabulary`.
    """

    z: Float[Tensor, "layer vocab"]
    slopes: Float[Tensor, "layer vocab"]
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    left_out: tuple[int, ...]
    what: str
    via: str

    def promoted(self, k: Count = 12) -> list[str]:
        """The k tokens whose z is largest at any layer."""
        return [self.tokens[i] for i in places(self.z.amax(dim=0), k).tolist()]

    def suppressed(self, k: Count = 12) -> list[str]:
        """The k tokens whose z is smallest at any layer."""
        return [self.tokens[i] for i in places(-self.z.amin(dim=0), k).tolist()]

    @override
    def table(self) -> "pd.DataFrame":
        """The ten most promoted and the ten most suppressed tokens of each layer."""
        import pandas as pd

        rows = []
        for layer, z, slopes in zip(self.layers, self.z, self.slopes, strict=True):
            for side, order in (("promoted", places(z, 10)), ("suppressed", places(-z, 10))):
                for i in order.tolist():
                    row = {"layer": layer, "side": side, "token": self.tokens[i]}
                    rows.append(row | {"nats_per_unit": float(slopes[i]), "z": float(z[i])})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        left = f", left out {ranges(self.left_out)}" if self.left_out else ""
        shown = ", ".join(map(repr, self.promoted(6)))
        return (
            f"VocabularyByLayer({self.what}, via {self.via}, layers {ranges(self.layers)}{left}; "
            f"promoted {shown})"
        )

    @override
    def figure(self, k: Count = 12) -> "Figure":
        """z of the k most promoted and the k most suppressed tokens, a column for each layer."""
        from lens_steer.figures import canvas, name_layers

        order = torch.cat([places(self.z.amax(dim=0), k), places(-self.z.amin(dim=0), k)])
        order = order[torch.tensor([i not in order[:n] for n, i in enumerate(order)])]
        shown = self.z[:, order].T
        width, height = 2.6 + 0.12 * max(20, len(self.layers)), 1.2 + 0.16 * len(order)
        with canvas(width=width, height=height) as (figure, axes):
            limit = float(shown.abs().quantile(0.98))
            image = axes.imshow(shown.numpy(), aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
            names = [repr(self.tokens[i]).replace("$", r"\$") for i in order.tolist()]
            axes.set_yticks(range(len(names)), names, fontsize=7)
            name_layers(axes.xaxis, [str(layer) for layer in self.layers])
            axes.set_xlabel("layer (output of the block)")
            axes.set_title(f"{self.what}, via {self.via}", fontsize=9)
            figure.colorbar(image, label="z against random directions", extend="both")
        return figure


def vocabulary_by_layer(  # noqa: PLR0913 - as `vocabulary`
    model: SteerableModel,
    what: Annotated[Mapping[int, Any], Accepts(Mapping[Layer, What])],
    via: Via = "logit",
    *,
    texts: Texts | None = None,
    skip: CountFromZero = 4,
    controls: Count = 16,
    seed: Seed = 0,
    progress: bool = True,
) -> VocabularyByLayer:
    """`vocabulary` of a direction at each layer.

    Args:
        what: For each layer, counted from 0, a direction, a method or a barrier.
        via: As `vocabulary`; with `jacobian`, layers that it refuses are left out and named.
        texts: As `vocabulary`; with `jacobian` at many layers a few are soon enough for a map.
        skip: As `vocabulary`.
        controls: How many random directions there are at each layer.
        seed: Of the random directions.
        progress: Whether to show a bar.

    Raises:
        ValueError: As `vocabulary`, or if every layer is left out.

    Example:
        >>> directions = dict(zip(resid.layers, resid.direction))
        >>> ls.diagnostics.vocabulary_by_layer(model, directions).figure()
    """
    if not what:
        raise ValueError("got no directions, expected one at least at one layer")
    found, left_out = {}, []
    how: dict[str, Any] = {"texts": texts, "skip": skip, "controls": controls, "seed": seed}
    for layer in tqdm(sorted(what), desc="layers", disable=not progress):
        try:
            found[layer] = vocabulary(model, what[layer], layer, via, **how)
        except CarriedApartError as error:
            left_out.append(layer)
            if len(left_out) == len(what):
                raise error
    each = list(found.values())
    return VocabularyByLayer(
        torch.stack([one.z for one in each]),
        torch.stack([one.slopes for one in each]),
        each[0].tokens,
        tuple(found),
        tuple(left_out),
        each[0].what,
        via,
    )
