"""What separates two classes along the residual stream: a direction and a size at every layer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import Activations, mean_difference
from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.reports import few
from lens_steer.sites import Kind

_ROUNDING = 1e-5  # of the activations' size: a mean difference below it is noise of float32


@savable
@dataclass(frozen=True, eq=False)
class FeatureDirections:
    """Mean differences of the residual stream: e_k = mu_k v_k at z_k (arXiv:2604.19018).

    z_0 is the embedding, z_{l+1} leaves block l.

    Attributes:
        directions: v_k, unit length; all zero where the classes do not differ (the embedding of a
            token that both end in).
        sizes: mu_k; 0 there.
        desired: Mean of the desired class.
        undesired: Mean of the other.
    """

    directions: Float[Tensor, "layer_and_last d"]
    sizes: Float[Tensor, " layer_and_last"]
    desired: Float[Tensor, "layer_and_last d"]
    undesired: Float[Tensor, "layer_and_last d"]

    @classmethod
    def of(cls, activations: Activations) -> "FeatureDirections":
        """The features of captured activations.

        Raises:
            ValueError: If they are not the residual stream at every layer.

        Example:
            >>> features = ls.FeatureDirections.of(ls.capture(model, pairs, "resid"))
            >>> features.sizes  # how far the classes are apart at each layer
        """
        embedded = activations.embedded_desired, activations.embedded_undesired
        if activations.kind is not Kind.RESID or embedded[0] is None or embedded[1] is None:
            raise ValueError(
                f"got {activations!r}: expected the residual stream with its embedding, from "
                "capture(model, pairs, 'resid')"
            )
        if activations.layers != tuple(range(len(activations.layers))):
            raise ValueError(f"got layers {activations.layers}: expected every layer, from 0")
        return cls.of_states(
            torch.cat([embedded[0][:, None], activations.desired], dim=1),
            torch.cat([embedded[1][:, None], activations.undesired], dim=1),
        )

    @classmethod
    def of_states(
        cls,
        desired: Float[Tensor, "desired layer_and_last d"],
        undesired: Float[Tensor, "undesired layer_and_last d"],
    ) -> "FeatureDirections":
        """The features of states of both classes; a difference within rounding counts as none."""
        difference = mean_difference(desired, undesired).to(desired)
        sizes = difference.norm(dim=-1)
        length = torch.cat([desired, undesired]).norm(dim=-1).mean(dim=0)
        present = sizes > _ROUNDING * length
        zero = torch.zeros(()).to(sizes)
        unit = torch.where(present[:, None], difference / sizes[:, None], zero)
        means = (side.double().mean(dim=0).to(desired) for side in (desired, undesired))
        return cls(unit, torch.where(present, sizes, zero), *means)

    def __repr__(self) -> str:
        layers, d = self.directions.shape
        sizes = few(self.sizes.tolist())
        return f"FeatureDirections({layers - 1} layers of {d}; sizes {sizes})"

    def setpoints(self, multiple: Number, *, centred: bool) -> Float[Tensor, " layer_and_last"]:
        """beta_k, the value wanted of v_k . z_k: `multiple` of mu_k from where it is counted.

        Args:
            multiple: 1 is as far as the classes are apart.
            centred: Count from the undesired mean; else from the origin as the paper does, where
                v_k . z_k has an offset that both classes share.
        """
        size = float(multiple) * self.sizes
        return size + (self.directions * self.undesired).sum(dim=-1) if centred else size

    @property
    def present(self) -> Bool[Tensor, " layer_and_last"]:
        """Where the classes differ, so that there is a feature."""
        return self.sizes > 0
