"""What a gate reads of a prompt: the mean of the clean residual stream over its tokens."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, Layer
from lens_steer.axes import Mask, Tokens
from lens_steer.models import (
    Prompt,
    SteerableModel,
    attach,
    batches,
    check_fits,
    encode_prompt,
    pad,
    read,
    render,
)
from lens_steer.sites import Site

TOKEN_BUDGET = 2048


def prompt_means(
    model: SteerableModel,
    prompts: Sequence[Prompt],
    layer: Layer,
    *,
    token_budget: Count = TOKEN_BUDGET,
) -> Float[Tensor, "prompt d"]:
    """Mean of the residual stream leaving a block over all tokens of each prompt, float32, CPU.

    All tokens, the beginning-of-sequence token too, as in the paper: what `Gate` reads.

    Args:
        layer: Block.
        token_budget: Tokens of a batch; speed and memory only.

    Raises:
        ValueError: If there is no prompt, one has no token or is too long, or no such layer.

    Example:
        >>> harmful = ls.steering.prompt_means(model, prompts, layer=3)
    """
    rows = [encode_prompt(model, prompt) for prompt in prompts]
    if not rows or not all(rows):
        raise ValueError(f"got {len(rows)} prompts: expected at least one, each with a token")
    for prompt, row in zip(prompts, rows, strict=True):
        check_fits(model, len(row), render(model, prompt))
    means, order = [], []
    attach(model)
    for batch in batches([len(row) for row in rows], token_budget):
        tokens, mask = pad(model, [rows[i] for i in batch])
        means.append(token_means(model, tokens, mask, layer))
        order += batch
    return torch.cat(means)[torch.tensor(order).argsort()]


def token_means(
    model: SteerableModel, tokens: Tokens, mask: Mask, layer: int
) -> Float[Tensor, "batch d"]:
    """Mean over the real tokens of each row of a padded batch."""
    counts = mask.sum(dim=1)
    if not bool(counts.all()):
        raise ValueError("a prompt without a token: a Gate reads the mean over its tokens")

    def mean(x: Tensor) -> Tensor:
        real = mask.to(x.device)[..., None]
        return torch.where(real, x.detach().float(), 0.0).sum(dim=1) / counts.to(x.device)[:, None]

    with torch.no_grad():
        return read(model, tokens, mask, {Site(layer): mean})[Site(layer)].cpu()
