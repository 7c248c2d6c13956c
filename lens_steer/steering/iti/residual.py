"""A probe of the residual stream: what the code of ODESteer calls ITI."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Layer, Number
from lens_steer.artifacts import savable
from lens_steer.barriers import LinearBarrier
from lens_steer.sites import Site
from lens_steer.steering.base import OneSite, VectorMethod, check_unit, editable_site, unit_of


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ResidualITI(OneSite, VectorMethod):
    """x becomes x + strength * length * direction, the normal of a logistic probe.

    One vector at one layer, whatever activations vary by: no heads are chosen, and there is no
    sigma. `ITI` is the paper's.

    Attributes:
        at: Where.
        direction: Normal of the probe, of length 1.
        length: In units of the activation; 0 is the identity. T of the code of ODESteer, there 1.

    Source: the baseline of ODESteer (arXiv:2602.17560), after ITI (arXiv:2306.03341).
    """

    direction: Float[Tensor, " d"] = field(repr=False)
    length: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self.direction, "direction")

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired d"],
        undesired: Float[Tensor, "undesired d"] | None = None,
        *,
        layer: Layer | None = None,
        length: Number = 1.0,
        C: Number = 1.0,
    ) -> "ResidualITI":
        """Take the normal of a logistic probe with L2 penalty.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            length: See the class.
            C: > 0; large fits the data closer. See `LinearBarrier.fit`, whose probe it is.

        Raises:
            ValueError: As `LinearBarrier.fit`, or if the kind cannot be edited.

        Example:
            >>> method = ls.steering.ResidualITI.fit(resid.at(layer=3), length=2.0)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site = editable_site(activations)
        normal = unit_of(LinearBarrier.fit(activations, C=C).weight, "probe's normal")
        return cls(site, normal, length, provenance=activations.provenance)

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        return [(self.at, self.length * self.direction)]
