"""Seeing each forward pass before its first block: tokens, padding, what a cache holds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import PlacedHooks, SteerableModel, cache_of, is_bridge


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
    """Call `observe` at the start of every forward pass, on every route into the model.

    Where the start does not show the tokens, `remember` has been called with what was embedded.
    A hook on the model itself would miss TransformerLens' own loops, which call `forward` directly.
    """
    if is_bridge(model):
        _watch_bridge(model, hooks, observe)
    else:
        _watch_hooked(model, hooks, observe, remember)


def _watch_bridge(model: Any, hooks: PlacedHooks, observe: Callable[[ForwardPass], None]) -> None:
    hooks.before(model.original_model, partial(_before_bridge, observe))


def _before_bridge(
    observe: Callable[[ForwardPass], None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    tokens = args[0] if args else kwargs.get("input_ids")
    entering = tokens if tokens is not None else kwargs["inputs_embeds"]
    cache = cache_of(kwargs)
    past = 0 if cache is None else int(cache.get_seq_length())
    observe(_forward_pass(entering, tokens, past, kwargs.get("attention_mask"), cache))


def _watch_hooked(
    model: Any,
    hooks: PlacedHooks,
    observe: Callable[[ForwardPass], None],
    remember: Callable[[Tensor], None],
) -> None:
    hooks.before(model.embed, lambda args, kwargs: remember(args[0]))  # noqa: ARG005
    hooks.before(model.blocks[0], partial(_before_first_block, observe))


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
