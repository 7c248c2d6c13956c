"""Seeing each forward pass before its first block: tokens, padding, what a cache holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel, cache_of, is_bridge


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass.

    Attributes:
        chunk: Columns that are computed now.
        real: False at padding, over what the cache holds and this chunk.
        tokens: Of this chunk; None where the pass does not show them.
    """

    chunk: int
    real: Bool[Tensor, "batch total"]
    tokens: Int[Tensor, "batch chunk"] | None


def watch(
    model: SteerableModel, observe: Callable[[Pass], None], remember: Callable[[Tensor], None]
) -> list[Any]:
    """Call `observe` at the start of every forward pass, on every route; returns handles to remove.

    Where the start does not show the tokens, `remember` has been called with what was embedded.

    A hook on the model itself would miss TransformerLens' own loops, which call `forward` directly.
    """
    if is_bridge(model):
        return [_watch_bridge(model, observe)]
    return _watch_hooked(model, observe, remember)


def _watch_bridge(model: Any, observe: Callable[[Pass], None]) -> Any:
    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        tokens = args[0] if args else kwargs.get("input_ids")
        given = tokens if tokens is not None else kwargs["inputs_embeds"]
        cache = cache_of(kwargs)
        past = 0 if cache is None else int(cache.get_seq_length())
        observe(_seen(given, tokens, past, kwargs.get("attention_mask")))

    return model.original_model.register_forward_pre_hook(before, with_kwargs=True)


def _watch_hooked(
    model: Any, observe: Callable[[Pass], None], remember: Callable[[Tensor], None]
) -> list[Any]:
    def embedding(module: Any, args: tuple[Any, ...]) -> None:
        del module
        remember(args[0])

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        residual, entry = args[0], kwargs.get("past_kv_cache_entry")
        past = 0 if entry is None else int(entry.past_keys.shape[1])
        observe(_seen(residual, None, past, kwargs.get("attention_mask")))

    return [
        model.embed.register_forward_pre_hook(embedding),
        model.blocks[0].register_forward_pre_hook(before, with_kwargs=True),
    ]


def _seen(given: Tensor, tokens: Tensor | None, past: int, mask: Tensor | None) -> Pass:
    batch, chunk = given.shape[:2]
    if mask is None:
        return Pass(
            chunk, torch.ones(batch, past + chunk, dtype=torch.bool, device=given.device), tokens
        )
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < past + chunk:
        raise ValueError(
            f"attention_mask of shape {tuple(mask.shape)}: expected ({batch}, {past + chunk}), one "
            "column for each "
            "token in the cache and in this forward, so that padding can be told from text while "
            "steering"
        )
    return Pass(chunk, mask[:, : past + chunk].bool(), tokens)
