"""Activations that a barrier can be followed from."""

from math import isfinite, pi

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers.barrier import Barrier


def check_angle(angle: float | int) -> float:
    """Raise a ValueError unless it is a way that can be walked."""
    if not (isfinite(angle) and 0 < angle <= 2 * pi):
        raise ValueError(f"angle {angle}: expected above 0 and at most 2 pi rad")
    return float(angle)


def stacked_rows(barrier: Barrier, activations: LayerActivations) -> Float[Tensor, "n d"]:
    """Both classes in float64, the desired first.

    Raises:
        ValueError: If they are of another site or width, or one of them is 0.
    """
    own, got = (barrier.kind, barrier.layer), (activations.kind, activations.layer)
    if own != got:
        raise ValueError(
            f"got activations of {got[0].value} {got[1]} for a barrier of {own[0].value} {own[1]}: "
            "capture the same site"
        )
    shape = tuple(activations.desired.shape)
    if len(shape) != 2 or shape[1] != barrier.width:
        raise ValueError(f"got activations of shape {shape}: expected [n, {barrier.width}]")
    rows = torch.cat([activations.desired, activations.undesired]).double()
    zero = int((~rows.any(dim=-1)).sum())
    if zero:
        raise ValueError(f"{zero} of {len(rows)} activations are 0 and have no direction")
    return rows
