"""Directions in the residual stream: what a method, a barrier, a head or a neuron writes there."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import CountFromZero, Layer, shortened
from lens_steer.barriers import Barrier
from lens_steer.models import SteerableModel, open_blocks
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention


def head_direction(
    model: SteerableModel, layer: Layer, head: CountFromZero, z: Float[Tensor, " d_head"]
) -> Float[Tensor, " d"]:
    """What a head's activation writes into the residual stream: z W_O.

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

    Raises:
        ValueError: If there is no such neuron.

    Example:
        >>> ls.vocabulary(model, ls.diagnostics.neuron_direction(model, 3, 17), layer=3)
    """
    weights: Tensor = _weights(model, "W_out")[layer]
    if neuron >= len(weights):
        raise ValueError(f"got neuron {neuron}, expected one below {len(weights)}")
    return weights[neuron].detach().float().cpu()


def refuse_steered(model: SteerableModel) -> None:
    """Raise a ValueError inside a `steered` block of the model: nothing there is clean."""
    if any(block.active for block in open_blocks(model)):
        raise ValueError("the model is being steered: read directions outside the block")


def direction_of(
    model: SteerableModel, what: Tensor | Intervention | Barrier, layer: int, states: Tensor
) -> tuple[Float[Tensor, " d"], str]:
    """The direction behind a block, and what it is of, in words."""
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
        edits = what.checked_edits(model)
        if Site(layer) not in edits:
            at = ", ".join(dict.fromkeys(site.hook_name for site in edits))
            raise ValueError(
                f"{type(what).__name__} does not act on the residual stream behind block {layer}, "
                f"but at {shortened(at)}"
            )
        place: Tensor = _weights(model, "W_U")
        moved = edits[Site(layer)](states.to(place.device, place.dtype))
        direction, name = (moved.float().cpu() - states).mean(dim=0), type(what).__name__
    if direction.shape != (width,) or not bool(direction.isfinite().all()) or not direction.any():
        raise ValueError(
            f"got a direction of shape {list(direction.shape)} and length "
            f"{float(direction.norm()):.3g}, expected [{width}], finite and above 0"
        )
    return direction, name


def _weights(model: Any, name: str) -> Tensor:
    """Weights that TransformerLens names alike on all models."""
    return getattr(model, name)
