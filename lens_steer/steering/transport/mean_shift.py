"""Activation transport by the mean shift, layer by layer.

Source: Rodriguez et al. 2025, "Controlling Language and Diffusion Models by Transporting
Activations" (arXiv:2410.23054). There the maps of several layers are estimated one after the other,
each on activations that the earlier ones have already steered: `fit_layers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations, ReadPosition
from lens_steer.arguments import Layer, Layers
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base import (
    OneSite,
    Scope,
    VectorMethod,
    check_finite,
    class_difference,
    editable_site,
)
from lens_steer.steering.transport.maps import fit_in_order


@savable
@dataclass(frozen=True, eq=False, repr=False)
class MeanAcT(OneSite, VectorMethod):
    """x + strength * (mean desired - mean undesired): transport between equal shapes.

    The paper's knob is the strength, lambda in [0, 1]: the share of the way. Others are allowed, as
    for every method here. At one layer this is what `CAA` adds; what the paper has beyond it is the
    estimation layer by layer, `fit_layers`.

    Attributes:
        shift: Difference of the class means, in the units of the activation.
    """

    shift: Float[Tensor, "*site"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "shift")

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
    ) -> "MeanAcT":
        """Take the difference of one layer's class means; the classes may differ in number.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.

        Raises:
            ValueError: If the two class means are equal, or the kind cannot be edited.

        Example:
            >>> method = ls.MeanAcT.fit(resid.at(layer=3))
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site, shift = editable_site(activations), class_difference(activations)
        return cls(site, shift, provenance=activations.provenance)

    @classmethod
    def fit_layers(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        layers: Layers | None = None,
        *,
        kind: str = "resid",
        read: ReadPosition = "last",
        scope: Scope = "all",
        progress: bool = True,
    ) -> "tuple[MeanAcT, ...]":
        """Fit one method per layer, in the order of the layers, as published.

        The undesired activations of a layer are captured while the methods of the earlier layers
        steer the model; the desired ones, to which they are to be transported, are the clean
        model's. Steer with all of them together, at strength 1.

        Args:
            model: Whose activations are captured, once more for every layer after the first.
            pairs: The examples of both classes.
            layers: Blocks to steer; None is all.
            kind: What to capture and steer, as in `capture`.
            read: The token to read, as in `capture`.
            scope: Where the methods of earlier layers steer during a capture: every token but
                attention sinks; `steering.WithSinks("all")` is every token, as published.
            progress: Whether to show a bar.

        Raises:
            ValueError: As `fit` and `capture`, or if a layer is named twice.

        Example:
            >>> methods = ls.MeanAcT.fit_layers(model, train, [2, 3, 4])
            >>> texts = ls.generate(model, prompts, *methods, scope="all", seed=0)
        """
        return fit_in_order(
            cls.fit, model, pairs, layers, kind=kind, read=read, scope=scope, progress=progress
        )

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        return [(self.at, self.shift)]
