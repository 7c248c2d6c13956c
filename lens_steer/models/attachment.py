"""Checking a model before it is used: hook points, residual arithmetic, logits, fingerprint."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lens_steer.models.agreement import (
    alternative,
    check_cache,
    has_hooks,
    out_of_range,
    probe_tokens,
    versions,
)
from lens_steer.models.fingerprint import Fingerprint, architecture_of
from lens_steer.models.forward_pass import read
from lens_steer.models.hooks import ForkSafeLock
from lens_steer.models.hugging_face import check_against_hugging_face, prepare
from lens_steer.models.protocol import ModelRefused, SteerableModel, is_bridge
from lens_steer.models.residual_stream import check_stream
from lens_steer.models.steered_blocks import unsteered
from lens_steer.models.weights_state import weights_state
from lens_steer.reports import short_repr
from lens_steer.sites import Kind, Site, has_sites, hook_points

_SUMMED = (Kind.RESID_PRE, Kind.ATTN_OUT, Kind.MLP_OUT, Kind.RESID)
# Of the largest activation: rounding in the model's own dtype, a few additions deep.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Attachment:
    """What `attach` found when a model was first used, or first used after its weights changed.

    Attributes:
        fingerprint: The fingerprint of the model as it was then.
        state: What changes with the weights; it takes milliseconds to compute again.
        compared: What the model was compared with, each as a phrase.
    """

    fingerprint: Fingerprint
    state: tuple[Any, ...] = field(repr=False)
    compared: tuple[str, ...] = ()

    __repr__ = short_repr


_attached: WeakKeyDictionary[Any, Attachment] = WeakKeyDictionary()
_looked_at: ContextVar[frozenset[int]] = ContextVar("lens_steer_looked_at", default=frozenset())
_first_look = ForkSafeLock()  # two threads that meet a new model check it only once


def attach(model: SteerableModel) -> Attachment:
    """Check a model the first time it is seen (8 tokens, a few forwards) and remember the result.

    Its attention bridges are given the cache under the name that they read (`pass_cache_on`), and
    what it computes is compared with itself over a cache and with Hugging Face (`hugging_face`).

    A model whose weights were changed since (trained, folded, loaded, converted, moved, adapted) is
    checked again and gets a new fingerprint; its open blocks stay. See `weights_state` for which
    changes are noticed; noticing that there is none takes milliseconds.

    Returns:
        The fingerprint, and the state of the weights that it belongs to.

    Raises:
        ValueError: If it is not a steerable model, a block has no `resid_pre` or `resid_post`,
            `resid_pre + attn_out + mlp_out` is not `resid_post`, or its logits differ over a cache
            or from Hugging Face's; what differs is named. Where a block has no attention or no MLP
            (Mamba and the like), what leaves each block has to be what enters the next.

    Example:
        >>> attach(model).fingerprint.n_layers
        12
    """
    if id(model) in _looked_at.get():
        return last_seen(model)
    with _first_look:
        seen = _remembered(model)
        if seen is None:
            _check_class(model)
            with _running(model):
                prepare(model)
                fingerprint = _check(model, is_processed(model))
                logits, of_itself = _check_itself(model)
                of_others = check_against_hugging_face(model, logits)
            compared = (*of_itself, *of_others)
            seen = _attached[model] = Attachment(fingerprint, _state(model), compared)
            return seen
    return seen if seen.state == _state(model) else _check_again(model)


@contextmanager
def looked_at(model: SteerableModel) -> Iterator[Attachment]:
    """Attach to a model once: inside the block, `attach` does not look at its weights again.

    This holds for the thread or task that opened the block. It is for work that calls no code of
    the user's, which could change the model.
    """
    attachment = attach(model)
    before = _looked_at.get()
    _looked_at.set(before | {id(model)})
    try:
        yield attachment
    finally:
        _looked_at.set(before)


def last_seen(model: SteerableModel) -> Attachment:
    """What `attach` found last, without looking at the weights again: for loops that attached."""
    seen = _remembered(model)
    return attach(model) if seen is None else seen


def _remembered(model: Any) -> Attachment | None:
    return _attached.get(model) if isinstance(model, torch.nn.Module) else None


def _check_again(model: SteerableModel) -> Attachment:
    """Check a model again, whose weights have changed."""
    with unsteered(model), _running(model):
        prepare(model)
        fingerprint = _check(model, is_processed(model))
        _, compared = _check_itself(model)
    attachment = _attached[model] = Attachment(fingerprint, _state(model), compared)
    return attachment


def _check_itself(model: SteerableModel) -> tuple[Tensor, tuple[str, ...]]:
    """The logits of the probe, and what the model has been compared with: itself alone so far."""
    logits, over_a_cache = check_cache(model)
    sums = "what each block adds to the residual stream"
    return logits, (sums, "itself over a key-value cache") if over_a_cache else (sums,)


@contextmanager
def _running(model: SteerableModel) -> Iterator[None]:
    """Refuse the model, naming the versions, where a library raises an error of its own."""
    try:
        yield
    except (ValueError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever modules raise that do not fit each other
        if has_hooks(model):  # it may be the hooks' own error
            raise
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ModelRefused(
            f"the model does not run on 8 tokens ({type(error).__name__}: {reason[:160]}), with "
            f"{versions()}: are all its weights on a real device and of one dtype that it takes? "
            f"Else use {alternative(is_bridge(model), architecture_of(model))}"
        ) from error


def _state(model: Any) -> tuple[Any, ...]:
    """What differs after weights changed or were folded; `is_processed` would take longer."""
    kind = getattr(model, "_weights_processed", False) if is_bridge(model) else None
    return kind, str(getattr(model.cfg, "normalization_type", None)), weights_state(model)


def _check_class(model: Any) -> None:
    if not isinstance(model, SteerableModel):
        raise ValueError(
            f"got a {type(model).__name__}, expected a HookedTransformer or TransformerBridge: "
            "wrap a Hugging Face model with TransformerBridge.boot_transformers(name, "
            "hf_model=model)"
        )


def is_processed(model: SteerableModel) -> bool:
    """Whether weights were folded or centred, so that activations differ from the raw ones."""
    if is_bridge(model):
        return bool(getattr(model, "_weights_processed", False))
    normalization = str(model.cfg.normalization_type)
    return normalization.endswith("Pre") or (normalization == "LN" and _centred(model))


def _centred(model: Any) -> bool:
    embedding = model.W_E.detach()
    return bool(embedding.mean(dim=-1).abs().max() < 1e-4 * embedding.abs().mean())


def _check(model: SteerableModel, processed: bool) -> Fingerprint:
    layers = range(model.cfg.n_layers)
    stream = [Site(layer, kind) for layer in layers for kind in (Kind.RESID_PRE, Kind.RESID)]
    hook_points(model, stream)
    parts = {layer: [Site(layer, kind) for kind in _SUMMED] for layer in layers}
    summed = [layer for layer in layers if has_sites(model, *parts[layer])]
    select = dict.fromkeys([*stream, *(site for i in summed for site in parts[i])], _last)
    with torch.no_grad():
        activations = read(model, probe_tokens(model), None, select)
        if len(summed) < len(layers):  # state-space, recurrent and convolutional blocks
            check_stream(model)
    _check_sums(model, activations, summed)
    residuals = torch.stack([activations[Site(layer)].float().cpu() for layer in layers])
    return Fingerprint.of(model, residuals, processed)


def _last(x: Tensor) -> Tensor:
    return x[0, -1].detach().clone()


def _check_sums(model: Any, activations: dict[Site, Tensor], layers: list[int]) -> None:
    wrong = []
    for layer in layers:
        before, attention, mlp, after = (activations[Site(layer, kind)] for kind in _SUMMED)
        scale = torch.stack([before, attention, mlp, after]).abs().max().float()
        error = ((before + attention + mlp - after).abs().max().float() / scale).item()
        if not error <= _TOLERANCE[after.dtype]:
            wrong.append(f"layer {layer} by {error:.1e}")
    if wrong:
        raise ValueError(
            "resid_pre + attn_out + mlp_out differs from resid_post (relative to the largest "
            f"activation) at {', '.join(wrong)}: {_why(model, activations)}"
        )


def _why(model: Any, activations: dict[Site, Tensor]) -> str:
    """The likeliest reason why the parts of a block do not add up."""
    if has_hooks(model):
        return "hooks of your own are on the model: take them off while it is first looked at"
    for site, x in activations.items():
        if not x.isfinite().all():
            return f"NaN or infinite from {site.hook_name} on, {out_of_range(x.dtype)}"
    return "this architecture's hooks do not mean what lens_steer takes them to mean"
