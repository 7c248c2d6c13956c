"""Products of changes of the logits with each other, without the logits."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.products import forward_products
from lens_steer.models import embedding_matrices, gradients_possible

# Of changes of the centred logits: predicted with true, true squared, predicted squared.
Products = tuple[
    Float[Tensor, "chain direction radius text"],
    Float[Tensor, "direction radius text"],
    Float[Tensor, "chain direction text"],
]
_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5}  # of the largest change of a logit
_COLUMNS = 2**14  # of W_U taken at a time


@dataclass(frozen=True, eq=False)
class LinearUnembedding:
    """Logits that are W_U' n(x) + b, n being the final norm, as products of their changes.

    The product of two changes of the logits, centred over the vocabulary, is that of the changes of
    n with G between them: numbers of the vocabulary's size are never made.

    Attributes:
        maps: Whose logits.
        gram: G = W W', W being W_U less its mean over the vocabulary, in float64.
    """

    maps: BlockMaps
    gram: Float[Tensor, "d d"]

    @classmethod
    def of(cls, maps: BlockMaps, far: Float[Tensor, "n text d"]) -> "LinearUnembedding | None":
        """None where the logits are something else (a cap on them), or rounded to half precision.

        Args:
            maps: Whose logits.
            far: Streams behind the last block, as far from the texts' own as any of interest, at
                which the logits are compared with W_U' n(x).
        """
        x = torch.cat([maps.states[None, :, maps.n_layers], far]).flatten(0, 1)
        x = x[x.isfinite().all(dim=-1)]  # there are texts without a feature
        try:
            tolerance = _ROUNDING[maps.end.states.dtype]
            W = embedding_matrices(maps.model)[1]
            with torch.no_grad():
                n, logits = maps.end.normed(x).cpu(), maps.end.head(x).cpu()
        except (KeyError, ValueError):
            return None  # the logits themselves say the same, and take longer
        change = logits - logits[0]
        error = (change - ((n - n[0]).to(W) @ W).cpu()).abs().max()
        if not bool(error <= tolerance * change.abs().max()):
            return None
        gram, mean = torch.zeros(len(W), len(W), dtype=torch.double), W.double().mean(dim=1)
        for some in W.split(_COLUMNS, dim=1):
            centred = some.double() - mean[:, None]
            gram += (centred @ centred.T).cpu()
        return cls(maps, gram)

    def predicted(self, pushes: Float[Tensor, "n text d"]) -> Float[Tensor, "n text d"]:
        """First-order change of n for a push of each text's stream behind the last block."""
        maps = self.maps
        with gradients_possible():
            x = maps.states[:, maps.n_layers]
            return forward_products(maps.end.normed, x, pushes).detach().cpu().double()

    def true(self, streams: Float[Tensor, "n text d"]) -> Float[Tensor, "n text d"]:
        """Change of n if other streams leave the last block than the texts' own."""
        maps = self.maps
        with gradients_possible(), torch.no_grad():
            rows = torch.cat([maps.states[None, :, maps.n_layers], streams])
            n = maps.end.normed(rows.flatten(0, 1)).cpu().double().unflatten(0, rows.shape[:2])
        return n[1:] - n[0]

    def products(
        self,
        predicted: Float[Tensor, "chain direction text d"],
        true: Float[Tensor, "direction radius text d"],
    ) -> Products:
        """Of predicted with true changes, all of n, and the squares of both."""
        weighted = predicted @ self.gram
        along = torch.einsum("cmtw,mrtw->cmrt", weighted, true)
        return along, ((true @ self.gram) * true).sum(dim=-1), (weighted * predicted).sum(dim=-1)
