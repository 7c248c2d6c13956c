"""What methods that are guided by a barrier share: its site and its coordinates."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.barriers import Barrier, PolynomialBarrier
from lens_steer.barriers.flows import Frame, move_in_frame
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site, hook_point, site_shape
from lens_steer.steering.base import Edit, Intervention

AnyGuided = TypeVar("AnyGuided", bound="Guided")


@dataclass(frozen=True, eq=False, repr=False)
class Guided(Intervention):
    """Moves each activation by what a barrier says of it, and of it alone.

    Attributes:
        barrier: h; at least 0 where an activation looks desired.
        layer: Block behind which it steers; None is where the barrier was fitted.
    """

    barrier: Barrier
    layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.barrier, Barrier):
            raise ValueError(f"got {self.barrier!r}, expected a barrier: PolynomialBarrier.fit()")
        layer = self.barrier.layer if self.layer is None else self.layer
        object.__setattr__(self, "layer", Site(layer).layer)
        if self.provenance is None:
            object.__setattr__(self, "provenance", self.barrier.provenance)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The barrier's kind at the layer."""
        assert self.layer is not None  # set when made
        return (Site(self.layer, self.barrier.kind),)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`."""
        (site,) = self.sites
        hook_point(model, site)
        if site_shape(model, site.kind) != (self.barrier.width,):
            raise ValueError(
                f"the barrier is of {self.barrier.width} entries, but this model holds "
                f"{site_shape(model, site.kind)} at {site.hook_name}"
            )
        place = working_place(model, site.layer)
        frame = self._frame(torch.empty(0, **place))

        def steer(x: Activation) -> Activation:
            return self._steered(frame, x.to(place["dtype"])).to(x.dtype)

        return {site: steer}

    def flow(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The steered activations, in the dtype that came: what a hook does, without a model.

        Raises:
            ValueError: If the activations have another width than the barrier.
        """
        y = self._checked(x)
        return self._steered(self._frame(y), y).to(x.dtype)

    def without_provenance(self: AnyGuided) -> AnyGuided:
        """The same method without the record of its model, to be used on another one."""
        return replace(self, barrier=replace(self.barrier, provenance=None), provenance=None)

    @abstractmethod
    def _frame(self, like: Tensor) -> Frame:
        """The coordinates to move in, in the device and dtype of `like`."""

    @abstractmethod
    def _move(self, frame: Frame, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where coordinates go, strength included."""

    def _steered(self, frame: Frame, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return move_in_frame(frame, x, lambda y: self._move(frame, y))

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.barrier.width:
            shapes = f"{tuple(x.shape)} for a barrier of {self.barrier.width} entries"
            raise ValueError(f"got activations of shape {shapes}: expected [..., d]")
        return x.to(torch.promote_types(x.dtype, torch.float32))


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
