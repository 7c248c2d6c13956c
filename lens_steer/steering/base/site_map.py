"""Methods that are one pure function of the activations at one site."""

from abc import abstractmethod
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site, hook_point, site_shape
from lens_steer.steering.base.intervention import AnyIntervention, Edit, Intervention


@dataclass(frozen=True, eq=False, repr=False)
class OneSite(Intervention):
    """A method of one site.

    Attributes:
        at: Where.
    """

    at: Site

    @property
    def sites(self) -> tuple[Site, ...]:
        """The one site."""
        return (self.at,)


@dataclass(frozen=True, eq=False, repr=False)
class SiteMap(OneSite):
    """Moves each activation at one site by a function of that activation alone.

    `transform` needs no model: it is what the hook does.
    """

    @property
    @abstractmethod
    def site_shape(self) -> tuple[int, ...]:
        """What one position holds: (d,), or (head, d_head)."""

    @abstractmethod
    def _moved(self, x: Activation) -> Activation:
        """Where activations go, strength included, in their own dtype of float32 or finer."""

    def transform(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The steered activations, in the dtype that came.

        Args:
            x: Activations of any leading shape, `[... *site]`.

        Raises:
            ValueError: If they have another shape than those the method was made of.
        """
        self._check_shape(x)
        if self.strength == 0:
            return x
        rows = rows_of(x, self.site_shape)
        return self._moved(rows).reshape(x.shape).to(x.dtype)

    def _check_shape(self, x: Float[Tensor, "*batch"]) -> None:
        check_shape(x, self.at, self.site_shape)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`."""
        check_site(model, self.at, self.site_shape)
        place = working_place(model, self.at.layer)
        near = placed(self, place["device"])

        def steer(x: Activation) -> Activation:
            return near._moved(x.to(place["dtype"])).to(x.dtype)

        return {self.at: steer}


def placed(method: AnyIntervention, device: torch.device) -> AnyIntervention:
    """The method with its tensors on a device, so that a hook moves none."""
    held = {f.name: getattr(method, f.name) for f in fields(method)}
    moved = {n: t.to(device) for n, t in held.items() if isinstance(t, Tensor)}
    return replace(method, **moved)


def rows_of(x: Float[Tensor, "*batch"], shape: tuple[int, ...]) -> Activation:
    """Activations that each have a shape, as `[n *site]`, float32 or finer."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, *shape)


def check_shape(x: Float[Tensor, "*batch"], site: Site, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless each activation has that shape."""
    rank = len(shape)
    if x.ndim < rank or tuple(x.shape[x.ndim - rank :]) != shape:
        raise ValueError(
            f"got activations of shape {tuple(x.shape)}, expected [..., "
            f"{', '.join(map(str, shape))}]: those of {site.hook_name}"
        )


def check_site(model: SteerableModel, site: Site, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless the model has the site and holds `shape` there."""
    hook_point(model, site)
    held = site_shape(model, site.kind)
    if held != shape:
        raise ValueError(
            f"made for activations of shape {shape}, but this model holds {held} at "
            f"{site.hook_name}"
        )
