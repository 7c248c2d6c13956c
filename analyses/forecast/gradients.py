"""Gradients of the log-probability of continuations with respect to the residual stream."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from lens_steer.models import (
    Encoded,
    continuation_places,
    encode,
    gradients_possible,
    hooked,
    logits_at,
    pad,
)
from lens_steer.sites import Site

TOKENS = 1024  # of a batch, padding included: speed and memory only


def rows_of(model: ls.SteerableModel, pairs: ContrastivePairs) -> list[Encoded]:
    """Every desired text and then every undesired one."""
    return [encode(model, e.prompt, e.continuation) for e in (*pairs.desired, *pairs.undesired)]


def steered_positions(rows: Sequence[Encoded], length: int) -> Float[Tensor, "row pos"]:
    """1 at the last prompt token and in the continuation, float64."""
    where = torch.zeros(len(rows), length).double()
    for i, row in enumerate(rows):
        where[i, max(row.prompt_length - 1, 0) : len(row.ids)] = 1
    return where


@gradients_possible()
def stream_gradients(
    model: ls.SteerableModel, rows: Sequence[Encoded], layers: Sequence[int]
) -> list[Float[Tensor, "row pos d"]]:
    """Of each row's continuation, whole, with respect to the stream behind some blocks; float64.

    Args:
        model: The model.
        rows: Some texts, which are run together.
        layers: The blocks, from the first on; nothing before it is differentiated.
    """
    tokens, mask = pad(model, [row.ids for row in rows])
    row_of, column_of = continuation_places(rows)
    kept: dict[int, Tensor] = {}
    keep = {Site(i): _keeper(kept, i, leaf=i == layers[0]) for i in layers}
    with torch.enable_grad(), hooked(model, keep):
        logits = logits_at(model, tokens, mask, row_of, column_of - 1).float()
        scores = logits.gather(-1, tokens[row_of, column_of, None].to(logits.device))[:, 0]
        total = (scores - logits.logsumexp(dim=-1)).sum()
        found = torch.autograd.grad(total, [kept[i] for i in layers])
    return [gradient.double().cpu() for gradient in found]


def _keeper(kept: dict[int, Tensor], layer: int, *, leaf: bool) -> Callable[[Tensor], Tensor]:
    def keep(x: Tensor) -> Tensor:
        kept[layer] = x.detach().requires_grad_() if leaf else x
        return kept[layer]  # else the model may go on with a tensor that this one is a view of

    return keep
