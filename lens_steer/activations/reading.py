"""Reading one position per example from a model, in padded batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations.shared_prompts import by_prompt
from lens_steer.models import (
    Decoder,
    Encoded,
    SteerableModel,
    attach,
    batches,
    open_blocks,
    pad,
    read,
    reading,
)
from lens_steer.sites import Kind, Site

ReadPosition = Literal["last", "mean", "prompt_last"] | int
TOKEN_BUDGET = 2048

Rows = Float[Tensor, "n layer *site"]
_Activation = Callable[[Tensor], Tensor]
_Run = Callable[
    [SteerableModel, Sequence[Encoded], Sequence[range], Sequence[Site], _Activation],
    dict[Site, Tensor],
]


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
    """Per batch: which rows it holds and what their sites hold, float32 on the CPU.

    A prompt that several rows have in common is run once where only continuations are read, unless
    a steered block is open: its edits are to see whole rows.
    """
    spans = [span(row, position) for row in rows]
    attach(model)
    activation = _activation_function(model, sites[0].kind)
    common = position in ("last", "mean") and not open_blocks(model)
    for batch, run in _runs(rows, by_prompt(rows, token_budget) if common else [], token_budget):
        with torch.no_grad():  # never across the yield: the caller's grad mode is its own
            found = run(
                model, [rows[i] for i in batch], [spans[i] for i in batch], sites, activation
            )
        yield batch, torch.stack([found[site].float().cpu() for site in sites], dim=1)
        advance(len(batch))


def _runs(
    rows: Sequence[Encoded], shared: list[list[int]], token_budget: int
) -> Iterator[tuple[list[int], _Run]]:
    """Every row in one batch, with how that batch is run."""
    rest = sorted(set(range(len(rows))).difference(*shared))
    for batch in batches([len(rows[i].ids) for i in rest], token_budget):
        yield [rest[i] for i in batch], _whole
    for batch in shared:
        yield batch, _after_prompts


def _whole(
    model: SteerableModel,
    rows: Sequence[Encoded],
    spans: Sequence[range],
    sites: Sequence[Site],
    activation: _Activation,
) -> dict[Site, Tensor]:
    tokens, mask = pad(model, [row.ids for row in rows])
    keep = _keeper(spans, tokens.shape[1], activation)
    return read(model, tokens, mask, dict.fromkeys(sites, keep))


def _after_prompts(
    model: SteerableModel,
    rows: Sequence[Encoded],
    spans: Sequence[range],
    sites: Sequence[Site],
    activation: _Activation,
) -> dict[Site, Tensor]:
    """The same, each different prompt being run once into a cache, up to the last keys needed."""
    prompts = [row.ids[: row.prompt_length] for row in rows]
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    decoder = Decoder(model, *pad(model, list(number), left=True))
    last = Site(max(site.layer for site in sites), Kind.HEAD)  # its keys are in the cache by then
    with reading(model, {last: lambda x: x[:0]}):
        decoder.start()
    tokens, mask = pad(model, [row.ids[row.prompt_length :] for row in rows])
    decoder.select_rows(torch.tensor([number[prompt] for prompt in prompts], device=tokens.device))
    starts = [row.prompt_length for row in rows]
    moved = [range(s.start - n, s.stop - n) for s, n in zip(spans, starts, strict=True)]
    keep = _keeper(moved, tokens.shape[1], activation)
    with reading(model, dict.fromkeys(sites, keep)) as found:
        decoder.advance(tokens, mask)
    return found


def _keeper(
    spans: Sequence[range], width: int, activation: _Activation
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


def _activation_function(model: SteerableModel, kind: Kind) -> _Activation:
    if kind is not Kind.GATE:
        return lambda x: x
    from transformers.activations import ACT2FN

    return ACT2FN[model.cfg.act_fn]
