"""What a direction does to the next token, to first order: through the final norm, or all blocks.

Both are products of the model's own functions with a vector, so that RMSNorm and LayerNorm, folded
and raw weights, and a cap on the logits need nothing of their own.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lens_steer.arguments import shortened
from lens_steer.linearity import BlockMaps, forward_products
from lens_steer.models import (
    FrozenContextBlocks,
    SteerableModel,
    check_differentiable,
    encode_prompt,
    forward,
    gradients_possible,
    hooked,
    pad,
    probe_tokens,
    reading,
)
from lens_steer.sites import Site

_NUMBERS = 2**24  # of logits held at a time
_LEAST_AGREEMENT = 0.5


class CarriedApartError(ValueError):
    """Halves of the texts carry a direction to different ones."""


def token_rows(model: SteerableModel, texts: Sequence[str], skip: int) -> list[list[int]]:
    """The tokens of texts that are long enough to be read.

    Raises:
        ValueError: If a text has fewer than `skip` + 3 tokens.
    """
    rows = [encode_prompt(model, text) for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) < skip + 3:
            raise ValueError(
                f"got a text of {len(row)} tokens, {shortened(text)}, expected at least "
                f"{skip + 3}: a longer text, or a smaller skip"
            )
    return rows


def states_of(
    model: SteerableModel, rows: Sequence[Sequence[int]], layer: int, skip: int, most: int
) -> Float[Tensor, "n d"]:
    """The stream behind a block at positions of some texts, evenly spread over all of them.

    Args:
        model: The model.
        rows: The tokens of each text.
        layer: The block.
        skip: How many positions at the beginning of each text are left out; the last one is too.
        most: How many states, at most.
    """
    return activations_of(model, rows, Site(layer), skip, most)


def activations_of(
    model: SteerableModel, rows: Sequence[Sequence[int]], site: Site, skip: int, most: int
) -> Float[Tensor, "n *site"]:
    """Activations at any site, at the positions of `states_of`."""
    found = []
    for row in rows:
        tokens, mask = pad(model, [row])
        with torch.no_grad(), reading(model, {site: lambda x: x[0, skip:-1]}) as kept:
            forward(model, tokens, mask)
        found.append(kept[site].float().cpu())
    states = torch.cat(found)
    kept_places = torch.linspace(0, len(states) - 1, min(most, len(states))).long()
    return states[kept_places]


@torch.no_grad()
def log_probs_of(model: SteerableModel, x: Float[Tensor, "n d"]) -> Float[Tensor, "n vocab"]:
    """Log-probabilities of the next token if each row left the last block, in float32."""
    tokens = probe_tokens(model)
    head = FrozenContextBlocks(model, tokens, torch.ones_like(tokens, dtype=torch.bool)).head
    parts = x.to(tokens.device).split(max(1, _NUMBERS // int(model.cfg.d_vocab)))
    return torch.cat([head(part).double().log_softmax(dim=-1).float().cpu() for part in parts])


def log_prob_slopes(
    model: SteerableModel,
    row: Sequence[int],
    states: Float[Tensor, "n d"],
    directions: Float[Tensor, "k d"],
) -> Float[Tensor, "k vocab"]:
    """Change of each token's log-probability for a unit of each direction, averaged over states.

    It is d/ds log_softmax(logits(x + s v)) at s = 0, x being what leaves the last block.

    Args:
        model: The model.
        row: Any text that the model can read; it does not count.
        states: Where the derivative is taken.
        directions: The directions v.
    """
    check_differentiable(model, "the vocabulary of a direction")
    tokens, mask = pad(model, [row])
    head = FrozenContextBlocks(model, tokens, mask).head
    vocab = head(states[:1].to(tokens.device)).shape[-1]
    total = torch.zeros(len(directions), vocab).double()
    at_once = min(len(directions), max(1, _NUMBERS // vocab))
    with gradients_possible():
        # every pass runs the whole model to get to its head, so that few of many states are best
        for x in states.to(tokens.device).split(max(1, _NUMBERS // (vocab * at_once))):
            p = head(x).detach().double().softmax(dim=-1).cpu()
            for start in range(0, len(directions), at_once):
                v = directions[start : start + at_once, None].expand(-1, len(x), -1)
                slopes = forward_products(head, x, v.to(tokens.device)).double().cpu()
                mean = torch.einsum("kxt,xt->k", slopes, p)
                total[start : start + at_once] += slopes.sum(dim=1) - mean[:, None]
    return total / len(states)


def carried(
    model: SteerableModel,
    row: Sequence[int],
    layer: int,
    directions: Float[Tensor, "k d"],
    *,
    skip: int,
    same_position: bool = False,
) -> Float[Tensor, "k d"]:
    """What leaves the last block, to first order, for a direction behind a block, in one text.

    The mean over the positions t of the sum over all later positions t' (t' >= t) of the Jacobian
    of z_last[t'] by z_layer[t], times the direction. Positions before `skip` and the last one
    neither push nor count. With `same_position` only t' = t counts.

    Args:
        model: The model.
        row: The tokens of the text.
        layer: The block behind which it is pushed.
        directions: The directions.
        skip: How many positions at the beginning are left out.
        same_position: Whether later positions do not count.
    """
    if same_position:
        parts = [
            carried_to_itself(model, row[: end + 1], layer, directions)
            for end in range(skip, len(row) - 1)
        ]
        return torch.stack(parts).mean(dim=0)
    tokens, mask = pad(model, [row])
    last, size = Site(int(model.cfg.n_layers) - 1), len(row) - 1 - skip

    def final(push: Tensor) -> Tensor:
        def pushed(x: Tensor) -> Tensor:
            added = torch.zeros_like(x)
            added[:, skip:-1] = push.to(x.dtype)
            return x + added

        with hooked(model, {Site(layer): pushed}), reading(model, {last: _as_it_is}) as kept:
            forward(model, tokens, mask)
        return kept[last][0, skip:-1].sum(dim=0)

    zero = torch.zeros(directions.shape[1], device=tokens.device)
    with gradients_possible():
        return forward_products(final, zero, directions.to(tokens.device)).float().cpu() / size


def carried_to_itself(
    model: SteerableModel, row: Sequence[int], layer: int, directions: Float[Tensor, "k d"]
) -> Float[Tensor, "k d"]:
    """The same at the last position of a text alone: the product of its blocks' own Jacobians."""
    maps, tangents = BlockMaps.of_rows(model, [tuple(row)]), directions[:, None]
    for k in range(layer + 1, maps.n_layers):
        tangents = maps.jvp(k, tangents)
    return tangents[:, 0]


def _as_it_is(x: Tensor) -> Tensor:
    return x


def as_clean_states_vary(
    states: Float[Tensor, "n d"], count: int, *, seed: int
) -> Float[Tensor, "count d"]:
    """Directions of length 1 drawn from the covariance of some states."""
    draw = torch.Generator().manual_seed(seed)
    centred = (states - states.mean(dim=0)).double()
    drawn = torch.randn(count, len(states), generator=draw, dtype=torch.double) @ centred
    return torch.nn.functional.normalize(drawn, dim=-1).float()


def places(values: Float[Tensor, " vocab"], k: int) -> Int[Tensor, " k"]:
    """The tokens of the largest values."""
    return values.topk(min(k, len(values))).indices


def halves_agree(carried_to: Float[Tensor, "text d"], layer: int) -> float:
    """The cosine of what two halves of the texts carry a direction to.

    Raises:
        CarriedApartError: If it is below 0.5: the mean is then not what any text does.
    """
    halves = [carried_to[i::2].mean(dim=0) for i in (0, 1)]
    found = float(cosine_similarity(*halves, dim=0))
    if found < _LEAST_AGREEMENT:
        raise CarriedApartError(
            f"behind block {layer} two halves of the texts carry the direction to others (cosine "
            f"{found:.2f}, expected at least {_LEAST_AGREEMENT}): take more texts or a later layer"
        )
    return found
