"""What transport maps share: strength is the share of the way from an activation to its image."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._axes import Activation
from lens_steer.steering.base import SiteMap


@dataclass(frozen=True, eq=False, repr=False)
class TransportMap(SiteMap):
    """x becomes x + strength * (T(x) - x); strength 1 is the whole way."""

    @abstractmethod
    def _step(self, x: Activation) -> Activation:
        """T(x) - x, in the activation's own dtype."""

    def vector_field(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Displacement per unit of strength, T(x) - x, of activations `[... *site]`.

        Raises:
            ValueError: As `transform`.
        """
        self._check_shape(x)
        rows = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, *self.site_shape)
        return self._step(rows).reshape(x.shape).to(x.dtype)

    def _moved(self, x: Activation) -> Activation:
        return x + self.strength * self._step(x)
