"""Predicted against true change of the logits: the radius that matters to a user."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, nanmean_interval, plot_band
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.error_curves import crossing
from lens_steer.linearity.probe import Probe, known_layers
from lens_steer.linearity.unembedding import LinearUnembedding, Products
from lens_steer.reports import Report, few

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHAINS = ("own", "mean", "identity", "shuffled")
MOVED = ("feature", "random")
_NUMBERS = 2**25  # of logits held at a time

Units = Float[Tensor, "layer direction text d"]  # along which the stream entering a block is moved


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
        maps = probe.maps
        each = range(probe.n_layers)
        units = torch.stack([torch.stack([probe.feature(k), probe.random(k)]) for k in each])
        units, sizes = units.to(maps.states), torch.tensor(radii).to(maps.states)
        with_bar = tqdm(each, desc="logits", disable=not progress)
        predicted, moved = _predicted(probe, units), _moved(probe, units, sizes)
        head = LinearUnembedding.of(maps, moved[0, :, -1])
        if head is None:
            parts = [_products(maps, predicted[:, k], moved[k]) for k in with_bar]
        else:
            expected, true = head.predicted(predicted.flatten(0, 2)), head.true(moved.flatten(0, 2))
            expected = expected.unflatten(0, predicted.shape[:3])
            true = true.unflatten(0, moved.shape[:3])
            parts = [head.products(expected[:, k], true[k]) for k in with_bar]
        both = [_agreement(probe, k, parts[k], sizes) for k in each]
        slope, explained = torch.stack(both, dim=4)
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
        radii = few(self.radius().tolist(), most=6)
        groups = len(set(self.groups))
        return f"LogitReport({layers} layers, {texts} texts of {groups} groups; radii {radii})"

    def _interval(self, values: Float[Tensor, " text"]) -> Interval:
        return nanmean_interval(values, self.groups, self.seed)


def _predicted(probe: Probe, units: Units) -> Float[Tensor, "chain layer direction text d"]:
    """What leaves the last block, to first order, if a unit vector enters a block: by each chain.

    The vectors of all layers go through a block together, those from behind it joining there.
    """
    maps, (directions, texts) = probe.maps, units.shape[1:3]
    own, mean, shuffled = (units[:0] for _ in range(3))
    for k in range(probe.n_layers):
        new = units[[k]]
        own = maps.jvp(k, torch.cat([own, new]).flatten(0, 1)).unflatten(0, (k + 1, directions))
        rows = torch.cat([mean, new]).flatten(0, 2)
        mean = probe.jacobians.jvp(k, rows).unflatten(0, (k + 1, directions, texts))
        rows = torch.cat([shuffled, new]).flatten(0, 2)
        shuffled = probe.jacobians.jvp(probe.other(k), rows)
        shuffled = shuffled.unflatten(0, (k + 1, directions, texts))
    return torch.stack([x.to(units) for x in (own, mean, units, shuffled)])


def _moved(
    probe: Probe, units: Units, radii: Float[Tensor, " radius"]
) -> Float[Tensor, "layer direction radius text d"]:
    """What leaves the last block if the stream that enters a block is moved."""
    maps, moved = probe.maps, units.new_empty(0)
    for k in range(probe.n_layers):
        z = maps.states[:, k]
        steps = torch.einsum("mtw,rt->mrtw", units[k], radii[:, None] * z.norm(dim=-1))
        start = (z + steps)[None]
        moved = torch.cat([moved, start]) if k else start
        moved = maps.apply(k, moved.flatten(0, 2)).unflatten(0, moved.shape[:3])
    return moved


def _agreement(
    probe: Probe, layer: int, products: Products, radii: Float[Tensor, " radius"]
) -> Float[Tensor, "two chain direction radius text"]:
    """Slopes and R^2 of the true changes of the logits on those predicted.

    A prediction is a step along one vector, however long: its products with the true changes say
    all.
    """
    along, true2, unit2 = products
    unit2 = unit2[:, :, None]
    size = radii[:, None] * probe.maps.states[:, layer].norm(dim=-1)
    left = true2 - 2 * size * along + size.square() * unit2
    return torch.stack([along / (size * unit2), 1 - left / true2]).float()


def _products(
    maps: BlockMaps,
    predicted: Float[Tensor, "chain direction text d"],
    moved: Float[Tensor, "direction radius text d"],
) -> Products:
    """Products of true changes of the centred logits with predictions, and squares of both.

    Nothing of the vocabulary's size is made for each pair of them.
    """
    n = maps.n_layers
    expected = maps.logits_jvp(n, predicted.flatten(0, 1))
    expected = expected - expected.mean(dim=-1, keepdim=True)
    at_once = max(1, _NUMBERS // (moved.shape[0] * expected[0].numel()))
    products, squares = [], []
    for some in moved.split(at_once, dim=1):
        rows = torch.cat([maps.states[None, :, n], some.flatten(0, 1)])
        clean, *_ = logits = maps.logits(n, rows)
        true = logits[1:] - clean
        along = torch.einsum("ptv,qtv->pqt", expected, true)  # the means of `true` play no part
        products.append(along.unflatten(1, some.shape[:2]).unflatten(0, predicted.shape[:2]))
        lengths, means = true.norm(dim=-1), true.mean(dim=-1)
        square = lengths.square() - expected.shape[-1] * means.square()
        squares.append(square.unflatten(0, some.shape[:2]))
    along = torch.cat(products, dim=3).diagonal(dim1=1, dim2=2).movedim(-1, 1)
    true2 = torch.cat(squares, dim=1)
    unit2 = expected.square().sum(dim=-1).unflatten(0, predicted.shape[:2])
    return along, true2, unit2
