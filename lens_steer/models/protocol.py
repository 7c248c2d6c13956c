"""What a model has to offer: HookedTransformer 3.9 and TransformerBridge 3.9 and 4.x do."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


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


def is_bridge(model: Any) -> bool:
    """Whether this is a TransformerBridge; 4.x raises even when asked for the other class."""
    return hasattr(model, "original_model")


def working_place(model: Any, layer: int) -> dict[str, Any]:
    """Device and dtype to compute an edit in: the block's own, no coarser than float32."""
    parameter = next(iter(model.blocks[layer].parameters()))
    exact = torch.promote_types(parameter.dtype, torch.float32)  # one rounding, at the end
    return {"device": parameter.device, "dtype": exact}
