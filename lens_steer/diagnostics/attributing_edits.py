"""Why an edit worked: its effect attributed to later heads and MLPs, and checked by patching."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Count, Seed
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.edit_effects import Batch
from lens_steer.diagnostics.later_components import EditAttribution
from lens_steer.diagnostics.scored_rows import rows_of_pairs
from lens_steer.models import (
    Encoded,
    SteerableModel,
    batches,
    check_differentiable,
    check_unsteered,
)
from lens_steer.steering import Intervention, Scope, check_scope

_MORE = 4  # times as many tokens in a batch of which nothing is kept for a backward pass


def edit_attribution(  # noqa: PLR0913 - what is measured, where, and how much at once
    model: SteerableModel,
    pairs: ContrastivePairs,
    method: Intervention,
    *,
    scope: Scope = "last",
    sink: bool = False,
    check: Count = 10,
    token_budget: Count = 512,
    seed: Seed = 0,
    progress: bool = True,
) -> EditAttribution:
    """Attribute what an edit does to m = log p(desired) - log p(undesired) to later components.

    Args:
        pairs: Paired examples; m is in nats per token of the given continuations, as `preference`.
        method: At the strength that is to be explained.
        scope: See `steered`.
        sink: See `steered`.
        check: Of how many components, by the size of their mean effect, the steered output is put
            into the clean run: one forward pass over the pairs for each.
        token_budget: Tokens of a batch, padding included, whose activations and logits are kept for
            the backward pass; speed and memory only.
        seed: Of the intervals over groups.
        progress: Whether to show a bar.

    Raises:
        ValueError: If the pairs are unpaired, the method does not fit the model or has strength 0,
            the model is being steered or is quantised, or logits are NaN or infinite.

    Example:
        >>> why = ls.diagnostics.edit_attribution(model, test, caa)
        >>> why.total, why.explained, why.check["correlation"]
        >>> why.table().head(10)
    """
    rows = rows_of_pairs(model, pairs)
    method.checked_edits(model)
    where = check_scope(scope, sink=sink)
    check_differentiable(model, "Gradients")
    if method.strength == 0:
        raise ValueError(f"{method!r} has strength 0 and changes nothing: pass it at another one")
    check_unsteered(model, "explain a method")
    with tqdm(total=2 * len(rows), desc="attribution", disable=not progress) as bar:
        steering = partial(_by_pair, model, rows, method, where, bar)
        effects, direct, stream, totals = steering(token_budget, _effects)
        size = effects.mean(dim=0).flatten().abs()
        some = size.argsort(descending=True, stable=True)[: min(check, int((size > 0).sum()))]
        chosen = tuple(some.tolist())
        [patched] = steering(_MORE * token_budget, partial(_patches, chosen))
    path = stream - direct.sum(dim=(1, 2))
    return EditAttribution(
        repr(method), effects, direct, path, totals, chosen, patched.T, pairs.groups, seed
    )


def _effects(batch: Batch) -> tuple[Tensor, ...]:
    found = batch.effects()
    return found.effects, found.direct, found.stream, found.total


def _patches(chosen: Sequence[int], batch: Batch) -> tuple[Tensor, ...]:
    return (batch.patched(chosen).T,)


def _by_pair(  # noqa: PLR0913 - a batch's fields, and how it is divided
    model: SteerableModel,
    rows: Sequence[Encoded],
    method: Intervention,
    scope: Scope,
    bar: "tqdm[Any]",
    token_budget: int,
    measure: Callable[[Batch], tuple[Tensor, ...]],
) -> list[Float[Tensor, "pair *any"]]:
    """What is measured of every row, batch by batch: that of desired minus that of undesired."""
    parts = list(batches([len(row.ids) for row in rows], token_budget))
    found = []
    for part in parts:
        found.append(measure(Batch(model, [rows[i] for i in part], method, scope)))
        bar.update(len(part))
    order = torch.tensor([i for part in parts for i in part]).argsort()
    sides = [torch.cat(of_rows)[order].chunk(2) for of_rows in zip(*found, strict=True)]
    return [desired - undesired for desired, undesired in sides]
