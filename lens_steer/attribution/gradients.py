"""First-order attribution: the gradient of the answers' margin, times what might change."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import Activations
from lens_steer.arguments import Count
from lens_steer.attribution.contrasts import over_pairs, summed
from lens_steer.attribution.scores import ElementScores
from lens_steer.data import ContrastivePairs
from lens_steer.models import (
    Encoded,
    Provenance,
    SteerableModel,
    attach,
    batches,
    check_differentiable,
    continuation_places,
    encode,
    gradients_possible,
    hooked,
    logits_at,
    pad,
)
from lens_steer.sites import Kind, Site, site_shape, sites_of

Product = Callable[[Tensor, Tensor, int], Tensor]  # (gradient, activation, layer row) -> [b p site]
# (logits [token vocab], tokens [token], row of each) -> [token]
Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def grad_x_activation(
    model: SteerableModel,
    pairs: ContrastivePairs,
    kind: str = "head",
    *,
    token_budget: Count = 256,
    progress: bool = True,
) -> ElementScores:
    """Gradient times activation: what the margin gains per unit of delta, as scaling begins.

    The margin is the log-probability per token of the desired answer minus that of the undesired;
    positions are the last prompt token and the answer's. One backward pass per pair predicts, to
    first order, SADI's effect for every element (and minus `zero_ablation`).

    Args:
        token_budget: Tokens of a batch, padding included, whose activations and logits are kept for
            the backward pass; speed and memory only. A row is never parted.

    Raises:
        ValueError: If the pairs are unpaired, or `kind` cannot be edited.

    Example:
        >>> ls.attribution.grad_x_activation(model, pairs, "neuron").top(100)
    """
    name = "gradient x activation, nats per token and unit of delta"
    bar = partial(tqdm, disable=not progress)
    return _attributed(model, pairs, kind, name, lambda g, a, _: g * a, token_budget, bar)


def attribution_patching(
    model: SteerableModel,
    pairs: ContrastivePairs,
    activations: Activations,
    *,
    token_budget: Count = 256,
    progress: bool = True,
) -> ElementScores:
    """Attribution patching: gradient times the mean difference of the classes, per element.

    To first order, what the margin gains when the difference is added where SADI would scale.

    Args:
        token_budget: As in `grad_x_activation`.

    Source: Nanda 2023, "Attribution patching"; Syed et al. 2023 (arXiv:2310.10348).

    Raises:
        ValueError: As `grad_x_activation`; if the activations are of another model or not of every
            layer.

    Example:
        >>> heads = ls.capture(model, pairs, "head")
        >>> ls.attribution.attribution_patching(model, pairs, heads).top(16)
    """
    product = along_difference(model, activations)
    name = "gradient x mean difference, nats per token"
    bar = partial(tqdm, disable=not progress)
    return _attributed(model, pairs, activations.kind.value, name, product, token_budget, bar)


def along_difference(model: SteerableModel, activations: Activations) -> Product:
    """The gradient along the mean difference of the classes.

    Raises:
        ValueError: If the activations are of another model or not of every layer.
    """
    if activations.provenance is not None:
        activations.provenance.check(model)
    if activations.layers != tuple(range(model.cfg.n_layers)):
        raise ValueError(f"got layers {activations.layers}, expected every layer: capture them all")
    direction = activations.direction

    def product(gradient: Tensor, activation: Tensor, row: int) -> Tensor:
        del activation
        return gradient * direction[row].to(gradient)

    return product


def _attributed(
    model: SteerableModel,
    pairs: ContrastivePairs,
    kind: str,
    name: str,
    product: Product,
    token_budget: int,
    with_bar: "Callable[..., tqdm[Any]]",
) -> ElementScores:
    what = Kind.parse(kind)
    rows = rows_of(model, pairs, what)
    shape = len(rows), int(model.cfg.n_layers), site_shape(model, what)[0]
    products = torch.zeros(shape, dtype=torch.double)
    with with_bar(total=len(rows), desc=f"gradients {what.value}") as bar:
        for batch in batches([len(row.ids) for row in rows], token_budget):
            some = [rows[i] for i in batch]
            products[batch] = of_batch(model, some, what, product, _log_probability)
            bar.update(len(batch))
    desired, undesired = products.chunk(2)
    source = Provenance(attach(model).fingerprint, pairs.name, "last prompt token and answer")
    return over_pairs(desired - undesired, what, name, source)


def rows_of(model: SteerableModel, pairs: ContrastivePairs, kind: Kind) -> list[Encoded]:
    """Every desired text and then every undesired one, for gradients by elements of a kind.

    Raises:
        ValueError: If there are no such gradients, or the pairs are unpaired.
    """
    if not kind.editable:
        raise ValueError(f"kind {kind.value!r} has no gradient of its own: take 'neuron'")
    if not pairs.paired:
        raise ValueError(f"{pairs!r}: expected both answers of each prompt")
    check_differentiable(model, "Gradients")
    return [encode(model, e.prompt, e.continuation) for e in (*pairs.desired, *pairs.undesired)]


@gradients_possible()
def of_batch(
    model: SteerableModel, rows: list[Encoded], kind: Kind, product: Product, score_of: Score
) -> Float[Tensor, "row layer element"]:
    """The product for each row's score, summed over the scaled positions.

    A score is a sum over the tokens of a row's continuation; `score_of` gives its terms.
    """
    row_of, column_of = continuation_places(rows)
    tokens, mask = pad(model, [row.ids for row in rows])
    kept: dict[Site, Tensor] = {}
    sites = sites_of(model, kind, None)

    def keeper(site: Site) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            kept[site] = x
            return x  # else the model may go on with a tensor that this one is a view of

        return keep

    start = Site(0, Kind.RESID_PRE)
    hooks: dict[Site, Callable[[Tensor], Tensor | None]] = {site: keeper(site) for site in sites}
    attach(model)
    with torch.enable_grad():
        with hooked(model, {start: lambda x: x.detach().requires_grad_(), **hooks}):
            logits = logits_at(model, tokens, mask, row_of, column_of - 1)
        drawn = tokens[row_of, column_of].to(logits.device)
        score = score_of(logits, drawn, row_of).sum()
        gradients = torch.autograd.grad(score, [kept[site] for site in sites])
    where = _steered(rows, tokens)
    parts = []
    for i, (site, gradient) in enumerate(zip(sites, gradients, strict=True)):
        values = product(gradient.double(), kept[site].detach().double(), i)
        parts.append(summed(torch.einsum("bp...,bp->b...", values, where), kind))
    return torch.stack(parts, dim=1).cpu()


def _log_probability(
    logits: Float[Tensor, "token vocab"],
    tokens: Int[Tensor, " token"],
    row_of: Int[Tensor, " token"],
) -> Float[Tensor, " token"]:
    """Of each row's continuation, per token."""
    scores = logits.float().log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0]
    return scores / row_of.bincount()[row_of].to(scores)


def _steered(rows: list[Encoded], tokens: Tensor) -> Float[Tensor, "row pos"]:
    """1 at the last prompt token and in the answer."""
    where = torch.zeros(tokens.shape, dtype=torch.double, device=tokens.device)
    for i, row in enumerate(rows):
        where[i, max(row.prompt_length - 1, 0) : len(row.ids)] = 1
    return where
