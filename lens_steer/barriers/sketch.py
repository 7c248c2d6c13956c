"""The paper's random features: a count sketch of the polynomial kernel.

Source: Pham and Pagh 2013 (Tensor Sketch), as used by arXiv:2602.17560.
"""

from dataclasses import dataclass
from functools import reduce
from operator import mul

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lens_steer.arguments import Count, Number, Seed
from lens_steer.artifacts import savable

_NUMBERS = 2**19  # of a sketch held at a time: what a processor's cache holds is twice as fast


@savable
@dataclass(frozen=True, eq=False)
class CountSketch:
    """phi(x) = the circular convolution of D count sketches of z = [sqrt(gamma) x; sqrt(coef0)].

    E[phi(x) . phi(y)] = (gamma x . y + coef0)^D over the draw of buckets and signs.

    Attributes:
        buckets: H_r(j): where entry j of z goes in sketch r, below `n_components`.
        signs: 1 or -1.
        n_components: Entries of phi.
        gamma: Of the kernel.
        coef0: Of the kernel.
    """

    buckets: Int[Tensor, "degree d_and_bias"]
    signs: Float[Tensor, "degree d_and_bias"]
    n_components: Count
    gamma: Number
    coef0: Number

    def __post_init__(self) -> None:
        infinite = float("inf")
        if not (0 < self.gamma < infinite and 0 <= self.coef0 < infinite):
            raise ValueError(
                f"gamma {self.gamma!r} and coef0 {self.coef0!r}: expected > 0 and >= 0"
            )
        if self.buckets.shape != self.signs.shape or self.buckets.numel() == 0:
            got = f"{tuple(self.buckets.shape)} and {tuple(self.signs.shape)}"
            raise ValueError(f"buckets and signs of shapes {got}: expected (degree, d + 1) twice")
        if not bool(((self.buckets >= 0) & (self.buckets < self.n_components)).all()):
            raise ValueError(f"a bucket is none of 0 to {self.n_components - 1}")

    def __repr__(self) -> str:
        kernel = f"({self.gamma:g} x . y + {self.coef0:g})^{self.degree}"
        return f"CountSketch(d = {self.width}, {self.n_components} components of {kernel})"

    @property
    def degree(self) -> int:
        """The exponent D of the kernel."""
        return len(self.buckets)

    @property
    def width(self) -> int:
        """Entries d of a vector."""
        return self.buckets.shape[1] - 1

    @classmethod
    def draw(
        cls,
        d: int,
        n_components: Count,
        *,
        gamma: Number,
        coef0: Number,
        seed: Seed,
        degree: Count = 2,
    ) -> "CountSketch":
        """A sketch of activations of width d with random buckets and signs.

        Raises:
            ValueError: If there are no components, or the kernel is out of range.
        """
        if n_components < 1:
            raise ValueError(f"{n_components} components: expected at least 1")
        draw = torch.Generator().manual_seed(seed)
        buckets = torch.randint(n_components, (degree, d + 1), generator=draw)
        signs = 2.0 * torch.randint(2, (degree, d + 1), generator=draw).double() - 1
        return cls(buckets, signs, n_components, gamma, coef0)

    def features(self, units: Float[Tensor, "n d"]) -> Float[Tensor, "n component"]:
        """The features phi of vectors of length 1."""
        parts = [self._convolved(part) for part in units.split(self._rows) if len(part)]
        return torch.cat(parts) if parts else units.new_zeros(0, self.n_components)

    def products(
        self, units: Float[Tensor, "n d"], weights: Float[Tensor, " component"]
    ) -> Float[Tensor, " n"]:
        """The products w . phi of vectors of length 1."""
        weights = weights.to(units)
        parts = [self._convolved(part) @ weights for part in units.split(self._rows) if len(part)]
        return torch.cat(parts) if parts else units.new_zeros(0)

    def gradients(
        self, units: Float[Tensor, "n d"], weights: Float[Tensor, " component"]
    ) -> Float[Tensor, "n d"]:
        """The gradients of w . phi by x: those of each sketch in turn, the others held.

        w . phi is linear in each sketch C_r z, with coefficients that are w correlated with the
        convolution of the others; entry j of z is in one bucket of each.
        """
        weights = weights.to(units)
        parts = [self._pulled_back(part, weights) for part in units.split(self._rows) if len(part)]
        return torch.cat(parts) if parts else torch.zeros_like(units)

    def curvatures(
        self,
        units: Float[Tensor, "n d"],
        along: Float[Tensor, "n d"],
        weights: Float[Tensor, " component"],
    ) -> Float[Tensor, "n d"]:
        """The changes of `gradients` along vectors, per unit: of each sketch in turn but one."""
        weights = weights.to(units)
        each = zip(units.split(self._rows), along.split(self._rows), strict=True)
        parts = [self._pulled_back(part, weights, way) for part, way in each if len(part)]
        return torch.cat(parts) if parts else torch.zeros_like(units)

    @property
    def _rows(self) -> int:
        return max(1, _NUMBERS // self.n_components)

    def _spectra(self, units: Float[Tensor, "n d"], last: float | None = None) -> list[Tensor]:
        """The Fourier transform of each sketch of z, or of [sqrt(gamma) x; last]."""
        if units.shape[1] != self.width:
            raise ValueError(f"vectors of {units.shape[1]} entries: expected {self.width}")
        end = float(self.coef0) ** 0.5 if last is None else last
        bias = units.new_full((len(units), 1), end)
        z = torch.cat([float(self.gamma) ** 0.5 * units, bias], dim=1)
        empty = z.new_zeros(len(z), self.n_components)
        each = zip(self.buckets.to(z.device), self.signs.to(z), strict=True)
        return [torch.fft.rfft(empty.index_add(1, buckets, signs * z)) for buckets, signs in each]

    def _convolved(self, units: Float[Tensor, "n d"]) -> Float[Tensor, "n component"]:
        return torch.fft.irfft(reduce(mul, self._spectra(units)), n=self.n_components)

    def _pulled_back(
        self,
        units: Float[Tensor, "n d"],
        weights: Float[Tensor, " component"],
        along: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "n d"]:
        """The gradients, or their changes along vectors."""
        spectra, wanted = self._spectra(units), torch.fft.rfft(weights)
        turned = None if along is None else self._spectra(along, 0.0)
        gradient = torch.zeros_like(units)
        each = zip(self.buckets.to(units.device), self.signs.to(units), strict=True)
        for r, (buckets, signs) in enumerate(each):
            others = _without(spectra, turned, r, torch.ones_like(spectra[0]))
            slope = torch.fft.irfft(others.conj() * wanted, n=self.n_components)
            gradient = gradient + signs[:-1] * slope[:, buckets[:-1]].reshape(units.shape)
        return float(self.gamma) ** 0.5 * gradient

    def quadratic(
        self, weights: Float[Tensor, " component"]
    ) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"], float]:
        """A, q and c of w . phi(x) = x' A x + 2 q . x + c for x of length 1, without loss.

        w . phi = z' M z with M_ij = s_1(i) s_2(j) w[(H_1(i) + H_2(j)) mod n].

        Raises:
            ValueError: If the degree is not 2.
        """
        if self.degree != 2:
            raise ValueError(f"degree {self.degree}: expected 2, where it is a quadratic form")
        first, second = self.buckets.to(weights.device)
        one, two = self.signs.to(weights)
        m = torch.outer(one, two) * weights[(first[:, None] + second) % self.n_components]
        s, gamma, coef0 = (m + m.T) / 2, float(self.gamma), float(self.coef0)
        linear = (gamma * coef0) ** 0.5 * s[:-1, -1]
        return gamma * s[:-1, :-1], linear, coef0 * float(s[-1, -1])


def _without(
    spectra: list[Tensor], turned: list[Tensor] | None, r: int, one: Tensor
) -> Complex[Tensor, "*n frequency"]:
    """The product of all spectra but the r-th, or its change where each changes by `turned`."""
    if turned is None:
        return reduce(mul, spectra[:r] + spectra[r + 1 :], one)
    changes = [
        reduce(mul, (x for t, x in enumerate(spectra) if t not in (r, s)), change)
        for s, change in enumerate(turned)
        if s != r
    ]
    return sum(changes, torch.zeros_like(one))
