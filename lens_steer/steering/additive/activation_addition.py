"""ActAdd: the difference between two prompts.

Source: Turner et al. 2023, "Steering Language Models With Activation Engineering"
(arXiv:2308.10248).
"""

from dataclasses import dataclass, field
from math import isfinite

from lens_steer.activations import capture
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.additive.base import Additive


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
    """

    prompts: tuple[str, str] = field(kw_only=True)
    coefficient: float | int = field(default=1.0, kw_only=True)

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        desired: str,
        undesired: str,
        *,
        layer: int,
        coefficient: float | int = 1.0,
    ) -> "ActAdd":
        """From the residual stream behind block `layer` at the last token of either prompt.

        Args:
            desired: What to steer towards, such as "Love".
            undesired: What to steer away from, such as "Hate".
            layer: Block index.
            coefficient: See the class.

        Raises:
            ValueError: If a prompt is blank (the paper also contrasts with a space), they are
                read as the same, the layer does not exist, or the coefficient is not finite.
        """
        if not isfinite(coefficient):
            raise ValueError(f"coefficient {coefficient}: expected a finite number; 0 does nothing")
        two = ContrastivePairs.of([("", desired, undesired)], name=f"{desired!r} - {undesired!r}")
        found = capture(model, two, "resid", layers=[layer], progress=False).at(layer)
        if not bool(found.direction.any()):
            raise ValueError(f"{desired!r} and {undesired!r} are read as the same at layer {layer}")
        return cls(
            (Site(layer),),
            (float(coefficient) * found.direction,),
            prompts=(desired, undesired),
            coefficient=float(coefficient),
            provenance=found.provenance,
        )
