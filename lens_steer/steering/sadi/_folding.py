"""Factors of activations written into the weights: no hook, the same logits."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models import SteerableModel, forward, input_device, open_blocks
from lens_steer.sites import Kind, Site


def folded(model: SteerableModel, factors: Mapping[Site, Float[Tensor, "*site"]]) -> SteerableModel:
    """A copy of the model whose activations at these sites are multiplied, at every position.

    Args:
        factors: Of each element; of heads as `[head 1]`.

    Raises:
        ValueError: If no weights do the same (the residual stream; dimensions behind a norm of the
            output, as in Gemma 2 and 3), or the model is being steered.
    """
    if open_blocks(model):
        raise ValueError("the model is being steered: fold outside the block")
    with torch.no_grad():  # a graph that an earlier forward left behind cannot be copied
        forward(model, torch.zeros(1, 1, dtype=torch.long, device=input_device(model)))
        found = copy.deepcopy(model)
        for site, factor in factors.items():
            for weight, by in _scaled(found, site, factor):
                weight.copy_((weight * by).to(weight.dtype))
    return found


def _scaled(model: Any, site: Site, factor: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights of the block, views of the model's own, each with what multiplies it."""
    block = model.blocks[site.layer]
    match site.kind:
        case Kind.HEAD:
            return [(block.attn.W_O, factor[..., None])]
        case Kind.NEURON:
            return [(weight, factor[:, None]) for weight in _out(block)]
        case Kind.MLP_OUT:
            _refuse_norm(block, "ln2_post", site)
            return [
                *((weight, factor) for weight in _out(block)),
                *([] if block.mlp.b_out is None else [(block.mlp.b_out, factor)]),
            ]
        case Kind.ATTN_OUT:
            _refuse_norm(block, "ln1_post", site)
            bias = block.attn.b_O
            return [(block.attn.W_O, factor), *([] if bias is None else [(bias, factor)])]
        case _:
            raise ValueError(
                f"{site.hook_name} is the sum of all that is written: no weights scale it alone; "
                "choose heads, neurons, mlp_out or attn_out"
            )


def _out(block: Any) -> list[Tensor]:
    """W_out, and the copy that a gated TransformerBridge 3.9 computes with once it is processed."""
    copied = getattr(block.mlp, "_processed_W_out", None)
    return [block.mlp.W_out, *([] if copied is None else [copied.T])]


def _refuse_norm(block: Any, name: str, site: Site) -> None:
    if getattr(block, name, None) is not None:
        raise ValueError(
            f"{site.hook_name} lies behind a norm, which undoes a scaling of the weights before it:"
            " fold heads or neurons"
        )
