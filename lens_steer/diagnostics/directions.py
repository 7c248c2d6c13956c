"""Directions in the residual stream: what a method, a barrier, a head or a neuron writes there."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import CountFromZero, Layer, shortened
from lens_steer.barriers import Barrier
from lens_steer.models import SteerableModel, attach, residual_edit
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention, VectorMethod

_READ_THROUGH = {Kind.HEAD: "through W_O", Kind.NEURON: "through W_out"}


def head_direction(
    model: SteerableModel, layer: Layer, head: CountFromZero, z: Float[Tensor, " d_head"]
) -> Float[Tensor, " d"]:
    """What a head's activation writes into the residual stream: z W_O.

    In Gemma 2 and 3 a norm follows, which gives each dimension a gain of its own: there, give
    `vocabulary` a method that adds z to the head.

    Raises:
        ValueError: If there is no such head, or z has another width.

    Example:
        >>> v = ls.diagnostics.head_direction(model, 3, 1, heads.direction[3, 1])
        >>> ls.vocabulary(model, v, layer=3)
    """
    weights: Tensor = _weights(model, "W_O")[layer]
    if head >= len(weights) or z.shape != weights.shape[1:2]:
        raise ValueError(
            f"got head {head} and z of shape {list(z.shape)}, expected a head below {len(weights)} "
            f"and z of shape {list(weights.shape[1:2])}"
        )
    return (z.to(weights) @ weights[head]).detach().float().cpu()


def neuron_direction(
    model: SteerableModel, layer: Layer, neuron: CountFromZero
) -> Float[Tensor, " d"]:
    """What a unit of a neuron's activation writes into the residual stream: its row of W_out.

    In Gemma 2 and 3 a norm follows: see `head_direction`.

    Raises:
        ValueError: If there is no such neuron.

    Example:
        >>> ls.vocabulary(model, ls.diagnostics.neuron_direction(model, 3, 17), layer=3)
    """
    weights: Tensor = _weights(model, "W_out")[layer]
    if neuron >= len(weights):
        raise ValueError(f"got neuron {neuron}, expected one below {len(weights)}")
    return weights[neuron].detach().float().cpu()


def direction_of(
    model: SteerableModel,
    what: Tensor | Intervention | Barrier,
    layer: int,
    states: Float[Tensor, "n d"],
    clean: Callable[[Site], Tensor],
) -> tuple[Float[Tensor, " d"], str]:
    """The direction behind a block, and what it is of, in words.

    Args:
        model: The model.
        what: A direction, a method or a barrier.
        layer: The block.
        states: The clean residual stream behind it, at some positions.
        clean: Gives clean activations at another site of the block, at these positions.

    Raises:
        ValueError: If it has no direction there, or one of another width, of length 0 or not
            finite.
    """
    width = states.shape[1]
    if isinstance(what, Tensor):
        direction, name = what.detach().float().cpu(), "direction"
    elif isinstance(what, Barrier):
        if what.width != width or what.kind is not Kind.RESID:
            raise ValueError(
                f"got a barrier of {what.kind.value}, {what.width} wide, expected one of the "
                f"residual stream, {width} wide"
            )
        direction = what.to(dtype=torch.float32).field(states).mean(dim=0)
        name = type(what).__name__
    else:
        direction, name = _written(model, what, layer, states, clean)
    if direction.shape != (width,) or not bool(direction.isfinite().all()) or not direction.any():
        raise ValueError(
            f"got a direction of shape {list(direction.shape)} and length "
            f"{float(direction.norm()):.3g}, expected [{width}], finite and above 0"
        )
    return direction, name


def _written(
    model: SteerableModel,
    method: Intervention,
    layer: int,
    states: Float[Tensor, "n d"],
    clean: Callable[[Site], Tensor],
) -> tuple[Float[Tensor, " d"], str]:
    """What a method adds to the stream behind a block, the mean over clean states, and its name."""
    name, edits = type(method).__name__, method.checked_edits(model)
    here = [site for site in edits if site.layer == layer and site.kind is not Kind.RESID_PRE]
    if not here:
        at = ", ".join(dict.fromkeys(site.hook_name for site in edits)) or "nothing: strength 0"
        raise ValueError(
            f"{name} does not act on the residual stream behind block {layer}, but at "
            f"{shortened(at)}"
        )
    if method.per_prompt:
        raise ValueError(
            f"what {name} adds depends on the prompt, expected a method that moves activations "
            "alone: read the method or the direction that it is made of"
        )
    attach(model)
    place: Tensor = _weights(model, "W_U")
    total = torch.zeros_like(states)
    for site in here:
        if site.kind is Kind.RESID:
            moved = edits[site](states.to(place.device, place.dtype))
            total += moved.float().cpu() - states
        else:
            before = clean(site)
            vector = _fixed_vector(method, site).float().cpu()
            both = (x.to(place.device) for x in (before, before + vector))
            total += residual_edit(model, site, *both).cpu()
    kinds = dict.fromkeys(_READ_THROUGH.get(site.kind, "") for site in here)
    return total.mean(dim=0), " ".join([name, *filter(None, kinds)])


def _fixed_vector(method: Intervention, site: Site) -> Float[Tensor, "*site"]:
    """What is added to every activation at a site that is not the residual stream."""
    if not isinstance(method, VectorMethod) or site.kind is Kind.UP:
        raise ValueError(
            f"what {type(method).__name__} adds at {site.hook_name} depends on the input, expected "
            "a vector that is added to all: read a head or a neuron (diagnostics.head_direction, "
            "neuron_direction), or an activation (diagnostics.activation_vocabulary)"
        )
    return method.strength * dict(method.items())[site]


def _weights(model: Any, name: str) -> Tensor:
    """Weights that TransformerLens names alike on all models."""
    return getattr(model, name)
