"""Several barriers as one: all of them at once."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import NonNegative, Number
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier, Values, Vectors
from lens_steer.models import check_one_model


@savable
@dataclass(frozen=True, eq=False, repr=False)
class JointBarrier(Barrier):
    """h = -t log sum_i exp(-h_i / t): about the least of the h_i, and never above it.

    To steer along it is to seek several behaviours at once. It lies at most t log n below the
    least, so h >= 0 implies that every h_i is at least 0. Its gradient is the mean of theirs,
    weighted towards the least.

    Attributes:
        barriers: Of one width; fitted at one layer, on one kind of activation.
        temperature: t in nats, > 0; small is closer to the least and turns more sharply.

    Example:
        >>> polite, short = (ls.PolynomialBarrier.fit(acts.at(layer=3)) for acts in (one, other))
        >>> both = ls.barriers.JointBarrier.of(polite, short, temperature=0.5)
        >>> method = ls.ODESteer(both, layer=3, angle=0.5)
    """

    barriers: tuple[Barrier, ...]
    temperature: NonNegative = field(default=1.0)

    def __post_init__(self) -> None:
        if not self.barriers:
            raise ValueError("got no barriers: expected at least one")
        places = {(b.layer, b.kind, b.width) for b in self.barriers}
        if len(places) > 1:
            listed = ", ".join(map(repr, self.barriers))
            raise ValueError(f"got {listed}: expected barriers of one site and width")
        if not 0 < self.temperature < torch.inf:
            raise ValueError(f"temperature {self.temperature}: expected nats above 0")
        first = self.barriers[0]
        object.__setattr__(self, "layer", first.layer)
        object.__setattr__(self, "kind", first.kind)
        sources = [b.provenance for b in self.barriers if b.provenance is not None]
        for other in sources[1:]:
            check_one_model(sources[0], other, "cannot join barriers of two models")
        super().__post_init__()

    @classmethod
    def of(cls, *barriers: Barrier, temperature: NonNegative = 1.0) -> "JointBarrier":
        """The joint barrier of some barriers, with the provenance of the first that has one.

        Raises:
            ValueError: If there is none, they differ in site, width or model, or the temperature
                is not above 0.
        """
        source = next((b.provenance for b in barriers if b.provenance is not None), None)
        return cls(barriers, temperature, provenance=source)

    @property
    @override
    def width(self) -> int:
        return self.barriers[0].width

    def scaled(self, factor: Number) -> "JointBarrier":
        """The barrier factor * h for a factor above 0; 1 is the same."""
        parts = tuple(b.scaled(factor) for b in self.barriers)
        return replace(self, barriers=parts, temperature=factor * self.temperature)

    @override
    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "JointBarrier":
        moved = tuple(b.to(device=device, dtype=dtype) for b in self.barriers)
        return replace(self, barriers=moved)

    @override
    def _checked(self, x: Vectors) -> Vectors:
        for barrier in self.barriers:
            barrier._checked(x)
        return super()._checked(x)

    @override
    def unchecked_h(self, x: Vectors) -> Values:
        return -self.temperature * torch.logsumexp(-self._values(x) / self.temperature, dim=0)

    @override
    def unchecked_grad(self, x: Vectors) -> Vectors:
        grads = torch.stack([b.unchecked_grad(x) for b in self.barriers])
        return (self._weights(x) * grads).sum(dim=0)

    @override
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        weights = self._weights(x)
        grads = torch.stack([b.unchecked_grad(x) for b in self.barriers])
        products = torch.stack([b.unchecked_hessian_vector(x, v) for b in self.barriers])
        along = (grads * v).sum(dim=-1, keepdim=True)
        mean, mean_along = (weights * grads).sum(dim=0), (weights * along).sum(dim=0)
        covariance = (weights * along * grads).sum(dim=0) - mean_along * mean
        return (weights * products).sum(dim=0) - covariance / self.temperature

    def _values(self, x: Vectors) -> Float[Tensor, "barrier ..."]:
        return torch.stack([b.unchecked_h(x) for b in self.barriers])

    def _weights(self, x: Vectors) -> Float[Tensor, "barrier ... 1"]:
        return torch.softmax(-self._values(x) / self.temperature, dim=0).unsqueeze(-1)
