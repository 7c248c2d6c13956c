"""One forward pass, the same for both model classes, and what it shows on the way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models.hook_placing import placed_hooks
from lens_steer.models.modules import evaluating, last_modules
from lens_steer.models.protocol import SteerableModel, is_bridge
from lens_steer.sites import Site, hook_points


def input_device(model: Any) -> torch.device:
    """Where the model wants its tokens."""
    return next(iter(model.parameters())).device


def context_length(model: SteerableModel) -> int:
    """The most tokens a row may have, prompt and continuation together."""
    return int(model.cfg.n_ctx)


def decode_budget(model: SteerableModel) -> int:
    """Tokens whose keys and values fit in about a gigabyte: a batch to be generated."""
    cfg = model.cfg
    heads = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
    numbers = 2 * cfg.n_layers * heads * cfg.d_head  # of one token
    width = next(iter(model.blocks[0].parameters())).element_size()
    return max(1, min(2**18, 2**30 // (numbers * width)))


@contextmanager
def gradients_possible() -> Iterator[None]:
    """Let gradients be asked for inside, also where the caller is in `torch.inference_mode`.

    HookedTransformer's own `generate` is, and prepares methods there. Nothing else changes.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(mode=False), torch.no_grad():
        yield


def forward(model: SteerableModel, tokens: Tokens, mask: Mask | None = None) -> Tensor:
    """Logits `[batch pos vocab]` without a cache; `mask` is False at padding, None without any.

    Without dropout, whatever mode the model is in.
    """
    # no mask at all where nothing is padded: attention may be faster
    padding = None if mask is None or bool(mask.all()) else mask
    with evaluating(last_modules(model)):
        if is_bridge(model):
            return wrapped_logits(model, tokens, padding, use_cache=False)
        return model(tokens, attention_mask=None if padding is None else padding.long())


def wrapped_logits(
    model: Any, tokens: Tokens, mask: Bool[Tensor, "batch total"] | None, **options: Any
) -> Float[Tensor, "batch _ vocab"]:
    """Logits of the model that a bridge wraps.

    The bridge's own `forward` notes the size of the batch on the model, where the forward pass of
    another thread reads it. To be called while the modules are `evaluating`.

    Args:
        model: The bridge.
        tokens: The tokens of this pass.
        mask: False at padding, over what the cache holds and these tokens; None without padding.
        options: Further arguments of the wrapped model.
    """
    if mask is not None:
        options["attention_mask"] = mask.long()
        if model._accepts_derived_position_ids():  # else it takes them from the mask by itself
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -tokens.shape[1] :]
    output = model.original_model(tokens, **options)
    if hasattr(output, "logits"):
        return output.logits
    return output[0] if isinstance(output, tuple) else output


class _Enough(Exception):  # noqa: N818 - control flow, not an error
    """Raised by the last hook of interest to leave the rest of the forward pass out."""


@contextmanager
def hooked(
    model: SteerableModel, fns: Mapping[Site, Callable[[Tensor], Tensor | None]]
) -> Iterator[None]:
    """Hook `fns` at their sites: each maps the whole activation, or returns None to look only.

    They act in this thread or task alone.
    """
    points = hook_points(model, fns)
    with placed_hooks() as hooks:
        for site, fn in fns.items():
            hooks.at_point(points[site], fn)
        yield


@contextmanager
def reading(
    model: SteerableModel, select: Mapping[Site, Callable[[Tensor], Tensor]]
) -> Iterator[dict[Site, Tensor]]:
    """What `select` keeps of each site's activation in the forward run inside.

    That forward, the last thing in the block, stops after the last of the sites.
    """
    read_so_far: dict[Site, Tensor] = {}
    keep = partial(_keep, read_so_far, select)
    with hooked(model, {site: partial(keep, site) for site in select}), suppress(_Enough):
        yield read_so_far
        raise ValueError(
            f"the forward pass came by {len(read_so_far)} of {len(select)} sites: hooks were "
            "removed while it ran, or the model left blocks out"
        )


def _keep(
    read_so_far: dict[Site, Tensor],
    select: Mapping[Site, Callable[[Tensor], Tensor]],
    site: Site,
    x: Tensor,
) -> None:
    read_so_far[site] = select[site](x)
    if len(read_so_far) == len(select):
        raise _Enough


def read(
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask | None,
    select: Mapping[Site, Callable[[Tensor], Tensor]],
) -> dict[Site, Tensor]:
    """What `select` keeps of each site's activation, in a forward that stops after the last."""
    with reading(model, select) as found:
        forward(model, tokens, mask)
    return found
