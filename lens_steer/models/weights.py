"""Noticing that weights were changed since a model was looked at."""

from typing import Any

import torch
from torch import Tensor

from lens_steer.models.modules import model_modules

_SAMPLED = 16  # values of each tensor
_GOLDEN = 0.618  # of a row, from one value to the next: they fall into columns far apart


def weights_state(model: Any) -> tuple[Any, ...]:
    """What differs after weights were trained, replaced, converted, moved or loaded again.

    Of every parameter and buffer: where it lies, its dtype, how often autograd saw it written to,
    and 16 of its values, spread over rows and columns. Two states are compared with `==`.
    `requires_grad_` changes nothing of it.

    It cannot see a change in place that autograd does not see either (through `.data`, or numpy)
    where it misses all of the 16 values, such as of a single row; nor code that is not weights: a
    hook, another activation function.
    """
    tensors = _tensors(model)
    places = tuple(_place(x) for x in tensors)
    samples: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for x in tensors:
        sample = _sample(x)
        if sample is not None:
            samples.setdefault((x.device, x.dtype), []).append(sample)
    # one copy for each device: on a GPU every copy would wait for it. Bytes: NaN equals itself
    values = tuple(torch.cat(each).view(torch.uint8).cpu() for each in samples.values())
    return places, tuple(each.numpy().tobytes() for each in values)


def _tensors(model: Any) -> list[Tensor]:
    """Parameters and buffers, and what a processed TransformerBridge 3.9 computes with instead."""
    found: dict[int, Tensor] = {}
    processed = bool(getattr(model, "_weights_processed", False))
    module: Any
    for module in model_modules(model):
        own = [*module._parameters.values(), *module._buffers.values()]
        if processed:
            own += [x for x in vars(module).values() if isinstance(x, Tensor)]
        found.update({id(x): x for x in own if x is not None})
    return list(found.values())


def _place(x: Tensor) -> tuple[Any, ...]:
    version = None if x.is_inference() else x._version
    try:
        return x.data_ptr(), version, x.dtype, x.device, x.shape
    except RuntimeError:  # a kind of tensor that has no one place
        return id(x), version, x.dtype, x.device, x.shape


def _sample(x: Tensor) -> Tensor | None:
    """Some values `[at most 16]`; None of a tensor that holds none that can be read."""
    if x.device.type == "meta" or x.layout is not torch.strided or x.numel() == 0:
        return None
    try:
        return _spread(x.detach())
    except (RuntimeError, NotImplementedError):  # quantized formats with no elements of their own
        return None


def _spread(x: Tensor) -> Tensor:
    if x.ndim > 1 and not x.is_contiguous():
        x = x.mT if x.mT.is_contiguous() else x.contiguous()
    n = x.numel()
    if n <= _SAMPLED or not x.is_contiguous():
        return x.flatten()[:_SAMPLED]
    most, row = (n - 1) // (_SAMPLED - 1), x.shape[-1]
    sideways = round(_GOLDEN * row)
    whole_rows = (most - sideways) // row * row
    step = most if whole_rows < 0 else whole_rows + sideways
    return x.as_strided((_SAMPLED,), (step,))
