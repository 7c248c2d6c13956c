"""What all the diagnostics look at: texts, their maps, and directions to move them along."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.features import FeatureDirections
from lens_steer.linearity.layer_jacobians import LayerJacobians

DIRECTIONS = ("feature", "contrast", "random")


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
        """V at the input of a block, for every text; NaN where there is none."""
        there = bool(self.features.present[layer])
        one = self.features.directions[layer] if there else self.features.directions[0] * torch.nan
        return one.expand(len(self.groups), -1)

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
        """In the order of `DIRECTIONS`."""
        found = [self.feature(layer), self.contrast(layer), self.random(layer)]
        return torch.stack([x.to(self.maps.states) for x in found])


def _unit(x: Float[Tensor, "text d"]) -> Float[Tensor, "text d"]:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, x / length, torch.nan)
