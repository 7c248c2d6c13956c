"""Weights of a model as matrices, checked to be what the model computes with.

A layer around the weights (LoRA and other adapters, quantized layers, hooks that change the output)
computes something else than the weights, whatever it is called. So a few tokens are run before
weights are handed out: W_O and W_out (`output_weight`), W_E and W_U (`embedding_matrices`).
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.agreement import probe_tokens
from lens_steer.models.attachment import Attachment, attach, last_seen
from lens_steer.models.forward_pass import read
from lens_steer.models.modules import evaluating, model_modules
from lens_steer.models.protocol import SteerableModel, is_bridge
from lens_steer.models.steered_blocks import unsteered
from lens_steer.sites import Kind, Site

# Of the length of what is written: rounding of one product, and of a norm behind it.
_ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 3e-3, torch.bfloat16: 2e-2}
_OUTPUTS = {Kind.HEAD: Kind.ATTN_OUT, Kind.NEURON: Kind.MLP_OUT}
_checked: WeakKeyDictionary[Any, tuple[Attachment, dict[Site, str | None]]] = WeakKeyDictionary()


def residual_edit(
    model: SteerableModel,
    site: Site,
    before: Float[Tensor, "n *site"],
    after: Float[Tensor, "n *site"],
) -> Float[Tensor, "n d"]:
    """The change that an edit makes to the residual stream, before later parts of the model see it.

    Heads write through W_O and neurons through W_out. Where a norm follows the output (Gemma 2 and
    3) it is the change behind that norm.

    Args:
        model: The model.
        site: Where the edit is.
        before: Activations that came to the edit.
        after: The edited activations.

    Raises:
        ValueError: If heads or neurons are not written by plain weights (see `output_weight`), or
            the edit is of what a gate multiplies: its change depends on the gate.
    """
    if site.kind is Kind.UP:
        raise ValueError(
            f"{site.hook_name} reaches the residual stream multiplied by its gate, which is not "
            "given: edit kind 'neuron', their product"
        )
    if site.kind not in _OUTPUTS:
        return after.float() - before.float()
    weight = output_weight(model, site)
    with torch.no_grad():
        return _behind_norm(model, site, _through(weight, after)) - _behind_norm(
            model, site, _through(weight, before)
        )


def output_weight(model: SteerableModel, site: Site) -> Float[Tensor, "*site d"]:
    """W_O of a layer's heads or W_out of its neurons, checked to be what the layer computes with.

    What the layer adds to the residual stream at 8 tokens is compared with its weights times its
    input, once for every state of the model that `attach` finds.

    Args:
        model: The model.
        site: The layer, and `head` or `neuron`.

    Raises:
        ValueError: If they differ, or there are no such weights to be read.
    """
    fault = _faults(model)[Site(site.layer, site.kind)]
    if fault is not None:
        raise ValueError(
            f"layer {site.layer}: {fault}. Is there an adapter (LoRA), a quantized or wrapped "
            "layer, or a hook? Merge the adapter into the weights, or load the model unquantized"
        )
    return _output_weight(model, site)


def _faults(model: SteerableModel) -> dict[Site, str | None]:
    """What is wrong with the weights at each layer's heads and neurons; None where nothing is."""
    attachment = last_seen(model)
    checked = _checked.get(model)
    if checked is None or checked[0] is not attachment:
        checked = _checked[model] = (attachment, _compared(model))
    return checked[1]


def _compared(model: SteerableModel) -> dict[Site, str | None]:
    sites = [Site(layer, kind) for layer in range(model.cfg.n_layers) for kind in _OUTPUTS]
    outputs = [Site(site.layer, _OUTPUTS[site.kind]) for site in sites]
    select = dict.fromkeys([*sites, *outputs], lambda x: x[0].detach().clone())
    with unsteered(model), torch.no_grad():
        activations = read(model, probe_tokens(model), None, select)
        return {
            site: _fault(model, site, activations[site], activations[output])
            for site, output in zip(sites, outputs, strict=True)
        }


def _fault(
    model: SteerableModel, site: Site, x: Float[Tensor, "n *site"], out: Float[Tensor, "n d"]
) -> str | None:
    name = "W_O" if site.kind is Kind.HEAD else "W_out"
    try:
        expected = _through(_output_weight(model, site), x)
    except Exception as error:  # whatever a layer of unknown make raises when it is asked
        return f"its {name} cannot be read ({type(error).__name__}: {str(error)[:80]})"
    block = model.blocks[site.layer]
    bias = block.attn.b_O if site.kind is Kind.HEAD else block.mlp.b_out
    expected = expected if bias is None else expected + bias.float()
    expected = _behind_norm(model, site, expected)
    error = float((expected - out.float()).norm() / out.float().norm().clamp(min=1e-30))
    if error <= _ROUNDING[out.dtype]:
        return None
    return f"what it adds to the residual stream is not {name} times its input ({error:.1e} off)"


def _output_weight(model: SteerableModel, site: Site) -> Float[Tensor, "*site d"]:
    block = model.blocks[site.layer]
    return block.attn.W_O if site.kind is Kind.HEAD else block.mlp.W_out


def _through(weight: Float[Tensor, "*site d"], x: Float[Tensor, "n *site"]) -> Float[Tensor, "n d"]:
    return x.float().flatten(1) @ weight.float().flatten(0, -2)


def _behind_norm(
    model: SteerableModel, site: Site, x: Float[Tensor, "n d"]
) -> Float[Tensor, "n d"]:
    """An output behind its norm, in the models that have one there."""
    name = "ln1_post" if site.kind is Kind.HEAD else "ln2_post"
    norm = getattr(model.blocks[site.layer], name, None)
    if norm is None:
        return x
    weight = next(iter(norm.parameters()), None)
    dtype = x.dtype if weight is None else weight.dtype
    return norm(x.to(dtype)[None])[0].float()


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
        embed, unembed = _embedding_layers(model)
        wrong = [] if _embeds(model, embed) else ["W_E"]
        wrong += [] if _unembeds(model, unembed) else ["W_U"]
    if wrong:
        raise ValueError(
            f"the model computes with more than its {' and '.join(wrong)}: is there an adapter "
            "(LoRA), a quantized or wrapped layer? Merge the adapter into the weights first, or "
            "load the model unquantized"
        )
    weights: Any = model
    return weights.W_E.detach(), weights.W_U.detach()


def _embedding_layers(model: Any) -> tuple[Any, Any]:
    """The modules that run: a bridge has others of its own, around which users put nothing."""
    if is_bridge(model):
        original = model.original_model
        return original.get_input_embeddings(), original.get_output_embeddings()
    return model.embed, model.unembed


def _embeds(model: Any, layer: Any) -> bool:
    try:
        tokens = probe_tokens(model)
        rows, out = model.W_E[tokens[0]].float(), layer(tokens)[0].float()
    except Exception:
        return False
    scale = (rows * out).sum(dim=-1, keepdim=True) / rows.square().sum(dim=-1, keepdim=True)
    return bool((scale * rows - out).norm() <= _ROUNDING[model.W_E.dtype] * out.norm())


def _unembeds(model: Any, layer: Any) -> bool:
    try:
        weight, bias = model.W_U, getattr(model, "b_U", None)
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, len(weight), generator=draw).to(weight)
        expected, out = x.float() @ weight.float(), layer(x).float()
        expected = expected if bias is None else expected + bias.float()
    except Exception:
        return False
    return bool((expected - out).norm() <= _ROUNDING[weight.dtype] * out.norm())
