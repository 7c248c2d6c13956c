"""What an edit writes to the residual stream: heads through W_O, neurons through W_out."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.agreement import probe_tokens
from lens_steer.models.attachment import Attachment, last_seen
from lens_steer.models.forward_pass import read
from lens_steer.models.open_steering import unsteered
from lens_steer.models.protocol import SteerableModel
from lens_steer.sites import Kind, Site

# Of the length of what is written: rounding of one product, and of a norm behind it.
ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 3e-3, torch.bfloat16: 2e-2}
_OUTPUTS = {Kind.HEAD: Kind.ATTN_OUT, Kind.NEURON: Kind.MLP_OUT}
_checked: WeakKeyDictionary[Any, tuple[Attachment, dict[Site, str | None]]] = WeakKeyDictionary()


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

    Raises:
        ValueError: If heads or neurons are not written by plain weights, see `output_weight`.
    """
    if site.kind not in _OUTPUTS:
        return after.float() - before.float()
    weight = output_weight(model, site)
    with torch.no_grad():
        return _behind_norm(model, site, _through(weight, after)) - _behind_norm(
            model, site, _through(weight, before)
        )


def output_weight(model: Any, site: Site) -> Float[Tensor, "*site d"]:
    """W_O of a layer's heads or W_out of its neurons, checked to be what the layer computes with.

    A layer around the weights (LoRA and other adapters, quantized layers, hooks that change the
    output) computes something else, whatever it is called: so a few tokens are run, once for every
    state of the model that `attach` finds, and what the layer adds to the residual stream is
    compared with its weights times its input.

    Raises:
        ValueError: If they differ, or there are no such weights to be read.
    """
    fault = _faults(model)[Site(site.layer, site.kind)]
    if fault is not None:
        raise ValueError(
            f"layer {site.layer}: {fault}. Is there an adapter (LoRA), a quantized or wrapped "
            "layer, or a hook? Merge the adapter into the weights, or load the model unquantized"
        )
    return _weight(model, site)


def _faults(model: Any) -> dict[Site, str | None]:
    """What is wrong with the weights at each layer's heads and neurons; None where nothing is."""
    attachment = last_seen(model)
    known = _checked.get(model)
    if known is None or known[0] is not attachment:
        known = _checked[model] = (attachment, _compared(model))
    return known[1]


def _compared(model: Any) -> dict[Site, str | None]:
    sites = [Site(layer, kind) for layer in range(model.cfg.n_layers) for kind in _OUTPUTS]
    outputs = [Site(site.layer, _OUTPUTS[site.kind]) for site in sites]
    select = dict.fromkeys([*sites, *outputs], lambda x: x[0].detach().clone())
    with unsteered(model), torch.no_grad():
        found = read(model, probe_tokens(model), None, select)
        return {
            site: _fault(model, site, found[site], found[output])
            for site, output in zip(sites, outputs, strict=True)
        }


def _fault(
    model: Any, site: Site, x: Float[Tensor, "n *site"], out: Float[Tensor, "n d"]
) -> str | None:
    name = "W_O" if site.kind is Kind.HEAD else "W_out"
    try:
        expected = _through(_weight(model, site), x)
    except Exception as error:  # whatever a layer of unknown make raises when it is asked
        return f"its {name} cannot be read ({type(error).__name__}: {str(error)[:80]})"
    bias = _bias(model, site)
    expected = expected if bias is None else expected + bias.float()
    expected = _behind_norm(model, site, expected)
    error = float((expected - out.float()).norm() / out.float().norm().clamp(min=1e-30))
    if error <= ROUNDING[out.dtype]:
        return None
    return f"what it adds to the residual stream is not {name} times its input ({error:.1e} off)"


def _weight(model: Any, site: Site) -> Float[Tensor, "*site d"]:
    block = model.blocks[site.layer]
    return block.attn.W_O if site.kind is Kind.HEAD else block.mlp.W_out


def _bias(model: Any, site: Site) -> Float[Tensor, " d"] | None:
    block = model.blocks[site.layer]
    return block.attn.b_O if site.kind is Kind.HEAD else block.mlp.b_out


def _through(weight: Float[Tensor, "*site d"], x: Float[Tensor, "n *site"]) -> Float[Tensor, "n d"]:
    return x.float().flatten(1) @ weight.float().flatten(0, -2)


def _behind_norm(model: Any, site: Site, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Behind the norm of an output, in the models that have one."""
    name = "ln1_post" if site.kind is Kind.HEAD else "ln2_post"
    norm = getattr(model.blocks[site.layer], name, None)
    if norm is None:
        return x
    weight = next(iter(norm.parameters()), None)
    dtype = x.dtype if weight is None else weight.dtype
    return norm(x.to(dtype)[None])[0].float()
