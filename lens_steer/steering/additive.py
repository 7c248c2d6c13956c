"""Adding fixed vectors: CAA and ActAdd."""

from dataclasses import dataclass, field
from math import isfinite

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations, LayerActivations, capture
from lens_steer.arguments import Layer, Number
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base import Additive, class_difference, editable_site


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CAA(Additive):
    """Contrastive activation addition: the vector is mean(desired) - mean(undesired).

    It has no knob of its own; `strength` 1 adds the whole difference.

    Source: Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition"
    (arXiv:2312.06681): the mean difference of the activations of desired and undesired
    continuations is added to the residual stream.
    """

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
    ) -> "CAA":
        """Take the difference of the class means at one layer; add several for several layers.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.

        Raises:
            ValueError: If the two class means are equal, or the kind cannot be edited.

        Example:
            >>> resid = ls.capture(model, train, "resid")
            >>> method = ls.CAA.fit(resid.at(layer=3))
            >>> both = method + ls.CAA.fit(resid.at(layer=4))
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site, direction = editable_site(activations), class_difference(activations)
        return cls((site,), (direction,), provenance=activations.provenance)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ActAdd(Additive):
    """The vector is coefficient * (activation of one prompt - activation of another).

    What differs from the paper: it pads the two prompts to one length and adds their difference
    position by position at the front of the user's prompt, in one forward pass; here it is read at
    the last token of each and added wherever `scope` says, as by every other method. The paper
    reads and adds where a block begins: its layer l is layer l - 1 here.

    Attributes:
        prompts: The two, towards and away from.
        coefficient: Dimensionless, what the difference was multiplied by: the vectors hold it
            already. 0 is the identity; the paper's are 1 to 15. For another one, fit again or
            set the strength.

    Source: Turner et al. 2023, "Steering Language Models With Activation Engineering"
    (arXiv:2308.10248).
    """

    prompts: tuple[str, str] = field(kw_only=True)
    coefficient: Number = field(default=1.0, kw_only=True)

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        desired: str,
        undesired: str,
        *,
        layer: Layer,
        coefficient: Number = 1.0,
    ) -> "ActAdd":
        """Read the residual stream behind block `layer` at the last token of either prompt.

        Args:
            desired: What to steer towards, such as "Love".
            undesired: What to steer away from, such as "Hate".
            layer: Block index.
            coefficient: See the class.

        Raises:
            ValueError: If a prompt is blank (the paper also contrasts with a space), they are
                read as the same, the layer does not exist, or the coefficient is not finite.

        Example:
            >>> method = ls.ActAdd.fit(model, "Love", "Hate", layer=3, coefficient=5)
        """
        if not isfinite(coefficient):
            raise ValueError(f"coefficient {coefficient}: expected a finite number; 0 does nothing")
        two = ContrastivePairs.of([("", desired, undesired)], name=f"{desired!r} - {undesired!r}")
        activations = capture(model, two, "resid", layers=[layer], progress=False).at(layer)
        if not bool(activations.direction.any()):
            raise ValueError(f"{desired!r} and {undesired!r} are read as the same at layer {layer}")
        return cls(
            (Site(layer),),
            (float(coefficient) * activations.direction,),
            prompts=(desired, undesired),
            coefficient=float(coefficient),
            provenance=activations.provenance,
        )
