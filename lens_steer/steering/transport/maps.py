"""What transport maps share: strength is the share of the way from an activation to its image."""

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.sites import Site
from lens_steer.steering.base import Displacement, OneSite, Push, placed


@dataclass(frozen=True, eq=False, repr=False)
class TransportMap(OneSite, Displacement):
    """x becomes x + strength * (T(x) - x); strength 1 is the whole way.

    Attributes:
        source: Mean of the undesired.
        target: Mean of the desired: T(source).
    """

    source: Float[Tensor, "*site"] = field(repr=False)
    target: Float[Tensor, "*site"] = field(repr=False)

    def shape_at(self, site: Site) -> tuple[int, ...]:
        """See `Displacement`."""
        del site
        return tuple(self.source.shape)

    @abstractmethod
    def _step(self, x: Activation) -> Activation:
        """T(x) - x, in the activation's own dtype."""

    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        del site, dtype
        return placed(self, device)._step
