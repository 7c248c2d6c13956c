"""The blocks at texts of every kind: how well each text's and each kind's Jacobians predict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.text_kinds.predictions import (
    IDENTITY,
    NATS,
    OTHER,
    OWN,
    SAME,
    BlockErrors,
    curvature,
    displacements,
    divergence,
    relative_errors,
    strength_for,
)
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import BlockMaps

Means = tuple[Float[Tensor, " d"], Float[Tensor, " d"]]  # A u over desired texts, over the others


@dataclass(frozen=True, eq=False)
class KindParts:
    """The pairs of one kind: those that Jacobians, features and barriers are of, and the tested.

    Attributes:
        fit: Half of the groups.
        test: The others.
    """

    fit: ContrastivePairs
    test: ContrastivePairs

    @classmethod
    def of(cls, pairs: ContrastivePairs, seed: int) -> "KindParts":
        """Split by groups."""
        fit, test = pairs.split(0.5, 0.5, seed=seed)
        return cls(fit, test)


@dataclass(frozen=True, eq=False)
class FittedKind:
    """The blocks at the texts of one kind that Jacobians and features are of.

    Attributes:
        maps: At the texts, the desired first.
        desired: How many of them are.
        features: The unit difference of the classes' means at every layer.
        logits: Of the next token of each text.
    """

    maps: BlockMaps
    desired: int
    features: ls.FeatureDirections
    logits: Float[Tensor, "text vocab"]

    @classmethod
    def of(cls, model: ls.SteerableModel, pairs: ContrastivePairs) -> "FittedKind":
        """Run the texts, and keep their keys and values."""
        maps = BlockMaps.of(model, (*pairs.desired, *pairs.undesired))
        n = len(pairs.desired)
        features = ls.FeatureDirections.of_states(maps.states[:n], maps.states[n:])
        return cls(maps, n, features, clean_logits(maps))

    def means(self, layer: int, unit: Float[Tensor, " d"]) -> Means:
        """The mean Jacobian of either class at a block, times a vector."""
        products = self.maps.jvp(layer, unit.expand(1, len(self.maps.states), -1))[0]
        return products[: self.desired].mean(dim=0), products[self.desired :].mean(dim=0)

    def strength(self, layer: int, unit: Float[Tensor, " d"]) -> float:
        """The length along a unit vector, entering a block, that costs `NATS` of the next token."""
        moved = self.maps.logits_jvp(layer, unit.expand(1, len(self.maps.states), -1))[0]
        return strength_for(NATS, curvature(self.logits, moved))


def clean_logits(maps: BlockMaps) -> Float[Tensor, "text vocab"]:
    """The logits of the next token of each text."""
    return maps.logits(maps.n_layers, maps.states[None, :, -1])[0]


def measured(
    model: ls.SteerableModel,
    fitted: Mapping[str, FittedKind],
    kind: str,
    parts: KindParts,
    seed: int,
) -> Iterator[BlockErrors]:
    """The errors at the tested texts of one kind, block by block, along that kind's feature.

    Blocks where there is no feature (both classes have the same state there) are left out.

    Args:
        model: The model.
        fitted: Every kind whose mean Jacobian predicts, by name.
        kind: The tested one.
        parts: Its pairs.
        seed: Of the intervals.
    """
    here = fitted[kind]
    pairs = parts.test
    maps = BlockMaps.of(model, (*pairs.desired, *pairs.undesired))
    clean = clean_logits(maps)
    for layer in range(maps.n_layers):
        if not bool(here.features.present[layer]):
            continue
        unit, z = here.features.directions[layer], maps.states[:, layer]
        lengths, ratios = displacements(z, here.strength(layer, unit))
        moved = z + lengths[..., None] * unit
        change = maps.apply(layer, moved) - maps.states[:, layer + 1]
        means = {name: each.means(layer, unit) for name, each in fitted.items()}
        products = _of_classes(means[kind], len(pairs.desired), len(pairs.undesired))
        products[OWN] = maps.jvp(layer, unit.expand(1, *z.shape))[0]
        products[IDENTITY] = unit.expand_as(z)
        for name, (desired, undesired) in means.items():
            products[name] = ((desired + undesired) / 2).expand_as(z)
        yield BlockErrors(
            layer,
            lengths,
            ratios,
            {name: relative_errors(change, each, lengths) for name, each in products.items()},
            divergence(clean, maps.logits(layer, moved[-1:])[0]),  # the last size is the whole s
            pairs.example_groups,
            seed,
        )


def _of_classes(means: Means, desired: int, undesired: int) -> dict[str, Float[Tensor, "text d"]]:
    """The mean product over a text's own class, and over the other class, for each text."""
    up, down = means
    of = torch.tensor([True] * desired + [False] * undesired)[:, None]
    return {SAME: torch.where(of, up, down), OTHER: torch.where(of, down, up)}
