"""Whether a feature stays the same from layer to layer, and how far a push is carried."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, nanmean_interval, plot_band
from lens_steer.linearity.probe import COLOURS, Probe
from lens_steer.reports import Report, few

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WAYS = ("own", "identity", "shuffled", "random")
_WRITTEN = 10  # rows of the transfer matrix, at most, whose numbers are written into it


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PersistenceReport(Report):
    """What the blocks make of the feature v_k, by layer and text, and of controls.

    `own` is the text's Jacobian on v_k, `identity` v_k itself, `shuffled` another layer's Jacobian
    on v_k, `random` the text's Jacobian on a random direction.

    Attributes:
        cosine: cos(A_k v_k, v_{k+1}); NaN where either feature is missing.
        gain: v_{k+1}' A_k v_k mu_k / mu_{k+1}: 1 if block k carries the whole feature on; NaN
            there, too.
        transfer: v_k' Phi(k, j) v_j: what is left at layer k of a unit push at layer j; NaN above
            the diagonal.
        energy: |Phi(T, l+1)' v_T|^2: how far a unit of effort behind block l moves the last
            feature, squared.
        random_energy: The same for a random direction in place of v_T.
        sizes: mu_k relative to the mean |z_k|.
        spread: rms |A_i - A| / |A - I| of the Jacobians (see `LayerJacobians`), or None.
        groups: Of the texts.
        seed: Of the intervals.
    """

    cosine: Float[Tensor, "way layer text"]
    gain: Float[Tensor, "way layer text"]
    transfer: Float[Tensor, "to from text"]
    energy: Float[Tensor, "layer text"]
    random_energy: Float[Tensor, "layer text"]
    sizes: Float[Tensor, " layer_and_last"]
    spread: Float[Tensor, " layer"] | None
    groups: tuple[Hashable, ...]
    seed: int

    @classmethod
    def fit(cls, probe: Probe) -> "PersistenceReport":
        """The report of each text's own Jacobians, multiplied with the features."""
        cosine, gain = zip(*(_step(probe, layer) for layer in range(probe.n_layers)), strict=True)
        length = probe.maps.states.norm(dim=-1).mean(dim=0)
        last = probe.n_layers
        return cls(
            torch.stack(cosine, dim=1),
            torch.stack(gain, dim=1),
            _transfer(probe),
            _energy(probe, probe.feature(last)),
            _energy(probe, probe.random(last)),
            probe.features.sizes / length,
            probe.jacobians.spread,
            probe.groups,
            probe.seed,
        )

    def least_push(self) -> Interval:
        """Least effort sqrt(sum |u_l|^2) that moves the last feature by mu_T, in units of |z_T|.

        By the linear model, all layers pushed together: mu_T / sqrt(v_T' W v_T), W the
        controllability Gramian with unit effort.
        """
        return self._interval(self.sizes[-1] / self.energy.sum(dim=0).sqrt())

    def table(self) -> "pd.DataFrame":
        """A row per layer: cosine and gain in each way, energy, size and spread."""
        import pandas as pd

        rows = []
        for layer in range(self.energy.shape[0]):
            row: dict[str, float] = {"layer": layer, "size": float(self.sizes[layer])}
            row["spread"] = torch.nan if self.spread is None else float(self.spread[layer])
            for i, way in enumerate(WAYS):
                row |= self._interval(self.cosine[i, layer]).columns(f"cosine_{way}")
                row |= self._interval(self.gain[i, layer]).columns(f"gain_{way}")
            row |= self._interval(self.energy[layer]).columns("energy")
            rows.append(row | self._interval(self.random_energy[layer]).columns("energy_random"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Cosines by layer, the transfer matrix, and the energy of a push at each layer."""
        from lens_steer.figures import canvas, whole_numbers

        layers = list(range(self.energy.shape[0]))
        with canvas(1, 3, width=10.5, height=3.8) as (figure, (left, middle, right)):
            for i, way in enumerate(WAYS):
                cosines = [self._interval(row) for row in self.cosine[i]]
                plot_band(left, layers, cosines, COLOURS[way], way)
            left.axhline(0, color="k", lw=0.6)
            left.set(xlabel="layer k", ylabel="cos($A_k v_k$, $v_{k+1}$)", ylim=(-1.02, 1.02))
            left.set_yticks([-1, -0.5, 0, 0.5, 1])
            self._draw_transfer(figure, middle)
            for name, values in (("own", self.energy), ("random", self.random_energy)):
                energies = [self._interval(row) for row in values]
                label = {"own": "feature", "random": "random direction"}[name]
                plot_band(right, layers, energies, COLOURS[name], label)
            right.set(xlabel="layer l pushed", ylim=(0, None))
            for axes in (left, right):
                whole_numbers(axes.xaxis)
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
            right.set(ylabel="energy $|\\Phi(T,l+1)'v_T|^2$ per unit of effort")
            counted = f"n = {self.energy.shape[1]} texts, {len(set(self.groups))} groups"
            figure.suptitle(f"{counted}; 95 % intervals", fontsize=8)
        return figure

    def __repr__(self) -> str:
        layers, texts = self.energy.shape
        cosines = few(self.cosine[0].mean(dim=-1).tolist(), most=6)
        size = f"{layers} layers, {texts} texts of {len(set(self.groups))} groups"
        return f"PersistenceReport({size}; cosines {cosines})"

    def _draw_transfer(self, figure: "Figure", axes: Any) -> None:
        mean = self.transfer.mean(dim=-1)
        reach = float(mean.nan_to_num().abs().max())
        style = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach, "origin": "lower"}
        image = axes.imshow(mean.numpy(), **style)
        figure.colorbar(image, ax=axes, label="$v_k'\\,\\Phi(k,j)\\,v_j$")
        if len(mean) <= _WRITTEN:
            for k, j in mean.isfinite().nonzero().tolist():
                value = float(mean[k, j])
                colour = "w" if abs(value) > 0.6 * reach else "k"
                axes.text(j, k, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=6)
        axes.set(xlabel="pushed at $z_j$", ylabel="left at $z_k$")

    def _interval(self, values: Float[Tensor, " text"]) -> Interval:
        return nanmean_interval(values, self.groups, self.seed)


def _step(probe: Probe, layer: int) -> tuple[Float[Tensor, "way text"], Float[Tensor, "way text"]]:
    """Cosines and gains of one block, in each of the `WAYS`."""
    maps, features = probe.maps, probe.features
    now, then = probe.feature(layer).to(maps.states), probe.feature(layer + 1).to(maps.states)
    random = probe.random(layer).to(now)
    carried, drawn = maps.jvp(layer, torch.stack([now, random]))
    shuffled = maps.jvp(probe.other(layer), now[None])[0]
    ways = torch.stack([carried, now, shuffled, drawn])
    ratio = features.sizes[layer] / features.sizes[layer + 1]
    cosine = cosine_similarity(ways, then.expand_as(ways), dim=-1)
    gain = torch.einsum("wtd,td->wt", ways, then) * ratio
    present = features.present[layer]
    return torch.where(present, cosine, torch.nan), torch.where(present, gain, torch.nan)


def _transfer(probe: Probe) -> Float[Tensor, "to from text"]:
    """v_k' Phi(k, j) v_j: every feature pushed on through the blocks behind it."""
    maps, n = probe.maps, probe.n_layers + 1
    transfer = torch.full((n, n, len(probe.groups)), torch.nan)
    pushed = probe.feature(0)[None].to(maps.states)
    for k in range(n):
        feature = probe.feature(k).to(pushed)
        if k:
            pushed = torch.cat([maps.jvp(k - 1, pushed), feature[None]])
        transfer[k, : k + 1] = torch.einsum("jtd,td->jt", pushed, feature).float()
    return transfer


def _energy(probe: Probe, at_the_end: Float[Tensor, "text d"]) -> Float[Tensor, "layer text"]:
    """|Phi(T, l+1)' v|^2, from the last block back."""
    pulled, energies = at_the_end[None].to(probe.maps.states), []
    for layer in reversed(range(probe.n_layers)):
        energies.append(pulled[0].square().sum(dim=-1).float())
        if layer:
            pulled = probe.maps.vjp(layer, pulled)
    return torch.stack(energies[::-1])
