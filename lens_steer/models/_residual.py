"""What an edit writes to the residual stream: heads through W_O, neurons through W_out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models._protocol import SteerableModel
from lens_steer.sites import Kind, Site


def residual_edit(
    model: SteerableModel,
    site: Site,
    before: Float[Tensor, "n *site"],
    after: Float[Tensor, "n *site"],
) -> Float[Tensor, "n d"]:
    """The change of the residual stream by an edit, before any later part of the model sees it.

    Where a norm follows the output (Gemma 2 and 3) it is the change behind that norm.

    Args:
        before: Activations that came to the edit.
        after: What it made of them.
    """
    with torch.no_grad():
        return written_by(model, site, after.float()) - written_by(model, site, before.float())


def written_by(model: Any, site: Site, x: Float[Tensor, "n *site"]) -> Float[Tensor, "n d"]:
    """What activations at a site add to the residual stream; biases left out."""
    block = model.blocks[site.layer]
    match site.kind:
        case Kind.HEAD:
            found = torch.einsum("nhe,hed->nd", x, block.attn.W_O.float())
            return _normed(block, "ln1_post", found)
        case Kind.NEURON:
            return _normed(block, "ln2_post", x @ block.mlp.W_out.float())
        case _:
            return x


def _normed(block: Any, name: str, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Behind the norm of an output, in the models that have one."""
    norm = getattr(block, name, None)
    if norm is None:
        return x
    weight = next(iter(norm.parameters()), None)
    dtype = x.dtype if weight is None else weight.dtype
    return norm(x.to(dtype)[None])[0].float()
