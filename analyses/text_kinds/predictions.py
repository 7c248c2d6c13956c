"""How far linear predictions of a block's change are off, and what a push costs: tensors alone."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation import kl_divergence
from lens_steer.intervals import Interval, nanmean_interval
from lens_steer.linearity import skill

FRACTIONS = (0.1, 0.3, 1.0)  # of a unit of displacement
UNITS = ("|z|", "nats")  # the length of the stream; the length that costs NATS along the direction
NATS = 0.1
OWN, IDENTITY, SAME, OTHER = "own", "identity", "same class", "other class"


@dataclass(frozen=True, eq=False)
class BlockErrors:
    """|phi(z+d) - phi(z) - A d| / |phi(z+d) - phi(z)| at one block, d along one direction.

    Attributes:
        layer: The block.
        lengths: |d|, in the order of `UNITS`, and of `FRACTIONS` within each.
        ratios: |d| / |z|.
        errors: By the name of what A is.
        nats: KL of the moved from the clean next token at the length that costs `NATS`.
        groups: Of the texts: what belongs together.
        seed: Of the intervals.
    """

    layer: int
    lengths: Float[Tensor, "size text"]
    ratios: Float[Tensor, "size text"]
    errors: dict[str, Float[Tensor, "size text"]]
    nats: Float[Tensor, " text"]
    groups: tuple[Hashable, ...]
    seed: int

    def error(self, predictor: str, size: int) -> Interval:
        """Mean over texts."""
        return nanmean_interval(self.errors[predictor][size], self.groups, self.seed)

    def skill(self, predictor: str, size: int, base: str = IDENTITY) -> Interval:
        """1 - sum error^2 / sum (error of `base`)^2 over texts: above 0 if it is better."""
        errors, others = (self.errors[name][size] for name in (predictor, base))
        return skill(errors, others, self.groups, self.seed)


def displacements(
    states: Float[Tensor, "text d"], strength: float
) -> tuple[Float[Tensor, "size text"], Float[Tensor, "size text"]]:
    """|d| of every size, and |d| / |z|, for each text.

    Args:
        states: z.
        strength: The length that costs `NATS`, the same for every text.
    """
    z = states.norm(dim=-1)
    units = torch.stack([z, torch.full_like(z, strength)])
    fractions = torch.tensor(FRACTIONS).to(z)
    lengths = (units[:, None] * fractions[:, None]).flatten(0, 1)
    return lengths, lengths / z


def relative_errors(
    change: Float[Tensor, "size text d"],
    product: Float[Tensor, "text d"],
    lengths: Float[Tensor, "size text"],
) -> Float[Tensor, "size text"]:
    """|change - |d| A u| / |change|; NaN where nothing changes.

    Args:
        change: phi(z + d) - phi(z).
        product: A u for each text, u = d / |d|.
        lengths: |d|.
    """
    missed = change - lengths[..., None] * product
    return missed.norm(dim=-1) / change.norm(dim=-1)


def curvature(
    logits: Float[Tensor, "text vocab"], moved: Float[Tensor, "text vocab"]
) -> Float[Tensor, " text"]:
    """c = Var_p(J u) for each text, the Fisher information along u: a push s u costs c s^2 / 2.

    Args:
        logits: Of the next token, p = softmax(logits).
        moved: J u, their first-order change along a unit vector.
    """
    # text by text: rows of a large vocabulary in float64 would not fit caches together
    return torch.stack([_variance(*each) for each in zip(logits, moved, strict=True)])


def _variance(logits: Float[Tensor, " vocab"], moved: Float[Tensor, " vocab"]) -> Float[Tensor, ""]:
    p, change = logits.double().softmax(dim=-1), moved.double()
    return (p * (change - p @ change).square()).sum()


def strength_for(nats: float, curvatures: Float[Tensor, " text"]) -> float:
    """The length of a push that costs so many nats on average over texts, to second order."""
    return float((2 * nats / curvatures.mean()).sqrt())


def divergence(
    clean: Float[Tensor, "text vocab"], steered: Float[Tensor, "text vocab"]
) -> Float[Tensor, " text"]:
    """KL(steered || clean) of the next token of each text, in nats."""
    return kl_divergence(steered, clean)
