"""Reading one position per example from a model, in padded batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models import SteerableModel, attach, read
from lens_steer.sites import Kind, Site
from lens_steer.tokens import Encoded, batches, pad

ReadPosition = Literal["last", "mean", "prompt_last"] | int
TOKEN_BUDGET = 2048

Rows = Float[Tensor, "n layer *site"]


def span(row: Encoded, position: ReadPosition) -> range:
    """The positions of a row that are read: their activations are averaged.

    `last` is the continuation's last token, `mean` all of the continuation, `prompt_last` the
    prompt's last token, a number that position (the row's first token is 0; negative counts from
    its end).

    Raises:
        ValueError: If the row has no such position, or `position` is none of these.
    """
    length = len(row.ids)
    if position == "mean":
        return range(row.prompt_length, length)
    if position == "last":
        return range(length - 1, length)
    if position == "prompt_last":
        if row.prompt_length == 0:
            raise ValueError(
                "read position 'prompt_last': an example has no prompt; use 'last' or 'mean'"
            )
        return range(row.prompt_length - 1, row.prompt_length)
    if isinstance(position, str) or not isinstance(position, int):
        raise ValueError(
            f"read position {position!r}: expected 'last', 'mean', 'prompt_last' or a number"
        )
    index = position if position >= 0 else length + position
    if not 0 <= index < length:
        raise ValueError(f"read position {position}: an example has only {length} tokens")
    return range(index, index + 1)


def read_rows(
    model: SteerableModel,
    rows: Sequence[Encoded],
    sites: Sequence[Site],
    position: ReadPosition,
    *,
    token_budget: int = TOKEN_BUDGET,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[list[int], Rows]]:
    """Per batch: which rows it holds and what their sites hold, float32 on the CPU."""
    spans = [span(row, position) for row in rows]
    lock, activation = attach(model).lock, _activation_function(model, sites[0].kind)
    for batch in batches([len(row.ids) for row in rows], token_budget):
        tokens, mask = pad(model, [rows[i].ids for i in batch])
        keep = _keeper([spans[i] for i in batch], tokens.shape[1], activation)
        with (
            lock,
            torch.no_grad(),
        ):  # never across the yield: the caller's thread and grad mode are its own
            found = read(model, tokens, mask, dict.fromkeys(sites, keep))
        yield batch, torch.stack([found[site].float().cpu() for site in sites], dim=1)
        advance(len(batch))


def _keeper(
    spans: Sequence[range], width: int, activation: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    if all(len(positions) == 1 for positions in spans):
        columns = torch.tensor([positions[0] for positions in spans])
        rows = torch.arange(len(spans))
        return lambda x: activation(x[rows.to(x.device), columns.to(x.device)].detach())
    weights = _weights(spans, width)
    return lambda x: torch.einsum(
        "bp,bp...->b...", weights.to(x.device), activation(x.detach().float())
    )


def _weights(spans: Sequence[range], width: int) -> Float[Tensor, "batch pos"]:
    weights = torch.zeros(len(spans), width, dtype=torch.float32)
    for row, positions in enumerate(spans):
        weights[row, positions.start : positions.stop] = 1 / len(positions)
    return weights


def _activation_function(model: SteerableModel, kind: Kind) -> Callable[[Tensor], Tensor]:
    if kind is not Kind.GATE:
        return lambda x: x
    from transformers.activations import ACT2FN

    return ACT2FN[model.cfg.act_fn]
