"""Reading a model at one position of each example, in padded batches.

A prompt that several examples have in common is run once, where that pays.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations.read_positions import ReadPosition, positions_read
from lens_steer.models import (
    Decoder,
    Encoded,
    SteerableModel,
    attach,
    batches,
    continues_tokens_together,
    forward,
    gate_function,
    input_device,
    open_blocks,
    pad,
    reading,
)
from lens_steer.sites import Kind, Site, has_sites

TOKEN_BUDGET = 2048
# Running a prompt apart is a second pass: on a CPU, about this share of the tokens pays for it.
_WORTH = 0.125


def read_rows(
    model: SteerableModel,
    rows: Sequence[Encoded],
    sites: Sequence[Site],
    position: ReadPosition,
    *,
    sink: bool = False,
    token_budget: int = TOKEN_BUDGET,
    advance: Callable[[int], object] = lambda _: None,
) -> Float[Tensor, "n layer *site"]:
    """What the sites hold at one position of every row, float32 on the CPU.

    A prompt that several rows have in common is run once where only continuations are read, unless
    a steered block is open (its edits are to see whole rows) or the model keeps states.

    Args:
        rows: Tokenised examples, at least one.
        sites: Of one kind.
        position: Which tokens of a row are read; see `positions_read`.
        sink: Whether a mean is over attention sinks too.
        token_budget: Tokens of a padded batch.
        advance: Called with the number of rows after each batch.
    """
    attach(model)
    spans = positions_read(model, rows, position, sink=sink, token_budget=token_budget)
    continuations_alone = position in ("last", "mean") and not open_blocks(model)
    behind = continuations_alone and continues_tokens_together(model)
    shared = batches_by_prompt(rows, token_budget) if behind else []
    rest = sorted(set(range(len(rows))).difference(*shared))
    whole = [
        [rest[i] for i in batch]
        for batch in batches([len(rows[i].ids) for i in rest], token_budget)
    ]
    activations: Tensor | None = None
    for prompts_once, part in ((False, whole), (True, shared)):
        for batch in part:
            chosen = [rows[i] for i in batch], [spans[i] for i in batch]
            values = _read_batch(model, *chosen, sites, prompts_once=prompts_once)
            if activations is None:
                activations = torch.empty((len(rows), *values.shape[1:]), dtype=torch.float32)
            activations[batch] = values
            advance(len(batch))
    assert activations is not None  # at least one row
    return activations


@torch.no_grad()
def _read_batch(
    model: SteerableModel,
    rows: Sequence[Encoded],
    spans: Sequence[Sequence[int]],
    sites: Sequence[Site],
    *,
    prompts_once: bool,
) -> Float[Tensor, "batch layer *site"]:
    """What the sites hold, averaged over each row's positions, from one padded forward.

    With `prompts_once` the continuations alone are run, behind a cache of their prompts.
    """
    starts = [row.prompt_length if prompts_once else 0 for row in rows]
    tokens, mask = pad(model, [row.ids[n:] for row, n in zip(rows, starts, strict=True)])
    moved = [[at - n for at in s] for s, n in zip(spans, starts, strict=True)]
    select = dict.fromkeys(sites, _averaged(model, sites[0].kind, moved, tokens.shape[1]))
    decoder = _after_prompts(model, rows, sites) if prompts_once else None
    with reading(model, select) as held:
        if decoder is None:
            forward(model, tokens, mask)
        else:
            decoder.advance(tokens, mask)
    return torch.stack([held[site].float().cpu() for site in sites], dim=1)


def _after_prompts(
    model: SteerableModel, rows: Sequence[Encoded], sites: Sequence[Site]
) -> Decoder:
    """A cache of each row's prompt, equal prompts being run once, up to the last keys needed."""
    prompts = [row.ids[: row.prompt_length] for row in rows]
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    decoder = Decoder(model, *pad(model, list(number), left=True))
    last = Site(max(site.layer for site in sites), Kind.HEAD)  # its keys are in the cache by then
    last = last if has_sites(model, last) else Site(last.layer)
    with reading(model, {last: lambda x: x[:0]}):
        decoder.start()
    decoder.select_rows(
        torch.tensor([number[prompt] for prompt in prompts], device=input_device(model))
    )
    return decoder


def _averaged(
    model: SteerableModel, kind: Kind, spans: Sequence[Sequence[int]], width: int
) -> Callable[[Tensor], Tensor]:
    """The mean over each row's positions of a site's activation; of `gate`, behind its function."""
    activation: Callable[[Tensor], Tensor] = lambda x: x  # noqa: E731
    if kind is Kind.GATE:
        activation = gate_function(model)
    if all(len(positions) == 1 for positions in spans):
        rows = torch.arange(len(spans))
        columns = torch.tensor([positions[0] for positions in spans])
        return lambda x: activation(x[rows.to(x.device), columns.to(x.device)].detach())
    weights = torch.zeros(len(spans), width, dtype=torch.float32)
    for row, positions in enumerate(spans):
        weights[row, list(positions)] = 1 / len(positions)
    return lambda x: torch.einsum(
        "bp,bp...->b...", weights.to(x.device), activation(x.detach().float())
    )


def batches_by_prompt(rows: Sequence[Encoded], token_budget: int) -> list[list[int]]:
    """Batches of rows whose prompts are run once, the rows of a prompt side by side.

    A batch holds at most `token_budget` tokens, padding and each row's copy of its prompt counted.
    Rows whose prompt is empty, or shared with none, or too short to save anything, are in no batch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.ids[: row.prompt_length], []).append(i)
    pieces = [piece for group in groups.values() for piece in _cut(rows, group, token_budget)]
    whole: list[list[int]] = []
    for piece in sorted(pieces, key=lambda piece: (_width(rows, piece), piece)):
        joined = [*whole[-1], *piece] if whole else []
        if joined and len(joined) * _width(rows, joined) <= token_budget:
            whole[-1] = joined
        else:
            whole.append(piece)
    return whole


def _cut(rows: Sequence[Encoded], group: list[int], token_budget: int) -> Iterator[list[int]]:
    """Parts of a prompt's rows that fit the budget and save tokens, similar lengths together."""
    together = max(1, token_budget // _width(rows, group))
    ordered = sorted(group, key=lambda i: (len(rows[i].ids), i))
    for start in range(0, len(group), together):
        part = ordered[start : start + together]
        prompt = rows[part[0]].prompt_length
        once = prompt + len(part) * (_width(rows, part) - prompt)
        if once <= (1 - _WORTH) * sum(len(rows[i].ids) for i in part):
            yield part


def _width(rows: Sequence[Encoded], batch: Sequence[int]) -> int:
    """Tokens of a row once its prompt and its continuation are padded to the longest."""
    prompt = max(rows[i].prompt_length for i in batch)
    return prompt + max(len(rows[i].ids) - rows[i].prompt_length for i in batch)
