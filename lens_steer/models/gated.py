"""Gated MLPs: a neuron is what the gate's activation function gives, times the up projection."""

from collections.abc import Callable, Sequence
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models.forward_pass import read
from lens_steer.models.protocol import SteerableModel
from lens_steer.sites import Kind, Site, has_sites

# Of the neurons' length: rounding of one product.
_ROUNDING = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}


def gate_function(model: SteerableModel) -> Callable[[Tensor], Tensor]:
    """The activation function of a model's MLPs: `gate` is it at what `mlp.hook_pre` holds."""
    from transformers.activations import ACT2FN

    return ACT2FN[model.cfg.act_fn]


def has_gates(model: SteerableModel, layer: int) -> bool:
    """Whether the MLP of a block multiplies its activation function's output by something."""
    gated = bool(getattr(model.cfg, "gated_mlp", False))
    return gated or has_sites(model, Site(layer, Kind.UP))


def clean_gates(
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask | None,
    layers: Sequence[int],
    select: Callable[[Tensor], Tensor],
) -> dict[int, Float[Tensor, "... neuron"]]:
    """What the gates of some blocks are, behind their activation function.

    They are checked on the way: times the up projection they must be the neurons, unless these are
    NaN or infinite.

    Args:
        model: The model.
        tokens: Rows of tokens, padded on either side.
        mask: False at padding; None where there is none.
        layers: Blocks.
        select: What to keep of an activation `[batch pos neuron]`.

    Raises:
        ValueError: If a block has no such hook points, or its neurons are another product.
    """
    kinds = (Kind.GATE, Kind.UP, Kind.NEURON)
    sites = [Site(layer, kind) for layer in layers for kind in kinds]
    held = read(model, tokens, mask, dict.fromkeys(sites, select))
    function, gates = gate_function(model), {}
    for layer in layers:
        pre, up, neurons = (held[Site(layer, kind)] for kind in kinds)
        gates[layer] = function(pre)
        missed = float((gates[layer].float() * up.float() - neurons.float()).norm())
        size = float(neurons.float().norm())
        if isfinite(size) and not missed <= _ROUNDING[neurons.dtype] * size:
            raise ValueError(
                f"the neurons of layer {layer} are not {model.cfg.act_fn} of the gate times the up "
                f"projection (off by {missed:.1e} of {size:.1e}): this MLP's gate cannot be held; "
                "steer kind 'neuron' with SADI"
            )
    return gates
