"""Adding a fixed vector: CAA's difference of class means, and a random one of the same size.

Source: Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition"
(arXiv:2312.06681): the mean difference of the activations of desired and undesired continuations is
added to the residual stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._axes import Activation
from lens_steer.activations import LayerActivations
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site, hook_point, site_shape
from lens_steer.steering.base import Edit, Intervention


@dataclass(frozen=True, eq=False, repr=False)
class Additive(Intervention):
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

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`."""
        return {site: self._edit(model, site, vector) for site, vector in self.items()}

    def items(self) -> Sequence[tuple[Site, Tensor]]:
        """Sites with their vectors."""
        return list(zip(self.at, self.vectors, strict=True))

    def _edit(self, model: SteerableModel, site: Site, vector: Tensor) -> Edit:
        hook_point(model, site)
        if tuple(vector.shape) != site_shape(model, site.kind):
            raise ValueError(
                f"the vector for {site.hook_name} has shape {tuple(vector.shape)}, but this model "
                "holds "
                f"{site_shape(model, site.kind)} there"
            )
        step = self.strength * vector.to(**working_place(model, site.layer))

        def add(x: Activation) -> Activation:
            return (x + step).to(x.dtype)

        return add

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
        if self.provenance and other.provenance:
            differences = self.provenance.fingerprint.differences(other.provenance.fingerprint)
            if differences:
                raise ValueError(f"cannot add vectors of two models ({'; '.join(differences)})")
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


@dataclass(frozen=True, eq=False, repr=False)
class CAA(Additive):
    """Contrastive activation addition: the vector is mean(desired) - mean(undesired).

    It has no knob of its own; `strength` 1 adds the whole difference.
    """

    @classmethod
    def fit(
        cls,
        desired: LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: int | None = None,
    ) -> "CAA":
        """The method of one layer's activations; add several for several layers.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.

        Raises:
            ValueError: If the two class means are equal, or the kind cannot be edited.
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site, direction = Site(activations.layer, activations.kind), activations.direction
        if not site.kind.editable:
            raise ValueError(
                f"kind {site.kind.value!r} can be read but not edited: capture 'neuron' to steer"
            )
        if not bool(direction.any()):
            raise ValueError(
                f"the class means at {site.hook_name} are equal: choose another layer or read "
                "position"
            )
        return cls((site,), (direction,), provenance=activations.provenance)


@dataclass(frozen=True, eq=False, repr=False)
class Random(Additive):
    """A random direction with the norm of another method's vector: what any push of that size does.

    Attributes:
        seed: Of the draw.
    """

    seed: int = field(kw_only=True)

    @classmethod
    def like(cls, method: Additive, *, seed: int) -> "Random":
        """Directions drawn evenly from the sphere, at the sites and with the norms of `method`."""
        generator = torch.Generator().manual_seed(seed)
        vectors = []
        for vector in method.vectors:
            drawn = torch.randn(vector.shape, generator=generator)
            vectors.append(drawn * (vector.float().norm().cpu() / drawn.norm()))
        return cls(
            method.at,
            tuple(vectors),
            seed=seed,
            strength=method.strength,
            provenance=method.provenance,
        )

    @classmethod
    def fit(cls, activations: LayerActivations, *, seed: int) -> "Random":
        """The random counterpart of `CAA.fit(activations)`."""
        return cls.like(CAA.fit(activations), seed=seed)
