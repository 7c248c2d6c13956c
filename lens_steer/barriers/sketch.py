"""The paper's random features: a count sketch of the polynomial kernel.

Source: Pham and Pagh 2013 (Tensor Sketch), as used by arXiv:2602.17560.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.arguments import Count, Number, Seed

_NUMBERS = 2**19  # of a sketch held at a time: what a processor's cache holds is twice as fast


@dataclass(frozen=True, eq=False)
class CountSketch:
    """phi(x) = the circular convolution of two count sketches of z = [sqrt(gamma) x; sqrt(coef0)].

    E[phi(x) . phi(y)] = (gamma x . y + coef0)^2 over the draw of buckets and signs.

    Attributes:
        buckets: H_r(j): where entry j of z goes in sketch r.
        signs: 1 or -1.
        n_components: Entries of phi.
        gamma: Of the kernel.
        coef0: Of the kernel.
    """

    buckets: Int[Tensor, "2 d_and_bias"]
    signs: Float[Tensor, "2 d_and_bias"]
    n_components: Count
    gamma: Number
    coef0: Number

    def __post_init__(self) -> None:
        infinite = float("inf")
        if not (0 < self.gamma < infinite and 0 <= self.coef0 < infinite):
            raise ValueError(
                f"gamma {self.gamma!r} and coef0 {self.coef0!r}: expected > 0 and >= 0"
            )

    @classmethod
    def draw(
        cls, d: int, n_components: Count, *, gamma: Number, coef0: Number, seed: Seed
    ) -> "CountSketch":
        """A sketch of activations of width d with random buckets and signs.

        Raises:
            ValueError: If there are no components, or the kernel is out of range.
        """
        if n_components < 1:
            raise ValueError(f"{n_components} components: expected at least 1")
        draw = torch.Generator().manual_seed(seed)
        buckets = torch.randint(n_components, (2, d + 1), generator=draw)
        signs = 2.0 * torch.randint(2, (2, d + 1), generator=draw).double() - 1
        return cls(buckets, signs, n_components, gamma, coef0)

    def features(self, units: Float[Tensor, "n d"]) -> Float[Tensor, "n component"]:
        """The features phi of vectors of length 1."""
        scale = float(self.gamma) ** 0.5
        bias = units.new_full((len(units), 1), float(self.coef0) ** 0.5)
        z = torch.cat([scale * units, bias], dim=1)
        rows = max(1, _NUMBERS // self.n_components)
        return torch.cat([self._convolved(part) for part in z.split(rows)])

    def _convolved(self, z: Float[Tensor, "n d_and_bias"]) -> Float[Tensor, "n component"]:
        product = torch.ones(())
        for buckets, signs in zip(self.buckets.to(z.device), self.signs.to(z), strict=True):
            empty = z.new_zeros(len(z), self.n_components)
            product = product * torch.fft.rfft(empty.index_add_(1, buckets, signs * z))
        return torch.fft.irfft(product, n=self.n_components)

    def quadratic(
        self, weights: Float[Tensor, " component"]
    ) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"], float]:
        """A, q and c of w . phi(x) = x' A x + 2 q . x + c for x of length 1, without loss.

        w . phi = z' M z with M_ij = s_1(i) s_2(j) w[(H_1(i) + H_2(j)) mod n].
        """
        first, second = self.buckets.to(weights.device)
        one, two = self.signs.to(weights)
        m = torch.outer(one, two) * weights[(first[:, None] + second) % self.n_components]
        s, gamma, coef0 = (m + m.T) / 2, float(self.gamma), float(self.coef0)
        linear = (gamma * coef0) ** 0.5 * s[:-1, -1]
        return gamma * s[:-1, :-1], linear, coef0 * float(s[-1, -1])
