"""The directions of a quadratic barrier as tokens that they raise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.barriers.polynomial import PolynomialBarrier

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class DirectionTokens:
    """Which logits each direction raises and lowers most, were it added to the last residual.

    What later blocks make of a direction is not in it. An eigenvector has no sign: both of its
    ends raise h if its eigenvalue is above 0.

    Attributes:
        names: `q`, then eigenvectors by the size of their eigenvalues.
        values: Eigenvalues in nats, the median at 0; of q its length.
        raised: Token ids, the most raised first.
        lowered: Token ids, the most lowered first.
        logits: Of `raised`, then of `lowered`, per unit of length; their mean over tokens is 0.
    """

    names: tuple[str, ...]
    values: Float[Tensor, " direction"]
    raised: Int[Tensor, "direction token"]
    lowered: Int[Tensor, "direction token"]
    logits: Float[Tensor, "direction both"]

    @classmethod
    def of(
        cls,
        barrier: PolynomialBarrier,
        unembedding: Float[Tensor, "d vocab"],
        *,
        directions: int = 3,
        tokens: int = 8,
    ) -> "DirectionTokens":
        """By the unembedding, W_U: `model.W_U`.

        Where the final norm's weight is not folded into it, give the product of both:
        `model.ln_final.w[:, None] * model.W_U`.

        Args:
            directions: Eigenvectors of the largest eigenvalues, and as many of the smallest.
            tokens: Of each end.

        Raises:
            ValueError: If the unembedding has another width, or there are not so many.
        """
        d, vocab = unembedding.shape
        if d != barrier.width or not (1 <= 2 * directions <= d and 1 <= tokens <= vocab):
            raise ValueError(
                f"got an unembedding of shape {(d, vocab)} for a barrier of {barrier.width}, "
                f"{directions} directions and {tokens} tokens: expected one width, at most half as "
                "many directions, and at most so many tokens"
            )
        matrix, q, _ = barrier.to(device=unembedding.device, dtype=torch.double).quadratic()
        values, vectors = torch.linalg.eigh(matrix)
        ends = [*range(d - 1, d - 1 - directions, -1), *range(directions)]
        units = torch.stack([q / q.norm().clamp_min(1e-300), *(vectors[:, i] for i in ends)])
        logits = units @ unembedding.double()
        logits = logits - logits.mean(dim=-1, keepdim=True)
        up, down = logits.topk(tokens), (-logits).topk(tokens)
        names = ("q", *(f"eigenvector {place}" for place in _places(directions)))
        sizes = torch.cat([q.norm()[None], values[ends]])
        both = torch.cat([up.values, -down.values], dim=-1)
        return cls(names, sizes, up.indices, down.indices, both)

    def table(self, vocabulary: list[str]) -> "pd.DataFrame":
        """A row per direction, with the tokens' texts.

        Args:
            vocabulary: The text of each token id.
        """
        import pandas as pd

        def texts(ids: Int[Tensor, " token"]) -> str:
            return " | ".join(vocabulary[i] for i in ids.tolist())

        rows = zip(self.names, self.values.tolist(), self.raised, self.lowered, strict=True)
        return pd.DataFrame(
            {"direction": name, "value": value, "raised": texts(up), "lowered": texts(down)}
            for name, value, up, down in rows
        )


def _places(directions: int) -> list[str]:
    highest = [f"+{i + 1}" for i in range(directions)]
    return highest + [f"-{i + 1}" for i in range(directions)]
