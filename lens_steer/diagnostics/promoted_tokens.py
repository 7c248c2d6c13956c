"""What a direction says: the tokens that it makes likelier and less likely."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import override

from lens_steer.arguments import Accepts, Count, CountFromZero, Layer, Seed, Texts
from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.diagnostics.directions import direction_of
from lens_steer.diagnostics.neutral_texts import NEUTRAL_TEXTS
from lens_steer.diagnostics.readout import (
    activations_of,
    as_clean_states_vary,
    carried,
    halves_agree,
    log_prob_slopes,
    places,
    states_of,
    token_rows,
)
from lens_steer.models import SteerableModel, check_unsteered
from lens_steer.reports import Report
from lens_steer.steering import Intervention

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Via = Literal["logit", "jacobian"]
What = Annotated[Tensor | Intervention | Barrier, Accepts(Tensor | Intervention | Barrier)]
_STATES, _SHOWN = 32, 10
_EVERY = 4  # of the neutral texts is enough for so few states; all are for means over texts
_FEWEST_CONTROLS = 4
_CONTROLS = {"logit": 100, "jacobian": 16}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Vocabulary(Report):
    """The change of every token's log-probability for a unit of a direction; made by `vocabulary`.

    Attributes:
        slopes: d log p / ds for each token of the vocabulary, nats per unit of the direction, at
            s = 0, averaged over clean states.
        z: The same less its mean over the vocabulary, for the direction at length 1, over its
            spread between random directions of length 1 that vary as clean activations do.
        tokens: The text of each token.
        what: What was read, in words.
        layer: The block behind which it is.
        via: `logit` reads it as if it left the last block; `jacobian` carries it there.
        agreement: Of `jacobian`, the cosine of what either half of the texts carries it to; NaN
            for `logit`.
        texts: How many texts were read.
        states: How many clean states the derivative is taken at.
        controls: How many random directions there are.

    Example:
        >>> said = ls.vocabulary(model, caa, layer=12)
        >>> said.promoted(5), said.suppressed(5)
    """

    slopes: Float[Tensor, " vocab"]
    z: Float[Tensor, " vocab"]
    tokens: tuple[str, ...]
    what: str
    layer: int
    via: str
    agreement: float
    texts: int
    states: int
    controls: int

    def promoted(self, k: Count = _SHOWN) -> list[str]:
        """The k tokens with the largest z, the largest first."""
        return [self.tokens[i] for i in places(self.z, k).tolist()]

    def suppressed(self, k: Count = _SHOWN) -> list[str]:
        """The k tokens with the smallest z, the smallest first."""
        return [self.tokens[i] for i in places(-self.z, k).tolist()]

    @override
    def table(self) -> "pd.DataFrame":
        """A row for each token: its change in nats per unit, and z; the largest z first."""
        import pandas as pd

        order = self.z.argsort(descending=True, stable=True).tolist()
        columns = {"token": [self.tokens[i] for i in order]}
        columns |= {"nats_per_unit": self.slopes[order].tolist(), "z": self.z[order].tolist()}
        return pd.DataFrame(columns)

    def brief(self, k: Count = _SHOWN) -> "pd.DataFrame":
        """The k most promoted tokens beside the k most suppressed."""
        import pandas as pd

        sides = {"promoted": places(self.z, k), "suppressed": places(-self.z, k)}
        columns: dict[str, Any] = {}
        for side, order in sides.items():
            columns[side] = [repr(self.tokens[i]) for i in order.tolist()]
            columns[f"{side}_nats"] = [f"{x:+.3g}" for x in self.slopes[order].tolist()]
            columns[f"{side}_z"] = [f"{x:+.1f}" for x in self.z[order].tolist()]
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        return f"{self._said()}\n{self.brief().to_string(index=False)}"

    def _said(self) -> str:
        halves = "" if self.via == "logit" else f"; halves of the texts agree: {self.agreement:.2f}"
        return (
            f"{self.what} behind block {self.layer}, via {self.via}: log-probability per unit, at "
            f"{self.states} states of {self.texts} texts; z against {self.controls} random "
            f"directions{halves}"
        )

    @override
    def figure(self, k: Count = _SHOWN) -> "Figure":
        """The k most promoted and the k most suppressed tokens, by z."""
        from lens_steer.figures import canvas

        with canvas(1, 2, width=6.4, height=0.9 + 0.22 * k) as (figure, axes):
            for panel, order, colour in zip(
                axes, (places(self.z, k), places(-self.z, k)), ("C0", "C3"), strict=True
            ):
                values = self.z[order].tolist()
                panel.barh(range(len(values)), values, color=colour)
                names = [repr(self.tokens[i]).replace("$", r"\$") for i in order.tolist()]
                panel.set_yticks(range(len(values)), names)
                panel.invert_yaxis()
                panel.set_xlabel("z against random directions")
            figure.suptitle(f"{self.what}, block {self.layer}, via {self.via}", fontsize=9)
        return figure


def vocabulary(  # noqa: PLR0913 - what is read, how, and beside what
    model: SteerableModel,
    what: What,
    layer: Layer,
    via: Via = "logit",
    *,
    texts: Texts | None = None,
    same_position: bool = False,
    skip: CountFromZero = 4,
    controls: Count | None = None,
    seed: Seed = 0,
    progress: bool = False,
) -> Vocabulary:
    """The tokens that a direction in the residual stream promotes and suppresses.

    The derivative of the log-probabilities is taken at clean states, through the model's own final
    norm, unembedding and cap, so that dimensions in which all activations are large drop out. Raw
    products with the unembedding rank rare tokens with long rows; each token is therefore shown
    beside what random directions do to it, which vary as clean activations do.

    Args:
        model: The model.
        what: A direction `[d]`; a method, for its mean displacement at clean states; or a barrier,
            for its mean field. Of vectors that are added to heads or neurons of that block it is
            what they write: the sum through W_O or W_out, behind the norm that Gemma 2 and 3 have
            there. For one head or neuron see `head_direction` and `neuron_direction`, for an
            activation `activation_vocabulary`.
        layer: The block behind which the direction lies.
        via: `logit` reads it as if it left the last block. `jacobian` carries it there first: the
            mean over positions of its effect on all later positions, through each text's own
            Jacobians (the J-lens of Gurnee et al. 2026).
        texts: Neutral texts of at least `skip` + 3 tokens; None takes 105 short texts, of which
            `logit` reads every fourth. The time of `jacobian` is in proportion to their number: on
            one core SmolLM2-135M takes 53 s behind block 22 of 30 and 113 s behind block 2. Fewer,
            `diagnostics.NEUTRAL_TEXTS[:24]`, are faster, and early layers are refused more often.
        same_position: With `jacobian`: carry it to its own position only, which is another lens.
        skip: How many positions at the beginning of a text are left out.
        controls: How many random directions; None is 100, and 16 for `jacobian`.
        seed: Of the random directions.
        progress: Whether to show a bar.

    Raises:
        ValueError: If the direction has another width or is 0, there is no such layer, a text is
            too short, a method does not act there or its push on heads or neurons depends on the
            input, there are fewer than 4 controls, or the model is being steered.
        CarriedApartError: With `jacobian`, if two halves of the texts carry it to directions whose
            cosine is below 0.5.
        ModelRefused: If the weights are quantised.

    Example:
        >>> ls.vocabulary(model, caa, layer=12)
        >>> ls.vocabulary(model, caa, layer=12, via="jacobian").promoted(5)
    """
    if layer >= int(model.cfg.n_layers):
        raise ValueError(f"got layer {layer}, expected 0 to {int(model.cfg.n_layers) - 1}")
    check_unsteered(model, "read directions")
    if same_position and via == "logit":
        raise ValueError("same_position is of via='jacobian': 'logit' carries nothing")
    if controls is not None and controls < _FEWEST_CONTROLS:
        raise ValueError(f"got controls={controls}, expected at least {_FEWEST_CONTROLS}")
    if via == "jacobian" and texts is not None and len(texts) < 2:
        raise ValueError("got one text, expected two at least, whose halves can be compared")
    neutral = NEUTRAL_TEXTS if via == "jacobian" else NEUTRAL_TEXTS[::_EVERY]
    rows = token_rows(model, neutral if texts is None else texts, skip)
    states = states_of(model, rows, layer, skip, _STATES)
    direction, name = direction_of(
        model, what, layer, states, partial(activations_of, model, rows, skip=skip, most=_STATES)
    )
    count = controls or _CONTROLS[via]
    random = as_clean_states_vary(states, count, seed=seed)
    each, agreement = torch.cat([direction[None], random]), float("nan")
    if via == "jacobian":
        with tqdm(rows, desc="texts", disable=not progress) as bar:
            how: dict[str, Any] = {"skip": skip, "same_position": same_position}
            parts = torch.stack([carried(model, row, layer, each, **how) for row in bar])
        agreement = halves_agree(parts[:, 0], layer)
        each = parts.mean(dim=0)
        states = states_of(model, rows, int(model.cfg.n_layers) - 1, skip, _STATES)
    slopes = log_prob_slopes(model, rows[0], states, each)
    # what moves all tokens alike, by taking from a few common ones, says nothing of any
    centred = slopes - slopes.mean(dim=1, keepdim=True)
    spread = centred[1:].square().mean(dim=0).sqrt()  # a random direction has no sign
    z = centred[0] / direction.double().norm() / spread
    words = tuple(model.tokenizer.decode([i]) for i in range(len(z)))
    via_name = f"{via} (same position)" if same_position and via == "jacobian" else via
    return Vocabulary(
        slopes[0].float(), z.float(), words, name, layer, via_name, agreement, len(rows),
        len(states), count,
    )  # fmt: skip
