"""Random directions, as long as another method's vector."""

from dataclasses import dataclass, field

import torch

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.steering.additive.base import Additive
from lens_steer.steering.additive.contrastive import CAA


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Random(Additive):
    """A random direction with the norm of another method's vector: what any push of that size does.

    Attributes:
        seed: Of the draw.
    """

    seed: int = field(kw_only=True)

    @classmethod
    def like(cls, method: Additive, *, seed: int) -> "Random":
        """Directions drawn evenly from the sphere, at the sites and with the norms of `method`."""
        generator = torch.Generator().manual_seed(seed)
        vectors = []
        for vector in method.vectors:
            drawn = torch.randn(vector.shape, generator=generator)
            vectors.append(drawn * (vector.float().norm().cpu() / drawn.norm()))
        return cls(
            method.at,
            tuple(vectors),
            seed=seed,
            strength=method.strength,
            provenance=method.provenance,
        )

    @classmethod
    def fit(cls, activations: LayerActivations, *, seed: int) -> "Random":
        """The random counterpart of `CAA.fit(activations)`."""
        return cls.like(CAA.fit(activations), seed=seed)
