"""Activation transport by an affine map of every coordinate by itself.

Source: Rodriguez et al. 2025, "Controlling Language and Diffusion Models by Transporting
Activations" (arXiv:2410.23054).
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations, ReadPosition
from lens_steer.arguments import Layer, Layers, Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel
from lens_steer.steering.base import Scope, check_finite
from lens_steer.steering.transport.maps import (
    TransportMap,
    fit_in_order,
    matched_quantiles,
    quantile,
    spread_site,
)

_ROUNDING = 2e-6  # of a coordinate's size: some units in the last place of float32


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LinearAcT(TransportMap):
    """Each coordinate x becomes T(x) = target + scale (x - source): 1-D transport, fitted affinely.

    x + strength * (T(x) - x); the paper's knob is the strength, lambda in [0, 1], the share of the
    way. Others are allowed, as for every method here. (The paper writes T(x) = omega x + beta;
    scale is omega, and beta = target - omega source.)

    Attributes:
        scale: omega, dimensionless; 1 is a shift.
        unscaled: How many coordinates the undesired vary in by rounding at most: these are shifted
            only.
        lower: A coordinate below is left alone; None: none is.
        upper: A coordinate above is left alone; None: none is.
    """

    scale: Float[Tensor, "*site"] = field(repr=False)
    unscaled: int = field(default=0, repr=False)
    lower: Float[Tensor, "*site"] | None = field(default=None, repr=False)
    upper: Float[Tensor, "*site"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "source", "target", "scale", "lower", "upper")
        if (self.lower is None) != (self.upper is None):
            raise ValueError("got one end of the support: expected lower and upper, or neither")

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
        support: Number | None = None,
    ) -> "LinearAcT":
        """Fit the sorted desired to the sorted undesired by least squares, in each coordinate.

        Sorting pairs the two samples as optimal transport does in one dimension. Where the classes
        differ in number the smaller one's quantiles are interpolated linearly to the larger's; the
        undesired mean goes to the desired one either way.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            support: Central share of the undesired, in (0, 1], outside of which a coordinate is
                left alone: 1 is the range that was seen, 0.9 the range from the 5 % to the 95 %
                quantile. None moves every value, as the published code does by default.

        Raises:
            ValueError: If a class has fewer than two activations, the map is the identity, the
                kind cannot be edited, or `support` is out of range.

        Example:
            >>> method = ls.LinearAcT.fit(resid.at(layer=3), support=0.9)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site = spread_site(activations)
        up, down = activations.desired.double(), activations.undesired.double()
        y, x = matched_quantiles(up, down)
        x, y = x - x.mean(dim=0), y - y.mean(dim=0)
        fixed = down.amax(dim=0) - down.amin(dim=0) <= _ROUNDING * down.abs().amax(dim=0)
        spread = torch.where(fixed, 1.0, x.square().sum(dim=0))
        scale = torch.where(fixed, 1.0, (x * y).sum(dim=0) / spread)
        source, target = down.mean(dim=0), up.mean(dim=0)
        if bool((scale == 1).all()) and bool((source == target).all()):
            raise ValueError(f"the classes at {site.hook_name} are the same: nothing to transport")
        lower, upper = (None, None) if support is None else _ends(down, support)
        return cls(
            site,
            source.float(),
            target.float(),
            scale.float(),
            int(fixed.sum()),
            lower,
            upper,
            provenance=activations.provenance,
        )

    @classmethod
    def fit_layers(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        layers: Layers | None = None,
        *,
        support: Number | None = None,
        kind: str = "resid",
        read: ReadPosition = "last",
        scope: Scope = "all",
        progress: bool = True,
    ) -> "tuple[LinearAcT, ...]":
        """Fit one map per layer, in the order of the layers, as `MeanAcT.fit_layers` does.

        Args:
            model: As `MeanAcT.fit_layers`.
            pairs: As `MeanAcT.fit_layers`.
            layers: As `MeanAcT.fit_layers`.
            support: As `fit`.
            kind: As `MeanAcT.fit_layers`.
            read: As `MeanAcT.fit_layers`.
            scope: As `MeanAcT.fit_layers`.
            progress: As `MeanAcT.fit_layers`.

        Raises:
            ValueError: As `fit` and `capture`, or if a layer is named twice.

        Example:
            >>> methods = ls.LinearAcT.fit_layers(model, train, [2, 3, 4])
        """
        return fit_in_order(
            partial(cls.fit, support=support),
            model,
            pairs,
            layers,
            kind=kind,
            read=read,
            scope=scope,
            progress=progress,
        )

    @override
    def _step(self, x: Activation) -> Activation:
        source, target, scale = (t.to(x) for t in (self.source, self.target, self.scale))
        step = (target - source) + (scale - 1) * (x - source)
        if self.lower is None or self.upper is None:
            return step
        inside = (x >= self.lower.to(x)) & (x <= self.upper.to(x))
        return torch.where(inside, step, 0.0)

    def _summary(self) -> list[str]:
        alone = "" if self.lower is None else ", outside the support left alone"
        return [f"{self.unscaled} of {self.scale.numel()} coordinates shifted only{alone}"]


def _ends(x: Float[Tensor, "n *site"], support: float | int) -> tuple[Tensor, Tensor]:
    if not 0 < support <= 1:
        raise ValueError(f"support {support}: expected a share in (0, 1], or None for every value")
    levels = torch.tensor([(1 - support) / 2, (1 + support) / 2], dtype=x.dtype)
    lower, upper = quantile(x, levels)
    return lower.float(), upper.float()
