"""Noticing that weights were changed since a model was last looked at."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from lens_steer.models.modules import model_modules

_SAMPLED = 16  # values of each tensor
_GOLDEN = 0.618  # of a row, from one value to the next: they fall into columns far apart


def weights_state(model: Any) -> tuple[Any, ...]:
    """What differs after weights were trained, replaced, converted, moved or loaded again.

    It holds, for every parameter and buffer, where it lies, its dtype, how often autograd saw it
    written to, and 16 of its values, spread over rows and columns. Two states are compared with
    `==`. `requires_grad_` changes nothing of it.

    It cannot see a change in place that autograd does not see either (through `.data`, or numpy)
    where it misses all of the 16 values, such as of a single row; nor code that is not weights: a
    hook, another activation function.
    """
    # It runs whenever a model is used: so one loop does it all, with no call for each tensor.
    places: list[tuple[Any, ...]] = []
    samples: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for x in _tensors(model):
        try:
            address = x.data_ptr()
        except RuntimeError:  # a kind of tensor that does not lie in one place
            address = id(x)
        version = None if x.is_inference() else x._version
        places.append((address, version, x.dtype, x.device, x.shape))
        if x.device.type == "meta" or x.layout is not torch.strided or x.numel() == 0:
            continue
        try:
            values = x.detach()
            if values.ndim > 1 and not values.is_contiguous():
                values = values.mT if values.mT.is_contiguous() else values.contiguous()
            if values.numel() > _SAMPLED and values.is_contiguous():
                stride = _stride(values.numel(), values.shape[-1])
                sample = values.as_strided((_SAMPLED,), (stride,))
            else:
                sample = values.flatten()[:_SAMPLED]
        except (RuntimeError, NotImplementedError):  # quantized formats have no elements to read
            continue
        samples.setdefault((x.device, x.dtype), []).append(sample)
    # One copy for each device: on a GPU every copy would wait for it. As bytes NaN equals itself.
    together = [torch.cat(part).view(torch.uint8).cpu() for part in samples.values()]
    return tuple(places), tuple(part.numpy().tobytes() for part in together)


@cache
def _stride(size: int, row: int) -> int:
    """The step from one sampled value to the next: some whole rows and a part of one.

    Args:
        size: How many values the tensor has.
        row: How long its last axis is.
    """
    most = (size - 1) // (_SAMPLED - 1)
    sideways = round(_GOLDEN * row)
    whole_rows = (most - sideways) // row * row
    return most if whole_rows < 0 else whole_rows + sideways


def _tensors(model: Any) -> list[Tensor]:
    """Parameters and buffers, and what a processed TransformerBridge 3.9 computes with instead."""
    tensors: dict[int, Tensor] = {}
    processed = bool(getattr(model, "_weights_processed", False))
    module: Any
    for module in model_modules(model):
        for x in (*module._parameters.values(), *module._buffers.values()):
            if x is not None:
                tensors[id(x)] = x
        if processed:
            tensors |= {id(x): x for x in vars(module).values() if isinstance(x, Tensor)}
    return list(tensors.values())
