"""Adding a fixed vector at each site, and the algebra of such methods."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.models import check_one_model
from lens_steer.sites import Site
from lens_steer.steering.base import Displacement, Push


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Additive(Displacement):
    """x becomes x + strength * vector, at each of its sites.

    Vectors are values: `2 * a - b` is a new method, `a + b` at different layers steers at both.

    Attributes:
        at: The sites, each once.
        vectors: One per site, in the units of the activation.
    """

    at: tuple[Site, ...] = field(repr=False)
    vectors: tuple[Float[Tensor, "..."], ...] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.at or len(self.at) != len(self.vectors) or len(set(self.at)) != len(self.at):
            raise ValueError(
                f"got {len(self.vectors)} vectors for the sites {self.at}: expected one for each, "
                "each once"
            )
        for site, vector in zip(self.at, self.vectors, strict=True):
            if not bool(torch.isfinite(vector).all()):
                raise ValueError(f"the vector for {site.hook_name} is not finite")
        order = sorted(range(len(self.at)), key=lambda i: self.at[i])
        object.__setattr__(self, "at", tuple(self.at[i] for i in order))
        object.__setattr__(self, "vectors", tuple(self.vectors[i] for i in order))

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where it adds."""
        return self.at

    def shape_at(self, site: Site) -> tuple[int, ...]:
        """Of the vector there."""
        return tuple(dict(self.items())[site].shape)

    def items(self) -> Sequence[tuple[Site, Tensor]]:
        """Sites with their vectors."""
        return list(zip(self.at, self.vectors, strict=True))

    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        vector = dict(self.items())[site].to(device, dtype)
        return lambda _: vector

    __array_ufunc__ = None  # numpy's numbers on the left leave the product to us

    def __mul__(self, factor: float | int) -> "Additive":
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        scaled = tuple(float(factor) * vector for vector in self.vectors)
        return Additive(self.at, scaled, strength=self.strength, provenance=self.provenance)

    __rmul__ = __mul__

    def __neg__(self) -> "Additive":
        return -1.0 * self

    def __add__(self, other: "Additive") -> "Additive":
        if not isinstance(other, Additive):
            return NotImplemented
        check_one_model(self.provenance, other.provenance, "cannot add vectors of two models")
        total = {site: self.strength * vector for site, vector in self.items()}
        for site, vector in other.items():
            if site in total and total[site].shape != vector.shape:
                shapes = f"{tuple(total[site].shape)} and {tuple(vector.shape)}"
                raise ValueError(f"cannot add vectors of shapes {shapes} at {site.hook_name}")
            total[site] = total.get(site, torch.zeros_like(vector)) + other.strength * vector
        source = self.provenance or other.provenance
        return Additive(tuple(total), tuple(total.values()), provenance=source)

    def __sub__(self, other: "Additive") -> "Additive":
        if not isinstance(other, Additive):
            return NotImplemented
        return self + -other

    def _summary(self) -> list[str]:
        return ["|v|=" + "/".join(f"{vector.norm().item():.3g}" for vector in self.vectors)]
