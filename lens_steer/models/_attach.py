"""Looking a model over before it is used: sites, residual arithmetic, fingerprint, lock."""

from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lens_steer.models._agreement import check_cache
from lens_steer.models._fingerprint import Fingerprint
from lens_steer.models._forward import input_device, read
from lens_steer.models._protocol import SteerableModel, is_bridge
from lens_steer.models._reference import check_against_hugging_face, prepare
from lens_steer.sites import Kind, Site, hook_points

_SUMMED = (Kind.RESID_PRE, Kind.ATTN_OUT, Kind.MLP_OUT, Kind.RESID)
# Of the largest activation: rounding in the model's own dtype, a few additions deep.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Attachment:
    """What was found when a model was first used.

    Attributes:
        fingerprint: Of the model as it was then.
        state: What folding would change, cheap to look at again.
        lock: Held while its hooks are in use: hooks live on the model, so two threads would mix.
        sessions: Of the steered blocks that are open, the outermost first.
    """

    fingerprint: Fingerprint
    state: tuple[Any, ...] = field(repr=False)
    lock: Any = field(repr=False, default_factory=RLock)
    sessions: list[Any] = field(repr=False, default_factory=list)


_attached: WeakKeyDictionary[Any, Attachment] = WeakKeyDictionary()
_first_look = RLock()  # two threads that meet a new model would hook it at the same time


def attach(model: SteerableModel) -> Attachment:
    """Check a model the first time it is seen (8 tokens, a few forwards) and remember the result.

    Its attention bridges are given the cache under the name that they read (`pass_cache_on`), and
    what it computes is compared with itself over a cache and with Hugging Face (`_reference`).

    Raises:
        ValueError: If it is not a steerable model, a hook point is missing,
            `resid_pre + attn_out + mlp_out` is not `resid_post`, or its logits differ over a cache
            or from Hugging Face's; what differs is named.
    """
    with _first_look:
        known = _attached.get(model) if isinstance(model, torch.nn.Module) else None
        if known is None:
            _check_class(model)
            prepare(model)
            found = _check(model, is_processed(model))
            check_against_hugging_face(model, check_cache(model))
            known = _attached[model] = Attachment(found, _state(model))
        elif known.state != _state(model):
            processed, found = is_processed(model), known.fingerprint
            if processed != found.processed:  # folded since: keep the lock
                found = _check(model, processed)
                check_cache(model)
            again = Attachment(found, _state(model), known.lock, known.sessions)
            known = _attached[model] = again
        return known


def _state(model: Any) -> tuple[Any, ...]:
    """What differs after weights were folded or centred; `is_processed` may take milliseconds."""
    if is_bridge(model):
        return (getattr(model, "_weights_processed", False),)
    embedding = model.W_E
    return str(model.cfg.normalization_type), embedding.data_ptr(), embedding._version


def _check_class(model: Any) -> None:
    if not isinstance(model, SteerableModel):
        raise ValueError(
            f"got a {type(model).__name__}, expected a HookedTransformer or TransformerBridge: "
            "wrap a Hugging Face model with "
            "TransformerBridge.boot_transformers(name, hf_model=model)"
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
    needed = (*_SUMMED, Kind.HEAD, Kind.NEURON)
    hook_points(model, [Site(layer, kind) for layer in layers for kind in needed])
    tokens = (torch.arange(8, device=input_device(model))[None] * 37 + 11) % model.cfg.d_vocab
    select = {Site(layer, kind): _last for layer in layers for kind in _SUMMED}
    with torch.no_grad():
        found = read(model, tokens, None, select)
    _check_sums(found, len(layers))
    residuals = torch.stack([found[Site(layer)].float().cpu() for layer in layers])
    return Fingerprint.of(model, residuals, processed)


def _last(x: Tensor) -> Tensor:
    return x[0, -1].detach().clone()


def _check_sums(found: dict[Site, Tensor], n_layers: int) -> None:
    wrong = []
    for layer in range(n_layers):
        before, attention, mlp, after = (found[Site(layer, kind)] for kind in _SUMMED)
        scale = torch.stack([before, attention, mlp, after]).abs().max().float()
        error = ((before + attention + mlp - after).abs().max().float() / scale).item()
        if not error <= _TOLERANCE[after.dtype]:
            wrong.append(f"layer {layer} by {error:.1e}")
    if wrong:
        raise ValueError(
            "resid_pre + attn_out + mlp_out differs from resid_post (relative to the largest "
            "activation) at "
            + ", ".join(wrong)
            + ": this architecture's hooks do not mean what lens_steer takes them to mean"
        )
