"""CAA: the difference of the class means.

Source: Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition"
(arXiv:2312.06681): the mean difference of the activations of desired and undesired continuations is
added to the residual stream.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.steering.additive.base import Additive
from lens_steer.steering.base import class_difference, editable_site


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CAA(Additive):
    """Contrastive activation addition: the vector is mean(desired) - mean(undesired).

    It has no knob of its own; `strength` 1 adds the whole difference.
    """

    @classmethod
    def fit(
        cls,
        desired: LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: int | None = None,
    ) -> "CAA":
        """The method of one layer's activations; add several for several layers.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.

        Raises:
            ValueError: If the two class means are equal, or the kind cannot be edited.
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site, direction = editable_site(activations), class_difference(activations)
        return cls((site,), (direction,), provenance=activations.provenance)
