"""The directions of a quadratic barrier as the tokens that they raise (a logit lens)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.barriers.polynomial import PolynomialBarrier
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class DirectionTokens(Report):
    """What a barrier's directions mean: the tokens whose logits each raises and lowers most.

    The logits are what the direction would add if it were added to the last residual: what later
    blocks make of it is left out. An eigenvector has no sign: both of its ends raise h if its
    eigenvalue is above 0.

    Attributes:
        names: `q`, then eigenvectors by the size of their eigenvalues.
        values: Eigenvalues in nats, the median at 0; for q its length.
        raised: Token ids, the most raised first.
        lowered: Token ids, the most lowered first.
        logits: Change of the logits of `raised`, then of `lowered`, per unit of length, less the
            mean change of all tokens.
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
        """Read a barrier by the unembedding W_U.

        Args:
            barrier: The barrier.
            unembedding: `model.W_U`; where the final norm's weight is not folded into it, the
                product of both, `model.ln_final.w[:, None] * model.W_U`.
            directions: Number of eigenvectors of the largest eigenvalues, and of the smallest.
            tokens: Number of tokens at each end.

        Raises:
            ValueError: If the unembedding has another width, or there are not so many directions
                or tokens.

        Example:
            >>> words = [model.to_single_str_token(i) for i in range(model.W_U.shape[1])]
            >>> ls.field.DirectionTokens.of(barrier, model.W_U, tokens=6).table(words)
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

    @override
    def table(self, vocabulary: Sequence[str] | None = None) -> "pd.DataFrame":
        """A row per direction, with the tokens that it raises and lowers.

        Args:
            vocabulary: The text of each token id; None shows the ids.
        """
        import pandas as pd

        def texts(ids: Int[Tensor, " token"]) -> str:
            return " | ".join(_texts(ids, vocabulary))

        rows = zip(self.names, self.values.tolist(), self.raised, self.lowered, strict=True)
        return pd.DataFrame(
            {"direction": name, "value": value, "raised": texts(up), "lowered": texts(down)}
            for name, value, up, down in rows
        )

    @override
    def figure(self, vocabulary: Sequence[str] | None = None) -> "Figure":
        """Bars of the logits raised and lowered, a panel per direction.

        Args:
            vocabulary: The text of each token id; None shows the ids.
        """
        from lens_steer.figures import canvas

        count, most = len(self.names), self.logits.shape[1]
        size = {"width": 2.2 * count + 0.6, "height": 0.18 * most + 1.6}
        with canvas(1, count, squeeze=False, **size) as (figure, [panels]):
            parts = zip(panels, self.names, self.values.tolist(), strict=True)
            for i, (axes, name, value) in enumerate(parts):
                ids = torch.cat([self.raised[i], self.lowered[i]])
                logits = self.logits[i].tolist()
                colours = ["C2"] * (most // 2) + ["C1"] * (most // 2)
                axes.barh(range(most), logits, color=colours)
                axes.set_yticks(range(most), _texts(ids, vocabulary), fontsize=7)
                axes.invert_yaxis()
                axes.locator_params(axis="x", nbins=3)
                axes.set(xlabel="logits per unit of length", title=f"{name}\n{value:.3g} nats")
            bars = [panels[0].patches[i] for i in (0, -1)]
            figure.legend(bars, ["raised", "lowered"], loc="outside lower center", ncols=2)
        return figure


def _texts(ids: Int[Tensor, " token"], vocabulary: Sequence[str] | None) -> list[str]:
    numbers: list[int] = ids.tolist()
    return [str(i) if vocabulary is None else vocabulary[i] for i in numbers]


def _places(directions: int) -> list[str]:
    highest = [f"+{i + 1}" for i in range(directions)]
    return highest + [f"-{i + 1}" for i in range(directions)]
