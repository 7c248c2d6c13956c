"""Methods that move each activation by a function of that activation alone."""

from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

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
    @override
    def sites(self) -> tuple[Site, ...]:
        return (self.at,)


@dataclass(frozen=True, eq=False, repr=False)
class ActivationMap(Intervention):
    """Moves each activation, at each of its sites, by a function of that activation alone.

    `transform` needs no model: it is what the hook does.
    """

    @abstractmethod
    def shape_at(self, site: Site) -> tuple[int, ...]:
        """The shape of one activation at a site: (d,), or (head, d_head)."""

    @abstractmethod
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        """Maps activations `[n *site]` of a dtype, float32 or finer, to the steered ones."""

    @override
    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        where = chosen_site(self, site)
        rows = self._rows(x, where)
        if self.strength == 0:
            return x
        return self._map(where, rows.device, rows.dtype)(rows).reshape(x.shape).to(x.dtype)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        return {site: self._edit(model, site) for site in self.sites}

    def _rows(self, x: Float[Tensor, "*batch"], site: Site) -> Activation:
        """Activations of a site, checked, as `[n *site]` of float32 or finer."""
        shape = self.shape_at(site)
        check_activation_shape(x, site, shape)
        return as_rows(x, shape)

    def _edit(self, model: SteerableModel, site: Site) -> Edit:
        check_site(model, site, self.shape_at(site))
        place = working_place(model, site.layer)
        move = self._map(site, **place)

        def steer(x: Activation) -> Activation:
            return move(x.to(place["dtype"])).to(x.dtype)

        return steer


def chosen_site(method: Intervention, site: Site | None) -> Site:
    """The site that is asked for; it may be left out (None) by a method of one site.

    Raises:
        ValueError: If the method does not steer there, or steers at several sites and none is
            asked for.
    """
    sites = method.sites
    if site is None and len(sites) == 1:
        return sites[0]
    if site is None or site not in sites:
        got = "none given" if site is None else site.hook_name
        names = ", ".join(one.hook_name for one in sites)
        raise ValueError(f"site: {got}, expected one of {names}")
    return site


def on_device(method: AnyIntervention, device: torch.device) -> AnyIntervention:
    """The method with its tensors on a device, so that its hooks need not move them."""
    moved = copy(method)  # not made anew: its checks would wait for the device
    for f in fields(method):
        value = getattr(method, f.name)
        if isinstance(value, Tensor):
            object.__setattr__(moved, f.name, value.to(device))
    return moved


def as_rows(x: Float[Tensor, "*batch"], shape: tuple[int, ...]) -> Activation:
    """Activations `[... *site]` as rows `[n *site]`, in float32 or finer."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, *shape)


def check_activation_shape(x: Float[Tensor, "*batch"], site: Site, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless each activation has a shape."""
    rank = len(shape)
    if x.ndim < rank or tuple(x.shape[x.ndim - rank :]) != shape:
        raise ValueError(
            f"got activations of shape {tuple(x.shape)}, expected [..., "
            f"{', '.join(map(str, shape))}]: those of {site.hook_name}"
        )


def check_site(model: SteerableModel, site: Site, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless the model has the site, with activations of a shape."""
    hook_point(model, site)
    held = site_shape(model, site.kind)
    if held != shape:
        raise ValueError(
            f"made for activations of shape {shape}, but this model holds {held} at "
            f"{site.hook_name}"
        )
