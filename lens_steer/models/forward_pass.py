"""One forward pass without a cache, the same for both model classes, and reading from it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models.hooks import placed_hooks
from lens_steer.models.modules import evaluating, last_modules
from lens_steer.models.protocol import SteerableModel, is_bridge
from lens_steer.models.steered_blocks import open_blocks
from lens_steer.sites import Site, hook_points


def input_device(model: Any) -> torch.device:
    """The device on which the model takes its tokens."""
    return next(iter(model.parameters())).device


def context_length(model: SteerableModel) -> int:
    """The largest number of tokens in a row, prompt and continuation together."""
    return int(model.cfg.n_ctx)


def decode_budget(model: SteerableModel) -> int:
    """How many tokens have keys and values of about a gigabyte: the budget of a decoding batch."""
    cfg = model.cfg
    heads = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
    numbers = 2 * cfg.n_layers * heads * cfg.d_head  # of one token
    width = next(iter(model.blocks[0].parameters())).element_size()
    return max(1, min(2**18, 2**30 // (numbers * width)))


@contextmanager
def gradients_possible() -> Iterator[None]:
    """Let gradients be computed inside, also in `torch.inference_mode` and in anomaly mode.

    HookedTransformer's own `generate` runs in inference mode, and methods are prepared there.
    Anomaly mode looks for NaN in each gradient, which PyTorch cannot do for many gradients at once:
    it goes on without. Nothing else changes: where gradients were off, they are off until
    `torch.enable_grad` asks for them.
    """
    with ExitStack() as stack:
        if torch.is_anomaly_enabled() and torch.is_anomaly_check_nan_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(True, check_nan=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.no_grad())
        yield


def forward(model: SteerableModel, tokens: Tokens, mask: Mask | None = None) -> Tensor:
    """Run a model without a cache and without dropout, whatever mode it is in.

    Args:
        model: The model.
        tokens: Rows of tokens, padded on either side.
        mask: False at padding; None where there is none.

    Returns:
        Logits `[batch pos vocab]`.

    Example:
        >>> tokens, mask = pad(model, [encode_prompt(model, "Once upon"), [1, 2, 3]])
        >>> logits = forward(model, tokens, mask)
    """
    # no mask at all where nothing is padded: attention may be faster
    padding = None if mask is None or bool(mask.all()) else mask
    with evaluating(last_modules(model)):
        if is_bridge(model):
            return wrapped_logits(model, tokens, padding, use_cache=False)
        return model(tokens, attention_mask=None if padding is None else padding.long())


def logits_at(
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask | None,
    rows: Int[Tensor, " read"],
    columns: Int[Tensor, " read"],
) -> Float[Tensor, "read vocab"]:
    """The logits of `forward` at some positions alone.

    A bridge computes no others: of a model with a large vocabulary they are most of the work and of
    the memory. Where the user has hooked the logits, and of a HookedTransformer, all are computed.

    Args:
        model: The model.
        tokens: Rows of tokens, padded on either side.
        mask: False at padding; None where there is none.
        rows: The row of each position that is read.
        columns: Its column.
    """
    unembed: Any = getattr(model, "unembed", None) if is_bridge(model) else None
    before, after = (getattr(unembed, name, None) for name in ("hook_in", "hook_out"))
    if before is None or after is None or after.fwd_hooks:
        logits = forward(model, tokens, mask)
        return logits[rows.to(logits.device), columns.to(logits.device)]
    steering = [block.active for block in open_blocks(model)]

    def gathered(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "1 read d"] | None:
        if [block.active for block in open_blocks(model)] != steering:
            return None  # a clean pass, with which a method is made ready inside this one
        return x[rows.to(x.device), columns.to(x.device)][None]

    with placed_hooks() as hooks:
        hooks.at_point(before, gathered)
        return forward(model, tokens, mask)[0]


def wrapped_logits(
    model: Any, tokens: Tokens, mask: Bool[Tensor, "batch total"] | None, **options: Any
) -> Float[Tensor, "_ _ vocab"]:
    """Run the model that a bridge wraps, as a forward pass of the bridge would.

    The bridge's own `forward` notes the size of the batch on the model, where the forward pass of
    another thread reads it. The caller holds the modules in `evaluating`.

    Args:
        model: The bridge.
        tokens: The tokens of this pass.
        mask: False at padding, over what the cache holds and these tokens; None without padding.
        options: Further arguments of the wrapped model.

    Returns:
        Logits of as many rows as leave the last block: a hook may put others there.
    """
    if mask is not None:
        options["attention_mask"] = mask.long()
        if model._accepts_derived_position_ids():  # else it takes them from the mask by itself
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -tokens.shape[1] :]
    with _no_batch_noted(model):
        output = model.original_model(tokens, **options)
    if hasattr(output, "logits"):
        return output.logits
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _no_batch_noted(model: Any) -> Iterator[None]:
    """Hide the size of the batch that the bridge's own forward has noted, until the block ends.

    Inside such a forward a pass of other rows may be run, before the size is used.
    """
    embedding = getattr(model, "pos_embed", None)
    noted = getattr(embedding, "_current_batch_size", None)
    if embedding is None or noted is None:
        yield
        return
    embedding._current_batch_size = None
    try:
        yield
    finally:
        embedding._current_batch_size = noted


class _Enough(Exception):
    """Raised by the last hook of interest to leave the rest of the forward pass out."""


@contextmanager
def hooked(
    model: SteerableModel, fns: Mapping[Site, Callable[[Tensor], Tensor | None]]
) -> Iterator[None]:
    """Hook functions at sites until the block ends; they act in this thread or task alone.

    Args:
        model: The model.
        fns: For each site a function that maps the whole activation, padding included, or returns
            None to leave it as it is.

    Raises:
        ValueError: If the model has no such site.

    Example:
        >>> with hooked(model, {Site(3): lambda x: 0.5 * x}):
        ...     logits = forward(model, tokens)
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
    """Read activations from the forward pass inside the block.

    That forward, the last statement in the block, stops after the last of the sites.

    Args:
        model: The model.
        select: For each site a function of the whole activation, which returns what to keep of it.

    Yields:
        What was kept, by site; filled when the block has ended.

    Raises:
        ValueError: If the forward pass did not come by all sites.
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
    """Read activations from a forward pass, which stops after the last of the sites.

    Args:
        model: The model.
        tokens: Rows of tokens.
        mask: False at padding; None where there is none.
        select: For each site a function of the whole activation, which returns what to keep of it.

    Example:
        >>> last = read(model, tokens, None, {Site(3): lambda x: x[:, -1]})[Site(3)]
    """
    with reading(model, select) as activations:
        forward(model, tokens, mask)
    return activations
