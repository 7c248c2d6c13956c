"""Directions that methods are fitted along: where, from which class to which, of length 1."""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.sites import Site
from lens_steer.steering.base.intervention import Intervention

_SLACK = 1e-4  # of the length: rounding of float32 is far below


def check_finite(method: Intervention, *names: str) -> None:
    """Raise a ValueError that names a field of tensors, or None, that is not finite."""
    for name in names:
        tensor = getattr(method, name)
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"numbers in the {name} are not finite: expected finite ones alone")


def check_unit(vector: Tensor, name: str) -> None:
    """Raise a ValueError unless it is finite and of length 1."""
    length = float(vector.detach().double().norm())
    if not abs(length - 1) <= _SLACK:
        raise ValueError(f"the {name} has length {length:g}: expected 1, divide by it")


def unit_of(vector: Tensor, name: str) -> Tensor:
    """The vector divided by its length, in its dtype.

    Raises:
        ValueError: If it is 0 or not finite.
    """
    length = vector.detach().double().norm()
    if not bool(torch.isfinite(length) & (length > 0)):
        raise ValueError(f"the {name} has length {float(length):g}: expected a direction")
    return (vector.double() / length).to(vector.dtype)


def editable_site(activations: LayerActivations) -> Site:
    """Where a method fitted on activations acts.

    Raises:
        ValueError: If their kind cannot be edited.
    """
    site = Site(activations.layer, activations.kind)
    if not site.kind.editable:
        raise ValueError(
            f"kind {site.kind.value!r} can be read but not edited: capture 'neuron' to steer"
        )
    return site


def class_difference(activations: LayerActivations) -> Float[Tensor, "*site"]:
    """Mean of the desired minus mean of the undesired.

    Raises:
        ValueError: If they are equal.
    """
    direction = activations.direction
    if not bool(direction.any()):
        raise ValueError(
            f"the class means at {Site(activations.layer, activations.kind).hook_name} are equal: "
            "choose another layer or read position"
        )
    return direction
