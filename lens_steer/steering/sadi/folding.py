"""Factors of activations written into the weights: no hook, the same logits."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models import (
    SteerableModel,
    attach,
    forward,
    hooked,
    open_blocks,
    output_weight,
    probe_tokens,
    read,
)
from lens_steer.sites import Kind, Site

_WRITERS = (("attn", "W_O"), ("attn", "b_O"), ("mlp", "W_out"), ("mlp", "b_out"))
_Name = tuple[int, str]  # the layer, and one of the above
_INPUTS = {Kind.MLP_OUT: Kind.NEURON, Kind.ATTN_OUT: Kind.HEAD}
# Of the residual stream's length: scaled weights are rounded, and later blocks carry that on.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def folded(model: SteerableModel, factors: Mapping[Site, Float[Tensor, "*site"]]) -> SteerableModel:
    """A copy of the model whose activations at these sites are multiplied, at every position.

    The copy is run beside the model with hooks on a few tokens, and its weights are read again.

    Args:
        factors: Of each element; of heads as `[head 1]`.

    Raises:
        ValueError: If no weights do the same (the residual stream; dimensions behind a norm of the
            output, as in Gemma 2 and 3), the layers compute with something else than their weights
            (adapters, quantized layers), the copy does not do what the hooks do (weights that
            layers share or that are computed from others), or the model is being steered.
    """
    if open_blocks(model):  # a suspended one too: the copy would have its hooks
        raise ValueError("the model is being steered: fold outside the block")
    with torch.no_grad():  # a graph that an earlier forward left behind cannot be copied
        forward(model, probe_tokens(model))
        _check_foldable(model, factors)
        duplicate, expected = copy.deepcopy(model), _writers(model)
        for site, factor in factors.items():
            for name, (weight, by) in _scaled(duplicate, site, factor).items():
                expected[name] = (weight * by).to(weight.dtype)
                weight.copy_(expected[name])
        # The first check runs the copy: weights may be computed at each forward.
        _check_streams(model, factors, duplicate)
        _check_writers(_writers(duplicate), expected)
        _check_foldable(duplicate, factors)
    return duplicate


def _scaled(model: Any, site: Site, factor: Tensor) -> dict[_Name, tuple[Tensor, Tensor]]:
    """Weights of the block, views of the model's own, each with what multiplies it."""
    block, layer = model.blocks[site.layer], site.layer
    match site.kind:
        case Kind.HEAD:
            return {(layer, "W_O"): (block.attn.W_O, factor[..., None])}
        case Kind.NEURON:
            return {name: (weight, factor[:, None]) for name, weight in _out(block, layer).items()}
        case Kind.MLP_OUT:
            weights, bias = _out(block, layer), (layer, "b_out")
        case _:
            weights, bias = {(layer, "W_O"): block.attn.W_O}, (layer, "b_O")
    biased = getattr(block.attn if bias[1] == "b_O" else block.mlp, bias[1])
    weights |= {} if biased is None else {bias: biased}
    return {name: (weight, factor) for name, weight in weights.items()}


def _out(block: Any, layer: int) -> dict[_Name, Tensor]:
    """W_out, and the copy that a gated TransformerBridge 3.9 computes with once it is processed."""
    weights = {(layer, "W_out"): block.mlp.W_out}
    copied = getattr(block.mlp, "_processed_W_out", None)
    return weights if copied is None else weights | {(layer, "processed W_out"): copied.T}


def _check_foldable(model: Any, sites: Iterable[Site]) -> None:
    """Raise a ValueError if no weights scale a site alone, or its layer uses more than weights."""
    attach(model)
    for site in sites:
        if site.kind is Kind.UP:
            raise ValueError(f"{site.hook_name} is a factor of neurons: scale kind 'neuron' alike")
        if site.kind not in (*_INPUTS, *_INPUTS.values()):
            raise ValueError(
                f"{site.hook_name} is the sum of all that is written: no weights scale it alone; "
                "choose heads, neurons, mlp_out or attn_out"
            )
        norm = {Kind.MLP_OUT: "ln2_post", Kind.ATTN_OUT: "ln1_post"}.get(site.kind)
        if norm is not None and getattr(model.blocks[site.layer], norm, None) is not None:
            raise ValueError(
                f"{site.hook_name} lies behind a norm, which undoes a scaling of the weights before"
                " it: fold heads or neurons"
            )
        output_weight(model, Site(site.layer, _INPUTS.get(site.kind, site.kind)))


def _writers(model: Any) -> dict[_Name, Tensor]:
    """What every block writes with, where it can be read."""
    writers = {}
    for layer, block in enumerate(model.blocks):
        for part, name in _WRITERS:
            try:
                weight = getattr(getattr(block, part), name)
            except Exception:
                continue
            if isinstance(weight, Tensor):
                writers[layer, name] = weight.detach()
    return writers


def _check_writers(writers: Mapping[_Name, Tensor], expected: Mapping[_Name, Tensor]) -> None:
    wrong = [
        f"{name} of layer {layer}"
        for (layer, name), weight in writers.items()
        if not torch.equal(weight, expected[layer, name])
    ]
    if wrong:
        raise ValueError(
            f"cannot fold: {', '.join(wrong)} did not become what was written, as weights that are "
            "shared between layers or computed from others (parametrizations) do not: make them "
            "plain weights of their own first, or steer with hooks"
        )


def _check_streams(model: Any, factors: Mapping[Site, Tensor], duplicate: Any) -> None:
    """Raise a ValueError if the copy's residual stream is not the hooked model's."""

    def scaling(factor: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: (x * factor).to(x.dtype)

    select = {Site(layer): _stream for layer in range(model.cfg.n_layers)}
    with hooked(model, {s: scaling(f) for s, f in factors.items()}):
        hooks = read(model, probe_tokens(model), None, select)
    weights = read(duplicate, probe_tokens(duplicate), None, select)
    for site, x in hooks.items():
        error = float((weights[site].float() - x.float()).norm() / x.float().norm())
        if not error <= _TOLERANCE[x.dtype]:
            raise ValueError(
                f"cannot fold: from layer {site.layer} on the copy differs from the model with "
                f"hooks by {error:.1e} of the residual stream; is there an adapter, a quantized or "
                "wrapped layer? Merge it into the weights first, or steer with hooks"
            )


def _stream(x: Tensor) -> Tensor:
    return x.detach().clone()
