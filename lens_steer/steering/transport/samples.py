"""What transport maps are fitted on: two samples, their quantiles, their covariances."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.sites import Site
from lens_steer.steering.base import editable_site


def spread_site(activations: LayerActivations) -> Site:
    """Where a method acts that is fitted on what either class varies by.

    Raises:
        ValueError: If that kind cannot be edited, or a class has fewer than two activations.
    """
    site = editable_site(activations)
    if min(len(activations.desired), len(activations.undesired)) < 2:
        raise ValueError(
            f"got {len(activations.desired)} desired and {len(activations.undesired)} undesired "
            "activations: expected at least 2 of each, whose spread can be told"
        )
    return site


def check_finite(method: Any, *names: str) -> None:
    """Raise a ValueError if one of these fields holds a number that is not finite."""
    for name in names:
        held = getattr(method, name)
        if held is not None and not bool(torch.isfinite(held).all()):
            raise ValueError(f"{name} for {method.at.hook_name} is not finite")


def quantile(x: Float[Tensor, "n *site"], levels: Float[Tensor, " m"]) -> Float[Tensor, "m *site"]:
    """Of each coordinate, linear between the sorted values; torch.quantile has a size limit."""
    ordered = x.sort(dim=0).values
    place = levels * (len(x) - 1)
    below = place.floor().long()
    share = (place - below).reshape(-1, *[1] * (x.ndim - 1))
    above = (below + 1).clamp(max=len(x) - 1)
    return ordered[below] + share * (ordered[above] - ordered[below])


def matched_quantiles(
    a: Float[Tensor, "n *site"], b: Float[Tensor, "m *site"]
) -> tuple[Float[Tensor, "k *site"], Float[Tensor, "k *site"]]:
    """Both sorted, the smaller sample interpolated to the size of the larger."""
    if len(a) == len(b):
        return a.sort(dim=0).values, b.sort(dim=0).values
    levels = torch.linspace(0, 1, max(len(a), len(b)), dtype=a.dtype)
    return quantile(a, levels), quantile(b, levels)
