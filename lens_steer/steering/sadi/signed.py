"""Pushing the chosen elements towards the sign that the desired examples have."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations
from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask
from lens_steer.axes import Activation
from lens_steer.models import SteerableModel
from lens_steer.sites import Kind, Site
from lens_steer.steering.base import ActivationMap, Edit, check_finite
from lens_steer.steering.sadi.scaling import check_fits, checked_delta, spread


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SignedSADI(ActivationMap):
    """A' = A + delta |A| sign(D) on the mask: as large a push as SADI's, in the desired direction.

    Scaling amplifies whatever sign an activation has, which is the wrong one about half the time.
    Here D, the mean difference of the classes, decides; of a head, in each of its dimensions.

    Attributes:
        mask: The elements that are pushed.
        signs: Of the mean difference: -1, 0 or 1.
        delta: Size of the push, as a share of the activation's own.
    """

    mask: ElementMask
    signs: Float[Tensor, "layer *site"] = field(repr=False)
    delta: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mask, ElementMask) or self.mask.count == 0:
            raise ValueError(f"got {self.mask!r}, expected an ElementMask that chooses an element")
        if self.mask.kind is Kind.GATE:
            raise ValueError("a gate's sign is not its neuron's: capture 'neuron' to push neurons")
        if self.signs.shape[:2] != self.mask.selected.shape:
            shapes = f"{tuple(self.signs.shape)} for a mask of {tuple(self.mask.selected.shape)}"
            raise ValueError(f"got signs of shape {shapes}: expected (layer, element, ...)")
        check_finite(self, "signs")
        if checked_delta(self.delta).ndim:
            raise ValueError(f"delta {self.delta!r}: expected one number")

    @classmethod
    def fit(cls, activations: Activations, mask: ElementMask, *, delta: Number) -> "SignedSADI":
        """Take the signs of the activations' mean difference.

        Raises:
            ValueError: If the mask is over other elements than the activations.

        Example:
            >>> heads = ls.capture(model, train, "head")
            >>> mask = ls.attribution.contrast(heads).top(8)
            >>> method = ls.steering.SignedSADI.fit(heads, mask, delta=0.5)
        """
        if (mask.kind, mask.layers) != (activations.kind, activations.layers):
            raise ValueError(f"got {mask!r} for {activations!r}: expected the same kind and layers")
        signs = activations.direction.sign()
        return cls(mask, signs, delta, provenance=activations.provenance)

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        layers = zip(self.mask.layers, self.mask.by_layer.tolist(), strict=True)
        return tuple(sorted(Site(layer, self.mask.kind) for layer, n in layers if n))

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return tuple(self.signs.shape[1:])

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        check_fits(model, self.mask)
        return super().edits(model)

    @override
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        i = self.mask.layers.index(site.layer)
        chosen = spread(self.mask.selected[i].to(device, dtype), site)
        push = self.strength * self.delta * chosen * self.signs[i].to(device, dtype)
        return lambda x: x + push * x.abs()
