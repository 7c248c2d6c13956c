"""Adding fixed vectors, and the algebra of such methods: `2 * a - b` is a method too."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Accepts, shortened
from lens_steer.artifacts import savable
from lens_steer.models import check_one_model
from lens_steer.reports import few
from lens_steer.sites import Site
from lens_steer.steering.base.displacement import Displacement, Push
from lens_steer.steering.base.intervention import Intervention


@dataclass(frozen=True, eq=False, repr=False)
class VectorMethod(Displacement):
    """x becomes x + strength * vector, at each of its sites.

    Vectors are values: `2 * a - b`, `a / 2` and `sum([a, b])` are new methods, `a + b` at different
    layers steers at both. `2 * a` and `-a` keep the strength of `a`; `a + b` adds what the two do
    at their strengths, and has strength 1.

    Example:
        >>> caa, repe = ls.CAA.fit(resid.at(layer=3)), ls.RepE.fit(resid.at(layer=3))
        >>> method = caa + 0.5 * repe
    """

    @abstractmethod
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        """Each site with what is added there at strength 1, in units of the activation."""

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        return tuple(dict(self.items())[site].shape)

    @override
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        vector = dict(self.items())[site].to(device, dtype)
        return lambda _: vector

    def _terms(self) -> tuple[tuple[float, str], ...]:
        """What a sum with it is made of: a factor, and the class of a method."""
        return ((1.0, type(self).__name__),)

    __array_ufunc__ = None  # numpy's numbers on the left leave the product to us

    def __mul__(self, factor: float | int) -> "Additive":
        if isinstance(factor, Tensor):
            raise TypeError(f"got {shortened(factor)} as a factor, expected a number: x.item()")
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        sites, vectors = zip(*self.items(), strict=True)
        return Additive(
            sites,
            tuple(float(factor) * vector for vector in vectors),
            made_of=_scaled(float(factor), self._terms()),
            strength=self.strength,
            provenance=self.provenance,
        )

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | int) -> "Additive":
        if isinstance(divisor, bool) or not isinstance(divisor, Real) or divisor == 0:
            raise TypeError(f"got {divisor!r} to divide by, expected a number that is not 0")
        return (1.0 / float(divisor)) * self

    def __neg__(self) -> "Additive":
        return -1.0 * self

    def __add__(self, other: "VectorMethod") -> "Additive":
        if not isinstance(other, VectorMethod):
            return _refused(other)
        check_one_model(self.provenance, other.provenance, "cannot add vectors of two models")
        total = {site: self.strength * vector for site, vector in self.items()}
        for site, vector in other.items():
            if site in total and total[site].shape != vector.shape:
                shapes = f"{tuple(total[site].shape)} and {tuple(vector.shape)}"
                raise ValueError(f"cannot add vectors of shapes {shapes} at {site.hook_name}")
            total[site] = total.get(site, torch.zeros_like(vector)) + other.strength * vector
        return Additive(
            tuple(total),
            tuple(total.values()),
            made_of=_scaled(self.strength, self._terms()) + _scaled(other.strength, other._terms()),
            provenance=self.provenance or other.provenance,
        )

    def __sub__(self, other: "VectorMethod") -> "Additive":
        if not isinstance(other, VectorMethod):
            return _refused(other)
        return self + -other

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 0:  # where `sum([a, b])` begins
            return self
        return _refused(other)

    def __rsub__(self, other: Any) -> Any:
        return _refused(other)


def _scaled(factor: float, terms: tuple[tuple[float, str], ...]) -> tuple[tuple[float, str], ...]:
    return tuple((factor * multiple, name) for multiple, name in terms)


def _refused(other: Any) -> Any:
    """A TypeError that says what to write for a method that is no vector, a number or a tensor."""
    if isinstance(other, Intervention):
        raise TypeError(
            f"a {type(other).__name__} adds no fixed vector, so there is no sum with it: steer by "
            "both, steered(model, one, other)"
        )
    if isinstance(other, Real | Tensor):
        raise TypeError(
            f"got {shortened(other)} to add to a method, expected another method of vectors: "
            "2 * a scales its vectors, a.with_strength(2) its strength, and "
            "ls.steering.Additive((ls.Site(3),), (vector,)) makes a method of a vector"
        )
    return NotImplemented


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Additive(VectorMethod):
    """Adds vectors of your own making: x becomes x + strength * vector, at each of its sites.

    Attributes:
        at: The sites, each once.
        vectors: One per site, in the units of the activation.
        made_of: Of a sum or a multiple of methods: the factor and the class of each of them.

    Example:
        >>> ls.steering.Additive((ls.Site(3),), (torch.ones(model.cfg.d_model),))
    """

    at: Annotated[tuple[Site, ...], Accepts(Sequence[Site])] = field(repr=False)
    vectors: tuple[Float[Tensor, "..."], ...] = field(repr=False)
    made_of: tuple[tuple[float, str], ...] = field(
        default=(), kw_only=True, repr=False, metadata={"saved_if_set": True}
    )

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
    @override
    def sites(self) -> tuple[Site, ...]:
        return self.at

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        return list(zip(self.at, self.vectors, strict=True))

    @override
    def _terms(self) -> tuple[tuple[float, str], ...]:
        return self.made_of or super()._terms()

    def _summary(self) -> list[str]:
        terms = [name if factor == 1 else f"{factor:g} * {name}" for factor, name in self.made_of]
        made_of = [f"made of {' and '.join(dict.fromkeys(terms))}"] if terms else []
        return [
            *made_of,
            "|v|=" + few([v.norm().item() for v in self.vectors]).replace(" ", "/"),
        ]
