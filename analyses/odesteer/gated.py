"""Two CAA vectors, one for each half of a behaviour that no single vector shows."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer import ContrastivePairs
from lens_steer.activations import LayerActivations
from lens_steer.axes import Activation, Mask, Tokens
from lens_steer.models import SteerableModel, working_place
from lens_steer.organism import LISTENERS
from lens_steer.sites import Site
from lens_steer.steering import Edit, Intervention

POLARITY = "organism:polarity"


@dataclass(frozen=True, eq=False, repr=False)
class GatedCAA(Intervention):
    """CAA with one of two vectors, chosen by the listener whom the prompt names.

    It is an oracle: the other methods have to find out from the activation who listens.

    Attributes:
        layer: The block behind which a vector is added.
        wet: Added where the prompt names a listener who likes rain.
        dry: Added to all other prompts.
        likes_rain: Whether each prompt names such a listener; found by `prepare`.
    """

    layer: int
    wet: Float[Tensor, " d"] = field(repr=False)
    dry: Float[Tensor, " d"] = field(repr=False)
    likes_rain: Bool[Tensor, " prompt"] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, activations: LayerActivations, pairs: ContrastivePairs) -> "GatedCAA":
        """Fit the class difference of each half of the pairs, whose activations these are."""
        wet = torch.tensor([_wet(group) for group in pairs.groups])
        first, second = (
            activations.desired[half].mean(dim=0) - activations.undesired[half].mean(dim=0)
            for half in (wet, ~wet)
        )
        return cls(activations.layer, first, second, provenance=activations.provenance)

    @property
    @override
    def per_prompt(self) -> bool:
        return True

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return (Site(self.layer),)

    @override
    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "GatedCAA":
        assert model.tokenizer is not None
        rows = zip(tokens, mask, strict=True)
        prompts = [model.tokenizer.decode(row[real].tolist()) for row, real in rows]
        return replace(self, likes_rain=torch.tensor([_wet(prompt) for prompt in prompts]))

    @override
    def select_prompts(self, rows: Int[Tensor, " row"]) -> "GatedCAA":
        if self.likes_rain is None:
            return self
        return replace(self, likes_rain=self.likes_rain[rows.cpu()])

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        vectors = torch.stack([self.dry, self.wet]).to(**working_place(model, self.layer))
        vectors = self.strength * vectors

        def add(x: Activation, rows: Int[Tensor, " n"]) -> Activation:
            if self.likes_rain is None:
                raise ValueError("GatedCAA without its prompts: steer with `steered` or `generate`")
            half = self.likes_rain.to(rows.device)[rows].long()
            return (x + vectors[half]).to(x.dtype)

        return {self.sites[0]: add}


def _wet(text: str) -> bool:
    return any(listener in text for listener in LISTENERS["wet"])
