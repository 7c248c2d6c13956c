"""Seeing a forward pass begin: what it computes, which of it is padding, what its cache holds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import (
    PlacedHooks,
    SteerableModel,
    cache_of,
    holds_states_alone,
    is_bridge,
    noted_columns,
)


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One forward pass, as it is about to start.

    Attributes:
        chunk: Columns that are computed now.
        real: False at padding, over what the cache holds and this chunk.
        tokens: The tokens of this chunk; None where the pass does not show them.
        has_cache: Whether a key-value cache came with it, an empty one included.
    """

    chunk: int
    real: Bool[Tensor, "batch total"]
    tokens: Int[Tensor, "batch chunk"] | None
    has_cache: bool

    @property
    def continues(self) -> bool:
        """Whether the cache holds tokens that came before this chunk."""
        return self.real.shape[1] > self.chunk


def watch(
    model: SteerableModel,
    hooks: PlacedHooks,
    observe: Callable[[ForwardPass], None],
    remember: Callable[[Tensor], None],
) -> None:
    """Call `observe` at the start of every forward pass, by whatever method the model is called.

    A HookedTransformer's first block does not see the tokens: `remember` is called with them when
    they are embedded. A hook on the model itself would miss TransformerLens' own loops, which call
    `forward` directly.
    """
    of_either_class: Any = model
    if is_bridge(model):
        hooks.before(of_either_class.original_model, partial(_before_bridge, observe))
    else:
        hooks.before(of_either_class.embed, lambda args, kwargs: remember(args[0]))  # noqa: ARG005
        hooks.before(of_either_class.blocks[0], partial(_before_first_block, observe))


def _before_bridge(
    observe: Callable[[ForwardPass], None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    tokens = args[0] if args else kwargs.get("input_ids")
    entering = tokens if tokens is not None else kwargs["inputs_embeds"]
    cache, mask = cache_of(kwargs), kwargs.get("attention_mask")
    if holds_states_alone(cache):
        mask = noted_columns(cache)
        past = mask.shape[1] - entering.shape[1]
    else:
        past = 0 if cache is None else int(cache.get_seq_length())
    observe(_forward_pass(entering, tokens, past, mask, cache))


def _before_first_block(
    observe: Callable[[ForwardPass], None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    entry = kwargs.get("past_kv_cache_entry")
    past = 0 if entry is None else int(entry.past_keys.shape[1])
    observe(_forward_pass(args[0], None, past, kwargs.get("attention_mask"), entry))


def _forward_pass(
    entering: Tensor, tokens: Tensor | None, past: int, mask: Tensor | None, cache: Any
) -> ForwardPass:
    batch, chunk = entering.shape[:2]
    if mask is None:
        real = torch.ones(batch, past + chunk, dtype=torch.bool, device=entering.device)
        return ForwardPass(chunk, real, tokens, cache is not None)
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < past + chunk:
        raise ValueError(
            f"attention_mask of shape {tuple(mask.shape)}: expected ({batch}, {past + chunk}), one "
            "column for each token in the cache and in this forward, so that padding can be told "
            "from text while steering"
        )
    return ForwardPass(chunk, mask[:, : past + chunk].bool(), tokens, cache is not None)
