"""How far the residual stream lies along a direction, token by token and layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Accepts, CountFromZero, Layer, Texts
from lens_steer.artifacts import savable
from lens_steer.models import (
    SteerableModel,
    check_unsteered,
    encode_prompt,
    forward,
    pad,
    reading,
    sink_positions,
    token_texts,
)
from lens_steer.reports import Report
from lens_steer.sites import Site
from lens_steer.token_colours import BLUE, RED, html_block, html_tokens, terminal_tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Directions = Annotated[Mapping[int, Tensor], Accepts(Mapping[Layer, Tensor])]
_SHOWN = 8  # texts in a notebook, or a figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Projection(Report):
    """The projections of the tokens of some texts on directions; made by `project`.

    Attributes:
        tokens: The tokens of each text, as text.
        values: For each text `[layer token]`: <activation, direction> / |direction|, in the unit of
            activations; NaN at attention sinks.
        layers: The blocks behind which they are read.

    Example:
        >>> found = ls.project(model, texts, {12: caa.vectors[0]})
        >>> found  # in a notebook: tokens in blue where they lie along the direction, else in red
    """

    tokens: tuple[tuple[str, ...], ...]
    values: tuple[Float[Tensor, "layer _"], ...]
    layers: tuple[int, ...]

    @property
    def standardised(self) -> tuple[Float[Tensor, "layer _"], ...]:
        """Each value less the mean of its layer, in standard deviations over all tokens."""
        every = torch.cat(self.values, dim=1).double()
        mean = every.nanmean(dim=1, keepdim=True)
        size = (every - mean).square().nanmean(dim=1, keepdim=True).sqrt()
        size = torch.where(size > 0, size, 1.0)
        return tuple(((value.double() - mean) / size).float() for value in self.values)

    @override
    def table(self) -> "pd.DataFrame":
        """A row for each token and layer."""
        import pandas as pd

        rows = [
            {
                "text": t,
                "position": i,
                "token": token,
                "layer": layer,
                "projection": float(values[k, i]),
                "standardised": float(scaled[k, i]),
            }
            for t, (tokens, values, scaled) in enumerate(
                zip(self.tokens, self.values, self.standardised, strict=True)
            )
            for k, layer in enumerate(self.layers)
            for i, token in enumerate(tokens)
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        tokens = sum(map(len, self.tokens))
        return f"Projection({len(self.tokens)} texts of {tokens} tokens, layers {self.layers})"

    def html(self) -> str:
        """Texts in colour, a line for each layer: blue along the direction, red against it."""
        lines = []
        for tokens, values, scaled in self._shown():
            for k, layer in enumerate(self.layers):
                notes = [
                    f"{value:.3g}, {z:+.1f} sd" if value == value else "attention sink"
                    for value, z in zip(values[k], scaled[k], strict=True)
                ]
                shown = html_tokens(tokens, scaled[k], [_colour(z) for z in scaled[k]], notes)
                lines.append(f'<span style="opacity:.65">layer {layer}  </span>{shown}')
        said = "blue: along the direction, red: against it; depth: standard deviations of its layer"
        return html_block(f'<span style="opacity:.65">{said}</span>', *lines)

    def _repr_html_(self) -> str:
        return self.html()

    def colored(self) -> str:
        """The same for a terminal of 256 colours."""
        return "\n".join(
            f"layer {layer}  {terminal_tokens(tokens, scaled[k], [_colour(z) for z in scaled[k]])}"
            for tokens, _, scaled in self._shown()
            for k, layer in enumerate(self.layers)
        )

    def _shown(self) -> list[tuple[tuple[str, ...], Any, Any]]:
        triples = zip(self.tokens, self.values, self.standardised, strict=True)
        return [(t, v.tolist(), z.tolist()) for t, v, z in list(triples)[:_SHOWN]]

    @override
    def figure(self, text: CountFromZero = 0) -> "Figure":
        """One text: a row for each layer, a column for each token; grey is an attention sink.

        Raises:
            ValueError: If there is no such text.
        """
        from lens_steer.figures import canvas, name_layers

        if text >= len(self.tokens):
            raise ValueError(f"got text {text}, expected 0 to {len(self.tokens) - 1}")
        tokens, scaled = self.tokens[text], self.standardised[text]
        names = [token.replace("$", r"\$").replace("\n", "\\n") for token in tokens]
        below = 0.3 + 0.09 * max(map(len, names))  # inches of the longest name, on its side
        width, height = max(3.5, 1.4 + 0.24 * len(tokens)), below + max(2.0, 0.09 * len(scaled))
        with canvas(width=width, height=height) as (figure, axes):
            axes.set_facecolor("0.85")
            limit = max(float(scaled.nan_to_num().abs().max()), 1e-6)
            image = axes.imshow(
                scaled.numpy(), aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, origin="lower"
            )
            axes.set_xticks(range(len(tokens)), names, rotation=90)
            name_layers(axes.yaxis, [str(layer) for layer in self.layers])
            axes.set_ylabel("layer (output of the block)")
            figure.colorbar(image, label="projection,\nstandard deviations")
        return figure


def _colour(z: float) -> tuple[int, int, int]:
    return BLUE if z > 0 else RED


def project(model: SteerableModel, texts: Texts, directions: Directions) -> Projection:
    """Read how far every token of some texts lies along directions in the residual stream.

    Args:
        model: The model.
        texts: Prompts, in which a beginning-of-sequence token is put where the model has one.
        directions: A direction `[d]` for each layer at which it is to be read. The direction of
            captured activations at all layers: `dict(zip(resid.layers, resid.direction))`.

    Raises:
        ValueError: If there is no text or direction, a text has no token, a direction has another
            width or is 0, or there is no such layer.

    Example:
        >>> ls.project(model, ["I loved it.", "I hated it."], {12: caa.vectors[0]})
    """
    width, depth = int(model.cfg.d_model), int(model.cfg.n_layers)
    check_unsteered(model, "read directions")
    if not directions or not texts:
        raise ValueError(f"got {len(texts)} texts and {len(directions)} directions, expected both")
    units = {}
    for layer, v in sorted(directions.items()):
        if layer >= depth or v.shape != (width,) or not 0 < float(v.norm()) < torch.inf:
            raise ValueError(
                f"got a direction of shape {list(v.shape)} and length {float(v.norm()):.3g} at "
                f"layer {layer}, expected [{width}], finite and above 0, at a layer from 0 to "
                f"{depth - 1}"
            )
        units[layer] = v.float() / v.float().norm()
    values, words = [], []
    for text in texts:
        ids = encode_prompt(model, text)
        if not text or not ids:
            raise ValueError(f"got the text {text!r}, which has no token: expected at least one")
        words.append(tuple(token_texts(model, ids)))
        values.append(_projected(model, ids, units))
    return Projection(tuple(words), tuple(values), tuple(units))


@torch.no_grad()
def _projected(
    model: SteerableModel, ids: list[int], units: Mapping[int, Tensor]
) -> Float[Tensor, "layer token"]:
    tokens, mask = pad(model, [ids])
    sites = {Site(layer): torch.Tensor.float for layer in range(int(model.cfg.n_layers))}
    with reading(model, sites) as kept:
        forward(model, tokens, mask)
    norms = torch.stack([kept[site].norm(dim=-1) for site in sites], dim=-1)
    along = [kept[Site(layer)][0] @ unit.to(tokens.device) for layer, unit in units.items()]
    found = torch.stack(along).cpu()
    found[:, sink_positions(norms, mask)[0].cpu()] = torch.nan
    return found
