"""Embedding and unembedding as matrices, checked to be what the model computes with."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.agreement import probe_tokens
from lens_steer.models.attachment import attach
from lens_steer.models.modules import evaluating, model_modules
from lens_steer.models.protocol import SteerableModel, is_bridge
from lens_steer.models.residual import ROUNDING


def embedding_matrices(
    model: SteerableModel,
) -> tuple[Float[Tensor, "vocab d"], Float[Tensor, "d vocab"]]:
    """W_E and W_U; an embedding may be scaled behind its matrix, as Gemma's is.

    Raises:
        ValueError: If the model embeds or unembeds with more than these: adapters (LoRA),
            quantized or wrapped layers.
    """
    attach(model)
    with torch.no_grad(), evaluating(model_modules(model)):
        embed, unembed = _layers(model)
        wrong = [
            name
            for name, right in (("W_E", _embeds(model, embed)), ("W_U", _unembeds(model, unembed)))
            if not right
        ]
    if wrong:
        raise ValueError(
            f"the model computes with more than its {' and '.join(wrong)}: is there an adapter "
            "(LoRA), a quantized or wrapped layer? Merge the adapter into the weights first, or "
            "load the model unquantized"
        )
    values: Any = model
    return values.W_E.detach(), values.W_U.detach()


def _layers(model: Any) -> tuple[Any, Any]:
    """The modules that run: what a user puts around them later is not in the bridge's own."""
    if is_bridge(model):
        original = model.original_model
        return original.get_input_embeddings(), original.get_output_embeddings()
    return model.embed, model.unembed


def _embeds(model: Any, layer: Any) -> bool:
    try:
        tokens = probe_tokens(model)
        rows, out = model.W_E[tokens[0]].float(), layer(tokens)[0].float()
    except Exception:  # noqa: BLE001 - whatever a layer of unknown make raises when it is asked
        return False
    scale = (rows * out).sum(dim=-1, keepdim=True) / rows.square().sum(dim=-1, keepdim=True)
    return bool((scale * rows - out).norm() <= ROUNDING[model.W_E.dtype] * out.norm())


def _unembeds(model: Any, layer: Any) -> bool:
    try:
        weight, bias = model.W_U, getattr(model, "b_U", None)
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, len(weight), generator=draw).to(weight)
        expected, out = x.float() @ weight.float(), layer(x).float()
        expected = expected if bias is None else expected + bias.float()
    except Exception:  # noqa: BLE001 - as above
        return False
    return bool((expected - out).norm() <= ROUNDING[weight.dtype] * out.norm())
