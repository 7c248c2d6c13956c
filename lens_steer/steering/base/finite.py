"""Logits that are NaN or infinite: noticed as they come, and explained by their layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.models import SteerableModel, hooked, open_blocks, unsteered
from lens_steer.sites import Kind, Site
from lens_steer.steering.base.intervention import Intervention

# Takes whether to steer, and a context to enter while the model runs; gives logits.
Run = Callable[[bool, AbstractContextManager[None]], Float[Tensor, "*draw vocab"]]


class NotFinite(ValueError):
    """A model, steered or not, whose logits are NaN or infinite.

    Attributes:
        anyway: Whether they are so without steering too.
    """

    def __init__(self, message: str, *, anyway: bool) -> None:
        super().__init__(message)
        self.anyway = anyway


def is_distribution(logits: Float[Tensor, "*draw vocab"]) -> Bool[Tensor, "*draw"]:
    """Whether logits are a usable distribution over tokens.

    A model may rule tokens out with -inf; NaN, +inf or nothing but -inf are failures. So are logits
    that are all equal: the final norm makes them so, where the square of a long residual stream
    overflows.
    """
    largest = logits.amax(dim=-1)
    return largest.isfinite() & (largest > logits.amin(dim=-1))


def not_finite(
    model: SteerableModel,
    run: Run,
    of_text: Callable[[Tensor], Tensor],
    methods: Sequence[Intervention],
    text: str,
) -> NotFinite:
    """The error to raise, after what failed has been run once more.

    Args:
        run: Gives the logits that failed; given False, those without steering. It enters the
            context for the forward passes, but not for opening steered blocks.
        of_text: The part of an activation `[batch pos d]` that belongs to the text that failed.
        methods: Those that steered the text, besides those of blocks around this call.
        text: The text that failed, in words.
    """
    around = [method for block in open_blocks(model) for method in block.methods]
    acting = [method for method in (*around, *methods) if method.strength != 0]
    with torch.no_grad():
        first: list[Site] = []
        again = run(True, _first_overflow(model, of_text, first))
        with unsteered(model):
            fails = not acting or not bool(is_distribution(run(False, nullcontext())).all())
    fault = "all equal" if bool(again.isfinite().all()) else "NaN or infinite"
    if first:
        place = f"the residual stream or its square is NaN or infinite from {first[0].hook_name} on"
    elif bool(is_distribution(again).all()):
        place = "they were finite when the text was run once more"
    else:
        place = "the residual stream is finite; the final norm or the unembedding overflows"
    steering = f"steered by {', '.join(map(repr, acting))}" if acting else "not steered"
    also = " (and broken without steering too)" if acting and fails else ""
    return NotFinite(
        f"{text}: the logits are {fault}: {place}; the model runs in "
        f"{_dtype(model)}, {steering}{also}: {_advice(model, fails)}",
        anyway=fails,
    )


@contextmanager
def _first_overflow(
    model: SteerableModel, of_text: Callable[[Tensor], Tensor], first: list[Site]
) -> Iterator[None]:
    """Append to `first` the first site where the stream's length is not finite, edits included."""
    sites = [Site(0, Kind.RESID_PRE), *(Site(layer) for layer in range(int(model.cfg.n_layers)))]
    with hooked(model, {site: partial(_note_overflow, of_text, first, site) for site in sites}):
        yield


def _note_overflow(
    of_text: Callable[[Tensor], Tensor], first: list[Site], site: Site, x: Tensor
) -> None:
    if not first and not bool(of_text(x).float().norm(dim=-1).isfinite().all()):
        first.append(site)


def _dtype(model: SteerableModel) -> str:
    parameter = next(iter(model.blocks[0].parameters()))
    name = str(parameter.dtype).removeprefix("torch.")
    place = parameter.device.type
    if not torch.is_autocast_enabled(place):
        return name
    return f"{name} under autocast to {str(torch.get_autocast_dtype(place)).removeprefix('torch.')}"


def _advice(model: SteerableModel, fails: bool) -> str:
    dtype = _dtype(model)
    if "autocast" in dtype:
        half = dtype.split()[-1]
        return f"leave torch.autocast out, which breaks padding, and load the model in {half}"
    coarse = "load the model in float32 or bfloat16" if dtype == "float16" else ""
    if fails:
        return coarse or "check its weights, and the attention mask"
    return " or ".join(filter(None, ["use a smaller strength", coarse]))
