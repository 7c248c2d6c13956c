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
    clean_sinks,
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
    sink: bool = False,
    token_budget: Count = TOKEN_BUDGET,
) -> Float[Tensor, "prompt d"]:
    """Mean of the residual stream leaving a block over the tokens of each prompt, float32, CPU.

    It is what `Gate` reads.

    Args:
        layer: Block.
        sink: Whether the mean is over all tokens, as in the paper: attention sinks too, such as the
            beginning-of-sequence token, whose activation may be hundreds of times as large as the
            others'.
        token_budget: Tokens of a batch; speed and memory only.

    Raises:
        ValueError: If there is no prompt, one has no token that is averaged or is too long, or no
            such layer.

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
        means.append(token_means(model, tokens, mask, layer, sink=sink))
        order += batch
    return torch.cat(means)[torch.tensor(order).argsort()]


def token_means(
    model: SteerableModel, tokens: Tokens, mask: Mask, layer: int, *, sink: bool
) -> Float[Tensor, "batch d"]:
    """Mean over the real tokens of each row of a padded batch, of attention sinks only if asked."""
    averaged = mask if sink else mask & ~clean_sinks(model, tokens, mask)
    counts = averaged.sum(dim=1)
    if not bool(counts.all()):
        raise ValueError(
            "a prompt without a token, or with none but attention sinks (its first token is one): "
            "a Gate reads the mean over its tokens; give it a second token, or sink=True"
        )

    def mean(x: Tensor) -> Tensor:
        real = averaged.to(x.device)[..., None]
        return torch.where(real, x.detach().float(), 0.0).sum(dim=1) / counts.to(x.device)[:, None]

    with torch.no_grad():
        return read(model, tokens, mask, {Site(layer): mean})[Site(layer)].cpu()
