"""Two CAA vectors, one for each half of the behaviour that no single vector shows."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    """x + strength * the vector of the prompt's listener, who is read off the prompt's words.

    An oracle: the other methods have to find out from the activation who listens.

    Attributes:
        layer: Block behind which it adds.
        wet: Added where a listener who likes rain is named.
        dry: Added elsewhere.
        likes_rain: Of each prompt; made by `prepare`.
    """

    layer: int
    wet: Float[Tensor, " d"] = field(repr=False)
    dry: Float[Tensor, " d"] = field(repr=False)
    likes_rain: Bool[Tensor, " prompt"] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, own: LayerActivations, pairs: ContrastivePairs) -> "GatedCAA":
        """Class differences of the pairs of either half, which are `own`'s rows."""
        wet = torch.tensor([_wet(group) for group in pairs.groups])
        first, second = (
            own.desired[half].mean(dim=0) - own.undesired[half].mean(dim=0) for half in (wet, ~wet)
        )
        return cls(own.layer, first, second, provenance=own.provenance)

    @property
    def per_prompt(self) -> bool:
        """See `Intervention`."""
        return True

    @property
    def sites(self) -> tuple[Site, ...]:
        """The residual stream behind the layer."""
        return (Site(self.layer),)

    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "GatedCAA":
        """Look for the listener in each prompt."""
        assert model.tokenizer is not None
        rows = zip(tokens, mask, strict=True)
        found = [_wet(model.tokenizer.decode(row[real].tolist())) for row, real in rows]
        return replace(self, likes_rain=torch.tensor(found))

    def select_prompts(self, rows: Int[Tensor, " row"]) -> "GatedCAA":
        """Of some of the prompts."""
        if self.likes_rain is None:
            return self
        return replace(self, likes_rain=self.likes_rain[rows.cpu()])

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`; before `prepare`, they refuse to work."""
        place = working_place(model, self.layer)
        vectors = self.strength * torch.stack([self.dry, self.wet]).to(**place)

        def add(x: Activation, rows: Int[Tensor, " n"]) -> Activation:
            if self.likes_rain is None:
                raise ValueError("GatedCAA without its prompts: steer with `steered` or `generate`")
            half = self.likes_rain.to(rows.device)[rows].long()
            return (x + vectors[half]).to(x.dtype)

        return {self.sites[0]: add}


def _wet(text: str) -> bool:
    return any(listener in text for listener in LISTENERS["wet"])
