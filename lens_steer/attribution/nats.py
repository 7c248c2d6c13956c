"""First-order attribution at equal cost: what the margin gains for the nats that a push costs."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import Activations
from lens_steer.arguments import Count, Seed
from lens_steer.attribution.gradients import (
    Product,
    along_difference,
    attribution_patching,
    of_batch,
    rows_of,
)
from lens_steer.attribution.scores import ElementScores
from lens_steer.data import ContrastivePairs
from lens_steer.models import Encoded, SteerableModel, batches


def slope_per_nat(  # noqa: PLR0913 - what is attributed, and how well
    model: SteerableModel,
    pairs: ContrastivePairs,
    activations: Activations,
    *,
    samples: Count = 4,
    seed: Seed,
    token_budget: Count = 256,
    progress: bool = True,
) -> ElementScores:
    """Slope of the margin over the square root of nats, per element, along its mean difference.

    Adding s times an element's mean difference moves the margin by g s (`attribution_patching`) and
    costs c s^2 / 2 nats per token; at n nats per token that is g sqrt(2 n / c). The score is
    g sqrt(2 / c): what the first nat per token would buy, were all linear. An element that moves
    every text whatever it says scores low, however steep its slope.

    c is the mean over the pairs' texts of (d log p(y) / ds)^2 per token, y being drawn from the
    model at every token of the answer: the Fisher information of its next token, by as many
    backward passes as `samples`. It is estimated: of n texts on each side, c has a relative
    standard error of about 1 / sqrt(n samples), and the score half of that; `error` is that of the
    slope alone.

    Args:
        pairs: As `attribution_patching`.
        activations: Of every layer, for the mean difference.
        samples: Draws of y for each text.
        seed: Of the draws, which do not depend on batches.
        token_budget: As in `grad_x_activation`.

    Raises:
        ValueError: As `attribution_patching`; if an element moves the margin, but no drawn token.

    Example:
        >>> heads = ls.capture(model, pairs, "head")
        >>> mask = ls.attribution.slope_per_nat(model, pairs, heads, seed=0).top(8)
    """
    bar = partial(tqdm, disable=not progress)
    options = {"token_budget": token_budget, "progress": progress}
    slope = attribution_patching(model, pairs, activations, **options)
    rows = rows_of(model, pairs, activations.kind)
    product = along_difference(model, activations)
    generator = torch.Generator().manual_seed(seed)
    longest = max(len(row.ids) for row in rows)
    drawn = torch.rand(samples, len(rows), longest, generator=generator, dtype=torch.double)
    total = torch.zeros(slope.values.shape, dtype=torch.double)
    with bar(total=samples * len(rows), desc=f"nats {activations.kind.value}") as shown:
        for sample in drawn:
            for batch in batches([len(row.ids) for row in rows], token_budget):
                some = [rows[i] for i in batch]
                total += _squared_scores(model, some, activations, product, sample[batch])
                shown.update(len(batch))
    curvature = total / (samples * len(rows))
    if bool(((curvature == 0) & (slope.values != 0)).any()):
        raise ValueError("an element moves the margin but no drawn token: take more samples")
    unit = torch.where(curvature > 0, (2 / curvature).sqrt(), 0.0)
    return ElementScores(
        slope.values * unit,
        slope.kind,
        slope.layers,
        "slope of the margin, nats per token, for the first nat per token",
        None if slope.error is None else slope.error * unit,
        slope.consistency,
        slope.provenance,
    )


def _squared_scores(
    model: SteerableModel,
    rows: list[Encoded],
    activations: Activations,
    product: Product,
    drawn: Float[Tensor, "row pos"],
) -> Float[Tensor, "layer element"]:
    """The squares of d log p(y) / ds over tokens, summed over rows.

    Of tokens drawn one by one, the terms of other tokens have mean 0: the square of the sum is, in
    the mean, the sum of the tokens' Fisher information.
    """
    score = partial(_drawn_log_probability, drawn)
    return of_batch(model, rows, activations.kind, product, score).square().sum(dim=0)


def _drawn_log_probability(
    drawn: Float[Tensor, "row pos"],
    logits: Float[Tensor, "token vocab"],
    tokens: Int[Tensor, " token"],
    row_of: Int[Tensor, " token"],
) -> Float[Tensor, " token"]:
    """Of a token drawn at each place of the row's continuation, over the root of their number."""
    del tokens
    counts = row_of.bincount()
    u = torch.cat([drawn[i, :n] for i, n in enumerate(counts.tolist())])
    scores = logits.float().log_softmax(dim=-1)
    cumulative = scores.detach().double().exp().cumsum(dim=-1)
    u = u[:, None].to(cumulative.device) * cumulative[:, -1:]
    y = torch.searchsorted(cumulative, u).clamp(max=scores.shape[-1] - 1)
    return scores.gather(-1, y)[:, 0] / counts[row_of].sqrt().to(scores)
