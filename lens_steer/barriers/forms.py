"""Quadratic forms on the unit sphere by their eigenvectors, in the gauge that barriers are kept in.

On the sphere (A, q, c) and (A + t I, q, c - t) are one function: t is chosen such that the median
eigenvalue is 0. Without that a cut of small eigenvalues would depend on t.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Form:
    """x' A x + 2 q . x + c with A = V diag(l) V'; A is 0 outside of the columns of V."""

    basis: Float[Tensor, "d r"]
    eigenvalues: Float[Tensor, " r"]
    linear: Float[Tensor, " d"]
    constant: float

    @classmethod
    def dense(
        cls, matrix: Float[Tensor, "d d"], linear: Float[Tensor, " d"], constant: float
    ) -> "Form":
        """Of a symmetric matrix."""
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        return cls(vectors, values, linear, constant).gauged()

    @classmethod
    def of_rows(
        cls,
        rows: Float[Tensor, "n d"],
        weights: Float[Tensor, " n"],
        linear: Float[Tensor, " d"],
        constant: float,
    ) -> "Form":
        """A = sum_i w_i x_i x_i', by the rows' span where it is smaller than the space."""
        n, d = rows.shape
        if n >= d:
            return cls.dense(rows.T @ (weights[:, None] * rows), linear, constant)
        q, r = torch.linalg.qr(rows.T)
        inner = (r * weights) @ r.T
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        return cls(q @ vectors, values, linear, constant).gauged()

    @property
    def spectrum(self) -> Float[Tensor, " d"]:
        """All eigenvalues, rising."""
        d, r = self.basis.shape
        return torch.cat([self.eigenvalues, self.eigenvalues.new_zeros(d - r)]).sort().values

    @property
    def size(self) -> float:
        """Of what varies on the sphere: the spread of A and the length of 2 q."""
        values = self.spectrum
        return float(values[-1] - values[0]) + 2 * float(self.linear.norm())

    def value(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """H at x / |x|; NaN at 0, as the others."""
        unit = x / _lengths(x)
        bent = (unit @ self.basis.to(x)).square() @ self.eigenvalues.to(x)
        return bent + 2 * unit @ self.linear.to(x) + self.constant

    def slope(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """P u / |x|: u = 2 (A n + q) at n = x / |x|, and P takes away what is along n."""
        size = _lengths(x)
        unit = x / size
        return _tangent(unit, self._pull(unit) + 2 * self.linear.to(x)) / size

    def bend(self, x: Float[Tensor, "... d"], v: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The derivative of P u / |x| along v, in which n turns by P v / |x|."""
        size = _lengths(x)
        unit = x / size
        pull = self._pull(unit) + 2 * self.linear.to(x)
        turn = _tangent(unit, v) / size
        along, across = _dot(unit, pull), _dot(turn, pull)
        change = _tangent(unit, self._pull(turn)) - along * turn - across * unit
        return (change - _dot(unit, v) * _tangent(unit, pull) / size) / size

    def _pull(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """2 A x."""
        basis = self.basis.to(x)
        return 2 * ((x @ basis) * self.eigenvalues.to(x)) @ basis.T

    def gauged(self) -> "Form":
        """The same function with median eigenvalue 0 (even d: the mean of the middle two)."""
        values, (d, r) = self.spectrum, self.basis.shape
        shift = float(values[(d - 1) // 2] + values[d // 2]) / 2
        if shift == 0:
            return self
        basis, inner = self.basis, self.eigenvalues
        if r < d:
            basis = torch.cat([basis, torch.linalg.qr(basis, mode="complete").Q[:, r:]], dim=1)
            inner = torch.cat([inner, inner.new_zeros(d - r)])
        return Form(basis, inner - shift, self.linear, self.constant + shift)


def _dot(x: Float[Tensor, "... d"], y: Float[Tensor, "... d"]) -> Float[Tensor, "... 1"]:
    return (x * y).sum(dim=-1, keepdim=True)


def _tangent(unit: Float[Tensor, "... d"], v: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    return v - unit * _dot(unit, v)


def _lengths(x: Float[Tensor, "... d"]) -> Float[Tensor, "... 1"]:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)
