"""What an activation says: the next token, if it left the last block."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Count, Texts
from lens_steer.artifacts import savable
from lens_steer.diagnostics.readout import log_probs_of
from lens_steer.models import SteerableModel, check_unsteered
from lens_steer.reports import WIDTH, Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SHOWN, _LINES, _ROWS, _LETTERS = 10, 16, 60, 12


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ActivationVocabulary(Report):
    """The next token's distribution for each of some activations; made by `activation_vocabulary`.

    Attributes:
        log_probs: Log-probability of each token of the vocabulary, nats.
        tokens: The text of each token.
        names: What each activation is called.

    Example:
        >>> said = ls.diagnostics.activation_vocabulary(model, resid.desired[0])
        >>> said.top(3)[5], said.entropy
    """

    log_probs: Float[Tensor, "row vocab"]
    tokens: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def entropy(self) -> Float[Tensor, " row"]:
        """Of each distribution, nats: 0 where one token is certain."""
        return torch.special.entr(self.log_probs.double().exp()).sum(dim=1).float()

    def top(self, k: Count = _SHOWN) -> list[list[str]]:
        """The k likeliest tokens of each activation, the likeliest first."""
        return [[self.tokens[i] for i in row] for row in self._order(k)]

    @override
    def table(self) -> "pd.DataFrame":
        """The ten likeliest tokens of each activation, a row for each."""
        import pandas as pd

        rows = [
            {
                "activation": name,
                "rank": rank,
                "token": self.tokens[i],
                "log_prob_nats": float(values[i]),
                "probability": float(values[i].exp()),
            }
            for name, values, order in zip(
                self.names, self.log_probs, self._order(_SHOWN), strict=True
            )
            for rank, i in enumerate(order, start=1)
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        said = "next tokens of activations through the final norm, with their probabilities"
        width, lines = max(map(len, self.names)), [said]
        for name, values, order in zip(self.names, self.log_probs, self._order(5), strict=True):
            line = f"{name:>{width}}"
            for i in order:  # as many as fit
                token = f"  {self.tokens[i]!r} {float(values[i].exp()):.2g}"
                line += token if len(line + token) <= WIDTH else ""
            lines.append(line)
        more = len(self.names) - _LINES
        if more > 0:  # of layers the last ones say most
            half = _LINES // 2
            lines[1 + half : -half] = [f"... {more} more activations"]
        return "\n".join(lines)

    @override
    def figure(self, k: Count = 6) -> "Figure":
        """A row for each of the first 60 activations, with its k likeliest tokens."""
        from lens_steer.figures import canvas

        order = torch.tensor(self._order(k)[:_ROWS])
        shown = self.log_probs[:_ROWS].gather(1, order).exp()
        rows, columns = shown.shape
        with canvas(width=2.0 + 0.85 * columns, height=1.2 + 0.22 * rows) as (figure, axes):
            image = axes.imshow(shown.numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1)
            for (i, j), token in zip(
                torch.ones(rows, columns).nonzero().tolist(), order.flatten().tolist(), strict=True
            ):
                colour = "w" if shown[i, j] > 0.6 else "k"
                text = _short(self.tokens[token])
                axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
            axes.set_xticks(range(columns), [str(j + 1) for j in range(columns)])
            axes.set_yticks(range(rows), [_plain(name) for name in self.names[:rows]])
            axes.set(xlabel="rank of the token", ylabel="activation")
            figure.colorbar(image, label="probability")
        return figure

    def _order(self, k: int) -> list[list[int]]:
        return self.log_probs.topk(min(k, len(self.tokens)), dim=1).indices.tolist()


def activation_vocabulary(
    model: SteerableModel,
    activations: Float[Tensor, " d"] | Float[Tensor, "row d"],
    names: Texts | None = None,
) -> ActivationVocabulary:
    """The next token's distribution, if an activation of the residual stream left the last block.

    This is the logit lens of a point. The model's own final norm, unembedding and cap are applied,
    so that behind the last block it is what the model predicts at that token. Blocks in between are
    left out: far from the last one it may say little. For a direction see `vocabulary`.

    Args:
        model: The model.
        activations: One activation, or a row for each; `resid.desired[0]` of captured activations
            has a row for each layer. All of the vocabulary is kept for each row.
        names: What each row is called in print and figures; None counts them from 0.

    Raises:
        ValueError: If activations have another width, are not finite or are none, there are other
            numbers of names, or the model is being steered.

    Example:
        >>> resid = ls.capture(model, pairs, "resid")
        >>> ls.diagnostics.activation_vocabulary(model, resid.desired[0]).figure()

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    check_unsteered(model, "read directions")
    width = int(model.cfg.d_model)
    rows = activations.detach().reshape(-1, activations.shape[-1])
    if not rows.numel() or rows.shape[1] != width:
        raise ValueError(
            f"got activations of shape {list(activations.shape)}, expected [{width}] or "
            f"[row, {width}], one at least"
        )
    finite = rows.isfinite().all(dim=1)
    if not bool(finite.all()):
        raise ValueError(
            f"got a NaN or an infinity in row {int((~finite).nonzero()[0])} of the activations, "
            "expected finite numbers: leave that row out"
        )
    named = tuple(map(str, range(len(rows)))) if names is None else tuple(names)
    if len(named) != len(rows):
        raise ValueError(f"got {len(named)} names for {len(rows)} activations, expected one each")
    log_probs = log_probs_of(model, rows)
    words = tuple(model.tokenizer.decode([i]) for i in range(log_probs.shape[1]))
    return ActivationVocabulary(log_probs, words, named)


def _short(token: str) -> str:
    text = repr(token)
    return _plain(text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}...")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would begin a formula
