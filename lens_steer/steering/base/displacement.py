"""Methods that push: what they add at a site is in proportion to the strength."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.axes import Activation
from lens_steer.sites import Site
from lens_steer.steering.base.activation_map import ActivationMap, chosen_site

Push = Callable[[Activation], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Displacement(ActivationMap):
    """x becomes x + strength * push(x), at each of its sites."""

    @abstractmethod
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        """What is added to `[n *site]` at strength 1: of that shape, or one vector for all."""

    def vector_field(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        """What is added to each activation at strength 1, of the shape and dtype of `x`.

        Args:
            x: Activations `[... *site]`.
            site: Where they are from; a method of one site may leave it out.

        Raises:
            ValueError: If the method does not steer there, or is for activations of another shape.
        """
        where = chosen_site(self, site)
        rows = self._rows(x, where)
        push = self._push(where, rows.device, rows.dtype)(rows)
        return push.expand(rows.shape).reshape(x.shape).to(x.dtype, copy=True)

    @override
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        push, strength = self._push(site, device, dtype), self.strength
        return lambda x: x + strength * push(x)
