"""What the diagnostics have in common: texts, directions to move them along, colours, layers."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.features import FeatureDirections
from lens_steer.linearity.layer_jacobians import LayerJacobians

DIRECTIONS = ("feature", "contrast", "random")
COLOURS = {  # the same in every figure
    "own": "C0",
    "mean": "C1",
    "identity": "0.45",
    "shuffled": "C3",
    "random": "C2",
}


@dataclass(frozen=True, eq=False)
class Probe:
    """Texts of both classes, the desired first.

    Attributes:
        maps: The blocks at these texts.
        jacobians: A for all texts, from others.
        features: v_k.
        groups: Of the texts: what belongs together.
        n_desired: Texts of the desired class.
        shift: The layer-shuffled control takes block l + shift for block l, cyclically.
        seed: Of the random directions.
    """

    maps: BlockMaps
    jacobians: LayerJacobians
    features: FeatureDirections
    groups: tuple[Hashable, ...]
    n_desired: int
    shift: int
    seed: int

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return self.maps.n_layers

    def other(self, layer: int) -> int:
        """The layer whose Jacobian the shuffled control has in place of this one's."""
        return (layer + self.shift) % self.n_layers

    def feature(self, layer: int) -> Float[Tensor, "text d"]:
        """v_k of the stream entering a block, for every text; NaN where there is no feature."""
        direction = self.features.directions[layer]
        if not bool(self.features.present[layer]):
            direction = torch.full_like(direction, torch.nan)
        return direction.expand(len(self.groups), -1)

    def random(self, layer: int) -> Float[Tensor, "text d"]:
        """Unit vectors, one for each text, the same ones each time."""
        draw = torch.Generator().manual_seed(self.seed * 1009 + layer)
        return _unit(torch.randn(self.maps.states[:, layer].shape, generator=draw))

    def contrast(self, layer: int) -> Float[Tensor, "text d"]:
        """Each text's own difference, desired minus undesired; NaN where they are alike."""
        states = self.maps.states[:, layer]
        desired, undesired = states[: self.n_desired], states[self.n_desired :]
        partners = torch.arange(len(desired)) % len(undesired)
        others = torch.arange(len(undesired)) % len(desired)
        return _unit(torch.cat([desired - undesired[partners], desired[others] - undesired]))

    def directions(self, layer: int) -> Float[Tensor, "direction text d"]:
        """The three directions of every text, in the order of `DIRECTIONS`."""
        three = [self.feature(layer), self.contrast(layer), self.random(layer)]
        return torch.stack([x.to(self.maps.states) for x in three])


def _unit(x: Float[Tensor, "text d"]) -> Float[Tensor, "text d"]:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, x / length, torch.nan)


def known_layers(values: Float[Tensor, " layer"], most: int) -> list[int]:
    """At most `most` of the layers that have a value, evenly spread."""
    layers = values.isfinite().nonzero().flatten().tolist()
    return [layers[i] for i in a_few(len(layers), most)]


def a_few(n: int, most: int) -> list[int]:
    """At most `most` of the numbers below n, evenly spread, with both ends."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most)).tolist()})
