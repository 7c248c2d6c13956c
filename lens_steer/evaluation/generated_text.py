"""One text that a model wrote, token by token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.reports import shortened_in_the_middle
from lens_steer.token_colours import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

StopReason = Literal["end of text", "stop text", "length"]


@savable
@dataclass(frozen=True, eq=False, repr=False)
class GeneratedText:
    """One text that a model wrote, with a row of numbers for each token that was drawn.

    Probabilities are those of the model as it is, at temperature 1: temperature, `top_p`, `top_k`,
    penalties and n-gram bans of a `Decoding` change what is drawn, not these.

    Attributes:
        prompt: As the model read it; a chat is written out by the chat template.
        text: What `generate` returns.
        token_ids: All tokens that were drawn, one that ended the text and those of a stop string
            included.
        tokens: The text that each adds to what precedes it; empty where a character goes on.
        log_probs: ln of each token's probability under the steered model; float64.
        clean_log_probs: The same under the unsteered model, after the same tokens; float64.
        nats: KL(steered || unsteered) of the next-token distributions that each token is one draw
            of; float64, exactly 0 without steering.
        edit_sizes: |edit| / |resid_post of the unsteered model| at the position that each token was
            drawn from, a column for each site, as `relative_norm`: heads count through W_O, neurons
            through W_out. 0 where the scope does not steer. NaN at sites of kind `up`, whose change
            depends on a gate.
        projections: v . resid_post there in the steered model, a column for each direction v of
            length 1; no columns without directions.
        clean_projections: The same in the unsteered model.
        stop_reason: `end of text`: a token of the model's that ends texts was drawn; `stop text`:
            one of the stop strings was written; `length`: there were `max_new_tokens`.

    Raises:
        ValueError: If there are not as many tokens as token numbers, or the stop reason is none.
    """

    prompt: str
    text: str
    token_ids: Int[Tensor, " token"]
    tokens: tuple[str, ...]
    log_probs: Float[Tensor, " token"]
    clean_log_probs: Float[Tensor, " token"]
    nats: Float[Tensor, " token"]
    edit_sizes: Float[Tensor, "token site"]
    projections: Float[Tensor, "token direction"]
    clean_projections: Float[Tensor, "token direction"]
    stop_reason: StopReason

    def __post_init__(self) -> None:
        n = len(self.token_ids)
        if n == 0:
            raise ValueError("got token_ids without tokens, expected at least one token drawn")
        for name in ("tokens", "log_probs", "clean_log_probs", "nats", "edit_sizes", "projections"):
            if len(getattr(self, name)) != n:
                raise ValueError(
                    f"got {len(getattr(self, name))} {name} for {n} token_ids, expected one for "
                    "each token"
                )
        if self.clean_projections.shape != self.projections.shape:
            raise ValueError(
                f"got clean_projections of shape {tuple(self.clean_projections.shape)}, expected "
                f"that of the projections, {tuple(self.projections.shape)}"
            )

    @property
    def nats_per_token(self) -> float:
        """Mean of `nats` over the tokens that were drawn."""
        return self.nats.mean().item()

    @property
    def log_prob_changes(self) -> Float[Tensor, " token"]:
        """`log_probs - clean_log_probs`, nats: above 0 where steering made the token likelier."""
        return self.log_probs - self.clean_log_probs

    @property
    def edit_size(self) -> Float[Tensor, " token"]:
        """`edit_sizes` over all sites: root-sum-square."""
        return self.edit_sizes.norm(dim=1)

    def notes(self) -> list[str]:
        """What is to be known of each token, in one line."""
        columns = (self.tokens, self.token_ids, self.log_probs, self.clean_log_probs, self.nats)
        edits = self.edit_size.tolist()
        return [
            f"{token!r} (id {int(number)}): log-probability {float(log_prob):.3g}, unsteered "
            f"{float(clean):.3g}; {float(nats):.3g} nats; edit {edit:.3g}"
            for (token, number, log_prob, clean, nats), edit in zip(
                zip(*columns, strict=True), edits, strict=True
            )
        ]

    def figure(self) -> "Figure":
        """Nats of each token, and how its log-probability changed, along the text."""
        from lens_steer.figures import canvas

        n = len(self.tokens)
        places = torch.arange(n).numpy()
        # Dollar signs would begin a formula.
        labels = [visible(token).replace("$", r"\$") for token in self.tokens]
        width = min(14.0, max(4.0, 1.5 + 0.22 * n))
        with canvas(2, 1, width=width, height=4.2, sharex=True) as (figure, (above, below)):
            above.bar(places, self.nats.numpy(), color="C3")
            above.set(ylabel="KL(steered || unsteered),\nnats")
            changes = self.log_prob_changes.numpy()
            below.bar(places, changes, color=["C1" if x > 0 else "C0" for x in changes])
            below.axhline(0, color="0.6", lw=0.8)
            below.set(ylabel="change of log-probability,\nnats")
            below.set_xticks(places, labels, rotation=90, fontsize=7)
        return figure

    def __repr__(self) -> str:
        return (
            f"GeneratedText({shortened_in_the_middle(repr(self.text))}, {len(self.tokens)} tokens, "
            f"{self.nats_per_token:.3g} nats per token, ended by {self.stop_reason})"
        )
