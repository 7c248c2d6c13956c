"""Directional ablation: the component along a direction is taken out.

Source: Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction"
(arXiv:2406.11717), section 2.4. Its activation addition is `CAA`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Accepts, Layer, Layers, Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.sites import Site
from lens_steer.steering.base import (
    Displacement,
    Push,
    check_unit,
    class_difference,
    editable_site,
    unit_of,
)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Ablation(Displacement):
    """x becomes x + strength * (setpoint - r . x) r, one direction r at each of its sites.

    Strength 1 removes the component along r whole (or sets it to `setpoint`), strength s keeps
    1 - s of it. Published: every layer, every position (`scope="all", sink=True`), every sum of the
    residual stream, also that between attention and MLP, which has no site here.

    Attributes:
        at: The sites, each once.
        direction: r, of length 1.
        setpoint: Where the projection on r is moved to, in units of the activation; 0 is published.
    """

    at: Annotated[tuple[Site, ...], Accepts(Sequence[Site])] = field(repr=False)
    direction: Float[Tensor, "*site"] = field(repr=False)
    setpoint: Number = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.at or len(set(self.at)) != len(self.at):
            raise ValueError(f"got the sites {self.at}: expected one or more, each once")
        check_unit(self.direction, "direction")
        object.__setattr__(self, "at", tuple(sorted(self.at)))

    @classmethod
    def from_direction(
        cls,
        direction: Float[Tensor, "*site"],
        sites: Sequence[Site],
        *,
        setpoint: Number = 0.0,
    ) -> "Ablation":
        """Take out the component along a direction of any length.

        Raises:
            ValueError: If it is 0 or not finite, or there are no sites.

        Example:
            >>> method = ls.Ablation.from_direction(direction, [ls.Site(layer) for layer in (2, 3)])
        """
        return cls(tuple(sites), unit_of(direction, "direction"), setpoint)

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
        layers: Layers | None = None,
        setpoint: Number = 0.0,
    ) -> "Ablation":
        """Take out the component along the difference of the class means at one layer.

        Args:
            desired: Activations at several layers, of which that of `layer` gives the direction; or
                of one layer; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Whose direction; of tensors, also where it acts.
            layers: Where it acts; None: every captured layer, or the one.
            setpoint: See the class.

        Raises:
            ValueError: If the class means are equal, or the kind cannot be edited.

        Example:
            >>> method = ls.Ablation.fit(ls.capture(model, train, "resid"), layer=3)
        """
        if isinstance(desired, Activations):
            if undesired is not None or layer is None:
                raise ValueError(f"got {desired!r}, layer {layer}: say whose direction, layer=...")
            activations, everywhere = desired.at(layer), desired.layers
        else:
            activations = LayerActivations.of(desired, undesired, layer=layer)
            everywhere = (activations.layer,)
        kind = editable_site(activations).kind
        chosen = everywhere if layers is None else layers
        return cls(
            tuple(Site(block, kind) for block in chosen),
            unit_of(class_difference(activations), "difference of the class means"),
            setpoint,
            provenance=activations.provenance,
        )

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return self.at

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return tuple(self.direction.shape)

    @override
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        del site
        r, axes = self.direction.to(device, dtype), tuple(range(1, self.direction.ndim + 1))
        setpoint = self.setpoint

        def push(x: Activation) -> Activation:
            return (setpoint - (x * r).sum(dim=axes, keepdim=True)) * r

        return push
