"""What a model has to offer, as HookedTransformer 3.9 and TransformerBridge 3.9 and 4.x do."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lens_steer.arguments import Layer


@runtime_checkable
class SteerableModel(Protocol):
    """A TransformerLens model whose blocks run in this process.

    `HookedTransformer` and `TransformerBridge` satisfy it as they come; TransformerLens 4's
    `RemoteBridge` does not, because its hooks cannot edit.
    """

    cfg: Any
    blocks: Any
    tokenizer: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on tokens."""
        ...

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Continue tokens."""
        ...

    def to_tokens(self, *args: Any, **kwargs: Any) -> Tensor:
        """Tokenise text."""
        ...


class ModelRefused(ValueError):
    """A model that would give wrong numbers, or cannot be loaded; the message says what to do."""


def is_bridge(model: Any) -> bool:
    """Whether this is a TransformerBridge, by what it has: 4.x has no other class to ask for."""
    return hasattr(model, "original_model")


def wrapped_model(bridge: Any) -> Any:
    """The Hugging Face model that a TransformerBridge wraps."""
    return bridge.original_model


def working_place(model: Any, layer: Layer) -> dict[str, Any]:
    """Device and dtype to compute an edit of a layer in: the block's, but at least float32.

    Returns:
        `{"device": ..., "dtype": ...}`, as `Tensor.to` takes them.
    """
    parameter = next(iter(model.blocks[layer].parameters()))
    exact = torch.promote_types(parameter.dtype, torch.float32)  # one rounding, at the end
    return {"device": parameter.device, "dtype": exact}
