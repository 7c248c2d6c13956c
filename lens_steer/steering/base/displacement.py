"""Methods that push: what they add at a site is in proportion to the strength."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site
from lens_steer.steering.base.intervention import Edit, Intervention
from lens_steer.steering.base.site_map import OneSite, check_shape, check_site, rows_of

Push = Callable[[Activation], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Displacement(Intervention):
    """x becomes x + strength * push(x), at each of its sites."""

    @abstractmethod
    def shape_at(self, site: Site) -> tuple[int, ...]:
        """What one position holds there: (d,), or (head, d_head)."""

    @abstractmethod
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        """What is added to `[n *site]` at strength 1: of that shape, or one vector for all."""

    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        """The steered activations, in the dtype that came.

        Args:
            x: Activations of any leading shape, `[... *site]`.
            site: Where they are from; may be left out by a method of one site.

        Raises:
            ValueError: If it does not steer there, or they have another shape than it was made of.
        """
        where = self._where(site)
        check_shape(x, where, self.shape_at(where))
        if self.strength == 0:
            return x
        rows = rows_of(x, self.shape_at(where))
        push = self._push(where, rows.device, rows.dtype)
        return (rows + self.strength * push(rows)).reshape(x.shape).to(x.dtype)

    def vector_field(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        """What is added to each activation at strength 1, of their shape and dtype.

        Args:
            x: As `transform`.
            site: As `transform`.

        Raises:
            ValueError: As `transform`.
        """
        where = self._where(site)
        check_shape(x, where, self.shape_at(where))
        rows = rows_of(x, self.shape_at(where))
        push = self._push(where, rows.device, rows.dtype)(rows)
        return push.expand(rows.shape).reshape(x.shape).to(x.dtype, copy=True)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`."""
        return {site: self._edit(model, site) for site in self.sites}

    def _edit(self, model: SteerableModel, site: Site) -> Edit:
        check_site(model, site, self.shape_at(site))
        place = working_place(model, site.layer)
        push, strength, dtype = self._push(site, **place), self.strength, place["dtype"]

        def steer(x: Activation) -> Activation:
            y = x.to(dtype)
            return (y + strength * push(y)).to(x.dtype)

        return steer

    def _where(self, site: Site | None) -> Site:
        if site is None and len(self.sites) == 1:
            return self.sites[0]
        if site not in self.sites:
            given = "none given" if site is None else site.hook_name
            names = ", ".join(each.hook_name for each in self.sites)
            raise ValueError(f"site: {given}, expected one of {names}")
        return site


@dataclass(frozen=True, eq=False, repr=False)
class SiteDisplacement(OneSite, Displacement):
    """A push at one site."""


@dataclass(frozen=True, eq=False, repr=False)
class Shift(SiteDisplacement):
    """One vector, added to whatever is there."""

    @property
    @abstractmethod
    def step(self) -> Float[Tensor, "*site"]:
        """What is added at strength 1, in units of the activation."""

    def shape_at(self, site: Site) -> tuple[int, ...]:
        """See `Displacement`."""
        del site
        return tuple(self.step.shape)

    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        del site
        vector = self.step.to(device, dtype)
        return lambda _: vector
