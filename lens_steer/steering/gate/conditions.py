"""Scores of a prompt's activation: small values that a threshold is set on."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.models import Provenance

Vectors = Float[Tensor, "... d"]
Scores = Float[Tensor, "..."]


@runtime_checkable
class Condition(Protocol):
    """What a `Gate` asks of a prompt's activation."""

    @property
    def width(self) -> int:
        """Entries of an activation."""
        ...

    def score(self, x: Vectors) -> Scores:
        """One number for each activation."""
        ...


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CosineCondition:
    """cos(x, tanh(proj_c x)): how far x lies along the condition direction c, either way.

    proj_c x = (c . x) c / |c|^2, and tanh is of every entry; the length and the sign of c do not
    matter. In [-1, 1]; 0 where x has nothing along c. (arXiv:2409.05907)

    Attributes:
        direction: c.
    """

    direction: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        if not bool(self.direction.isfinite().all()) or not bool(self.direction.any()):
            raise ValueError("the condition direction is 0 or not finite: it shows no way")

    def __repr__(self) -> str:
        return f"CosineCondition(d = {self.width})"

    @property
    def width(self) -> int:
        """See `Condition`."""
        return len(self.direction)

    def score(self, x: Vectors) -> Scores:
        """See `Condition`; half precision is computed in float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        unit = self.direction.to(x)
        unit = unit / unit.norm()
        image = torch.tanh((x @ unit)[..., None] * unit)
        sizes = x.norm(dim=-1) * image.norm(dim=-1)
        return torch.where(sizes > 0, (x * image).sum(dim=-1) / sizes, 0.0)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierCondition:
    """h(x) of a barrier, in nats: the threshold is its margin.

    Attributes:
        barrier: Of the activations that the gate reads, such as a `LinearBarrier`.
    """

    barrier: Barrier

    def __repr__(self) -> str:
        return f"BarrierCondition({self.barrier!r})"

    @property
    def provenance(self) -> Provenance | None:
        """The barrier's: a `Gate` refuses another model."""
        return self.barrier.provenance

    def without_provenance(self) -> "BarrierCondition":
        """The same condition without the record of its model, to be used on another one."""
        return BarrierCondition(replace(self.barrier, provenance=None))

    @property
    def width(self) -> int:
        """See `Condition`."""
        return self.barrier.width

    def score(self, x: Vectors) -> Scores:
        """See `Condition`."""
        return self.barrier.h(x)
