"""The paper's ablation: random Fourier features of a Gaussian kernel, on activations as they are.

Source: Rahimi and Recht 2007; arXiv:2602.17560.
"""

from dataclasses import dataclass, replace
from math import isfinite, pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Count, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier, Values, Vectors
from lens_steer.barriers.fitting import LabelledRows
from lens_steer.barriers.logistic import logistic_head


@savable
@dataclass(frozen=True, eq=False, repr=False)
class FourierBarrier(Barrier):
    """h(a) = sum_i u_i cos(W_i . a + p_i) + b.

    Far from the data its gradient may point anywhere: cosines do not fade with distance.

    Attributes:
        frequencies: W, per unit of activation.
        phases: p, radians.
        amplitudes: u, nats.
        bias: b, nats.
    """

    frequencies: Float[Tensor, "component d"]
    phases: Float[Tensor, " component"]
    amplitudes: Float[Tensor, " component"]
    bias: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.frequencies)
        if self.phases.shape != (n,) or self.amplitudes.shape != (n,) or n == 0:
            got = [tuple(x.shape) for x in (self.frequencies, self.phases, self.amplitudes)]
            raise ValueError(f"got shapes {got}: expected (n, d), (n,) and (n,)")
        if not isfinite(self.bias):
            raise ValueError(f"bias {self.bias}: expected a finite number")

    @classmethod
    def fit(
        cls,
        activations: LayerActivations,
        *,
        n_components: Count = 8000,
        C: Number = 1.0,
        seed: Seed = 0,
    ) -> "FourierBarrier":
        """A logistic head on sqrt(2 / n) cos(W a + p) with W ~ N(0, 1 / s^2) and p ~ U(0, 2 pi).

        s is the median distance of two activations over sqrt(2); all distances of two rows are
        computed for it.

        Args:
            n_components: n.
            C: > 0; large fits the data closer.
            seed: Of the draw of W and p.

        Raises:
            ValueError: If there are no components, C is out of range, the activations have another
                shape than [n, d], half of their distances are 0, or the fit does not converge.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean").at(layer=3)
            >>> barrier = ls.barriers.FourierBarrier.fit(resid, n_components=2000, seed=0)
        """
        if n_components < 1:
            raise ValueError(f"{n_components} components: expected at least 1")
        rows = LabelledRows.of(activations)
        spread = float(torch.pdist(rows.values).median()) / sqrt(2)
        if spread == 0:
            raise ValueError("half of the distances between activations are 0: leave out copies")
        draw = torch.Generator().manual_seed(seed)
        d = rows.values.shape[1]
        frequencies = torch.randn(n_components, d, generator=draw).to(rows.values) / spread
        phases = 2 * pi * torch.rand(n_components, generator=draw).to(rows.values)
        scale = sqrt(2 / n_components)
        features = scale * torch.cos(rows.values @ frequencies.T + phases)
        head = logistic_head(features, rows.desired, C)
        settings = {"n_components": n_components, "C": float(C), "spread": spread, "seed": seed}
        parts = (frequencies, phases, scale * head.weights)
        w, p, u = (part.to(rows.dtype) for part in parts)
        return cls(w, p, u, head.intercept - rows.log_prior, **rows.origin(settings))

    @property
    @override
    def width(self) -> int:
        return self.frequencies.shape[1]

    @override
    def scaled(self, factor: Number) -> "FourierBarrier":
        return replace(self, amplitudes=factor * self.amplitudes, bias=factor * self.bias)

    @override
    def unchecked_h(self, x: Vectors) -> Values:
        return torch.cos(self._angles(x)) @ self.amplitudes.to(x) + self.bias

    @override
    def unchecked_grad(self, x: Vectors) -> Vectors:
        return -(torch.sin(self._angles(x)) * self.amplitudes.to(x)) @ self.frequencies.to(x)

    @override
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        w = self.frequencies.to(x)
        return -(torch.cos(self._angles(x)) * self.amplitudes.to(x) * (v @ w.T)) @ w

    def _angles(self, x: Vectors) -> Float[Tensor, "... component"]:
        return x @ self.frequencies.to(x).T + self.phases.to(x)
