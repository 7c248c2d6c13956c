"""Predicted against true change of the logits: the radius that matters to a user."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, nanmean_interval, plot_band
from lens_steer.linearity.error_curves import crossing
from lens_steer.linearity.probe import Probe, known_layers
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHAINS = ("own", "mean", "identity", "shuffled")
MOVED = ("feature", "random")
_NUMBERS = 2**27  # of logits held at a time


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LogitReport(Report):
    """True change of the next token's logits against its first-order prediction, by text.

    The stream entering a block is moved; the prediction goes through the text's own Jacobians
    (`own`), the mean ones (`mean`), none at all (`identity`: the logit lens) or the mean ones of
    other layers (`shuffled`), and the text's own final norm and unembedding. Logits are centred
    over the vocabulary.

    Attributes:
        radii: How far, in units of |z|.
        slope: <predicted, true> / <predicted, predicted>: 1 if the prediction holds.
        explained: R^2 = 1 - |true - predicted|^2 / |true|^2; negative if predicting no change at
            all were better.
        groups: Of the texts.
        seed: Of the intervals.
    """

    radii: tuple[float, ...]
    slope: Float[Tensor, "chain direction radius layer text"]
    explained: Float[Tensor, "chain direction radius layer text"]
    groups: tuple[Hashable, ...]
    seed: int

    @classmethod
    def fit(cls, probe: Probe, radii: Sequence[float], *, progress: bool = True) -> "LogitReport":
        """The slopes and R^2 of every layer's predictions, for each text."""
        layers = tqdm(range(probe.n_layers), desc="logits", disable=not progress)
        slope, explained = torch.stack([_of_layer(probe, layer, radii) for layer in layers], dim=4)
        return cls(tuple(radii), slope, explained, probe.groups, probe.seed)

    def radius(self, slope: Number = 0.5) -> Float[Tensor, " layer"]:
        """Radius at which the mean slope along the feature first falls below this.

        Linear between the radii measured, from a slope of 1 at radius 0; the largest radius where
        it never does, NaN where there is no feature.
        """
        values = -self.slope[0, 0].mean(dim=-1).double().numpy()
        return torch.tensor([crossing(self.radii, v, -slope, start=-1.0) for v in values.T])

    def table(self) -> "pd.DataFrame":
        """A row per layer, radius, direction and chain: slope and R^2 with intervals."""
        import pandas as pd

        rows = []
        for c, chain in enumerate(CHAINS):
            for m, moved in enumerate(MOVED):
                for r, radius in enumerate(self.radii):
                    for layer in range(self.slope.shape[3]):
                        row = {"layer": layer, "radius": radius, "direction": moved, "chain": chain}
                        slope = self._interval(self.slope[c, m, r, layer])
                        fit = self._interval(self.explained[c, m, r, layer])
                        rows.append(row | slope.columns("slope") | fit.columns("explained"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Slope and R^2 against radius along the feature, a line for each of up to six layers.

        By the own and the mean Jacobians; the others are in the table.
        """
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        from lens_steer.figures import canvas

        n = self.slope.shape[3]
        shape = {"width": 7.6, "height": 5.6, "sharex": True, "sharey": "col"}
        with canvas(2, 2, **shape) as (figure, grid):
            for c, (row, chain) in enumerate(zip(grid, CHAINS[:2], strict=True)):
                for axes, values in zip(row, (self.slope, self.explained), strict=True):
                    for layer in known_layers(self.slope[0, 0, 0].mean(dim=-1), 6):
                        means = [self._interval(by_layer[layer]) for by_layer in values[c, 0]]
                        colour = to_hex(colormaps["viridis"](layer / max(n - 1, 1)))
                        plot_band(axes, self.radii, means, colour, f"layer {layer}")
                    axes.axhline(1, color="k", lw=0.8)
                    axes.axhline(0, color="k", lw=0.8, ls=":")
                    axes.set(xscale="log", title=f"{chain} Jacobians")
                row[0].axhline(0.5, color="k", lw=0.8, ls="--")
                row[0].set(ylabel="slope, true on predicted", ylim=(-0.5, 1.5))
                row[1].set(ylabel="$R^2$ of the prediction", ylim=(-1.05, 1.05))
            texts = f"n = {self.slope.shape[-1]} texts, {len(set(self.groups))} groups"
            figure.supxlabel(f"|d| / |z|, d along the feature; {texts}; 95 % intervals")
            figure.legend(
                *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6
            )
        return figure

    def __repr__(self) -> str:
        layers, texts = self.slope.shape[3:]
        radii = " ".join(f"{radius:.2g}" for radius in self.radius().tolist())
        groups = len(set(self.groups))
        return f"LogitReport({layers} layers, {texts} texts of {groups} groups; radii {radii})"

    def _interval(self, values: Float[Tensor, " text"]) -> Interval:
        return nanmean_interval(values, self.groups, self.seed)


def _of_layer(
    probe: Probe, layer: int, radii: Sequence[float]
) -> Float[Tensor, "two chain direction radius text"]:
    """Slopes and R^2 of one layer's predictions."""
    maps = probe.maps
    units = torch.stack([probe.feature(layer), probe.random(layer)]).to(maps.states)
    z = maps.states[:, layer]
    ahead = range(layer, probe.n_layers)
    chains = (ahead, (), [probe.other(k) for k in ahead])
    unit_changes = [maps.logits_jvp(layer, units), *(_by_mean(probe, c, units) for c in chains)]
    predicted = torch.stack([_centred(change) for change in unit_changes])
    clean = maps.logits(layer, z[None])
    most = max(1, _NUMBERS // (2 * clean.numel()))  # radii at a time
    parts = []
    for some in torch.tensor(radii).split(most):
        sizes = some.to(z)[:, None] * z.norm(dim=-1)
        moved = z + torch.einsum("mtw,rt->mrtw", units, sizes)
        true = _centred(maps.logits(layer, moved.flatten(0, 1)) - clean)
        expected = torch.einsum("cmtv,rt->cmrtv", predicted, sizes)
        parts.append(_agreement(expected, true.unflatten(0, moved.shape[:2])))
    return torch.cat(parts, dim=3).float()


def _agreement(
    predicted: Float[Tensor, "chain direction radius text vocab"],
    true: Float[Tensor, "direction radius text vocab"],
) -> Float[Tensor, "two chain direction radius text"]:
    """Slopes and R^2 of the true changes on the predicted ones."""
    slope = (predicted * true).sum(dim=-1) / predicted.square().sum(dim=-1)
    left = (true - predicted).square().sum(dim=-1)
    return torch.stack([slope, 1 - left / true.square().sum(dim=-1)])


def _by_mean(
    probe: Probe, blocks: Iterable[int], units: Float[Tensor, "direction text d"]
) -> Float[Tensor, "direction text vocab"]:
    """Change of the logits through the mean Jacobians of some blocks, and each text's own head."""
    pushed = units.flatten(0, 1)
    for k in blocks:
        pushed = probe.jacobians.jvp(k, pushed)
    return probe.maps.logits_jvp(probe.n_layers, pushed.unflatten(0, units.shape[:2]))


def _centred(x: Float[Tensor, "*any vocab"]) -> Float[Tensor, "*any vocab"]:
    return x - x.mean(dim=-1, keepdim=True)
