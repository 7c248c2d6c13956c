"""Directions of length 1."""

import torch
from torch import Tensor

_SLACK = 1e-4  # of the length: rounding of float32 is far below


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
