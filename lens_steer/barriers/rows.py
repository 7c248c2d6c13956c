"""The rows and labels that a barrier is fitted on."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations


@dataclass(frozen=True, eq=False)
class Rows:
    """Both classes stacked in float64, desired first.

    Attributes:
        values: Activations.
        desired: Which are of that class.
        source: What they were made of.
    """

    values: Float[Tensor, "n d"]
    desired: Bool[Tensor, " n"]
    source: LayerActivations

    @classmethod
    def of(cls, activations: LayerActivations) -> "Rows":
        """Of activations with one axis per example, at least two entries wide.

        Raises:
            ValueError: If they have more axes (heads), or one entry only.
        """
        sides = activations.desired, activations.undesired
        if sides[0].ndim != 2 or sides[0].shape[1] < 2:
            raise ValueError(
                f"got activations of shape {tuple(sides[0].shape)}: expected [n, d] with d > 1; a "
                "barrier is of one vector per example, so take one head, or the residual stream"
            )
        values = torch.cat([side.detach().double() for side in sides])
        desired = torch.arange(len(values), device=values.device) < len(sides[0])
        return cls(values, desired, activations)

    @property
    def log_prior(self) -> float:
        """log(desired / undesired): what a fitted logit has and a log-ratio has not."""
        n = int(self.desired.sum())
        return float(torch.tensor(n / (len(self.desired) - n), dtype=torch.double).log())

    @property
    def units(self) -> Float[Tensor, "n d"]:
        """Of length 1.

        Raises:
            ValueError: If one is 0, or all are one direction.
        """
        lengths = self.values.norm(dim=-1, keepdim=True)
        zero = int((lengths == 0).sum())
        if zero:
            raise ValueError(
                f"{zero} of {len(lengths)} activations are 0 and have no direction: leave them out"
            )
        units = self.values / lengths
        if bool((units == units[0]).all()):
            raise ValueError("all activations have one direction: nothing tells the classes apart")
        return units

    @property
    def dtype(self) -> torch.dtype:
        """What a fit is stored in."""
        return torch.promote_types(self.source.desired.dtype, torch.float32)

    def origin(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Fields that every barrier has."""
        source = self.source
        return {
            "layer": source.layer,
            "kind": source.kind,
            "provenance": source.provenance,
            "settings": settings,
        }
