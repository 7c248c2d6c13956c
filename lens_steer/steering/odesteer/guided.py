"""What methods that a barrier guides share, and the shortest push that lifts h to a margin."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite, log
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.barriers import Barrier, PolynomialBarrier
from lens_steer.barriers.flows import Frame, dot, frame_of, move_in_frame, size_of
from lens_steer.sites import Site
from lens_steer.steering.base import ActivationMap

AnyGuided = TypeVar("AnyGuided", bound="Guided")

# Measured on quadratic forms of 16 to 256 dimensions: whole slides diverge where the level set is
# strongly curved, shares of 0.3 to 0.5 do not unless the margin is near sup h.
_SLIDES, _SHARE, _RISES = 24, 0.4, 8
_FAR = 0.2  # rad that one round may turn by: beyond, what was linearised says little


@dataclass(frozen=True, eq=False, repr=False)
class Guided(ActivationMap):
    """Moves each activation by what a barrier says of that activation.

    Attributes:
        barrier: h; at least 0 where an activation looks desired.
        layer: Block behind which it steers; None is where the barrier was fitted. A barrier that
            was fitted on a model's activations steers no other layer.
    """

    barrier: Barrier
    layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.barrier, Barrier):
            raise ValueError(f"got {self.barrier!r}, expected a barrier: PolynomialBarrier.fit()")
        layer = self.barrier.layer if self.layer is None else self.layer
        object.__setattr__(self, "layer", Site(layer).layer)
        if self.barrier.provenance is not None and layer != self.barrier.layer:
            raise ValueError(
                f"got layer={layer} for a barrier that was fitted on layer {self.barrier.layer}, "
                "whose activations lie elsewhere: leave layer out, fit a barrier on layer "
                f"{layer}, or, if that is what you study, say dataclasses.replace(barrier, "
                f"layer={layer})"
            )
        if self.provenance is None:
            object.__setattr__(self, "provenance", self.barrier.provenance)

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        assert self.layer is not None  # set when made
        return (Site(self.layer, self.barrier.kind),)

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return (self.barrier.width,)

    @override
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        del site
        frame = self._frame(torch.empty(0, device=device, dtype=dtype))
        return lambda x: move_in_frame(frame, x, lambda y: self._move(frame, y))

    def flow(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The steered activations, of the shape and dtype of `x`: `transform` under its own name.

        Raises:
            ValueError: If the activations have another width than the barrier.
        """
        return self.transform(x)

    @override
    def without_provenance(self: AnyGuided) -> AnyGuided:
        return replace(self, barrier=replace(self.barrier, provenance=None), provenance=None)

    @abstractmethod
    def _frame(self, like: Tensor) -> Frame:
        """The coordinates to move in, in the device and dtype of `like`."""

    @abstractmethod
    def _move(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where coordinates go, strength included."""


def check_below_supremum(barrier: Barrier, wanted: float | int) -> None:
    """Raise a ValueError that says sup h, where it is known and not above what is wanted."""
    if not isfinite(wanted):
        raise ValueError(f"h = {wanted}: expected a finite number of nats")
    if isinstance(barrier, PolynomialBarrier):
        most = barrier.supremum().value
        if not wanted < most:
            raise ValueError(
                f"h = {wanted:.4g} is out of reach: sup h = {most:.4g}, whatever the activation"
            )


def target_in_nats(
    barrier: Barrier,
    h: float | int | None,
    probability: float | int | None,
    quantile: float | int | None,
    activations: LayerActivations | None,
) -> float:
    """The target of h in nats, which is given in one of the three ways of `ODESteer.to_target`."""
    one = [h, probability, quantile].count(None) == 2
    if not one or (quantile is not None and activations is None):
        raise ValueError(
            "expected one target: h, probability, or quantile with the activations it is of"
        )
    if h is not None:
        if activations is not None:
            raise ValueError("h is a target in nats by itself: expected no activations with it")
        return float(h)
    if probability is not None:
        target = _of_probability(barrier, float(probability), activations)
    else:
        assert quantile is not None and activations is not None  # noqa: PT018 - for the reader
        if not 0 <= quantile <= 1:
            raise ValueError(f"quantile {quantile}: expected 0 to 1")
        target = float(torch.quantile(barrier.h(activations.desired.double()), float(quantile)))
    if activations is not None and bool((barrier.h(activations.undesired) >= target).all()):
        raise ValueError(
            f"every undesired one of {len(activations.undesired)} activations has h >= "
            f"{target:.4g} already, so that steering to it would do nothing: expected a higher "
            "target, or a barrier that tells the classes apart"
        )
    return target


def _of_probability(
    barrier: Barrier, probability: float, activations: LayerActivations | None
) -> float:
    """The h, in nats of the barrier as it is, at which an activation is desired so probably."""
    if not 0 < probability < 1:
        raise ValueError(f"probability {probability}: expected between 0 and 1")
    odds = log(probability / (1 - probability))
    if activations is not None:
        return odds * float(barrier.calibrated(activations).settings["temperature"])
    if "temperature" not in barrier.settings:
        raise ValueError(
            f"probability {probability}: expected activations that the barrier was not fitted on, "
            "to calibrate it, as h of a fit is no log-odds by itself: to_target(probability=..., "
            "activations=dev.at(layer)), or barrier.calibrated(dev.at(layer))"
        )
    return odds


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierPush(Guided):
    """a + strength * u with a shortest u such that h(a + u) = margin.

    Where h >= margin nothing is done, bit by bit. One push u = (margin - h) g / |g|^2 along the
    gradient g misses the margin, so pushes are repeated from where the last one led, each beside
    a slide along the level set back towards a; the last ones are pushes alone, which settle h. For
    a margin near sup h the slides may not have settled by then, and u is longer than it need be;
    and an activation that climbs a lower maximum of h stays below the margin: look at h of
    `flow(x)`. Where h knows directions alone, the end is shorter than a, |a| times the cosine of
    the turn; `ODESteer.to_target` keeps |a|.

    Attributes:
        margin: h to reach, in nats; at or below every activation's own it is the identity.

    Example:
        >>> method = ls.steering.BarrierPush(barrier, layer=3, margin=0.5)
    """

    margin: Number = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_below_supremum(self.barrier, self.margin)

    def _frame(self, like: Tensor) -> Frame:
        return frame_of(self.barrier, like, tangent=False)

    def _move(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        inside, end = (frame.h(y) >= self.margin)[:, None], y
        for i in range(_SLIDES + _RISES):
            g, far = frame.grad(end), _FAR * size_of(end)
            square = size_of(g).square()
            rise = g * ((self.margin - frame.h(end)[:, None]) / square)
            back = y - end
            slide = _SHARE * torch.addcmul(back, g, dot(back, g) / square, value=-1)
            end = end + _at_most(rise, far)
            if i < _SLIDES:
                end = end + _at_most(slide, far)
        return torch.where(inside, y, y + self.strength * (end - y))


def _at_most(step: Float[Tensor, "n d"], far: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
    return step * (far / size_of(step)).clamp_max(1.0)
