"""Quadratic forms on the unit sphere by their eigenvectors: values, derivatives, largest value.

On the sphere (A, q, c) and (A + t I, q, c - t) are one function. Barriers are kept with the t that
makes the median eigenvalue 0: else what is left after dropping small eigenvalues would depend on t.
"""

from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Bool, Float
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
        """The form of a symmetric matrix, with median eigenvalue 0."""
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
        """The form of A = sum_i w_i x_i x_i', computed in the rows' span where that is smaller."""
        n, d = rows.shape
        if n >= d:
            return cls.dense(rows.T @ (weights[:, None] * rows), linear, constant)
        q, r = torch.linalg.qr(rows.T)
        inner = (r * weights) @ r.T
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        return cls(q @ vectors, values, linear, constant).gauged()

    @property
    def spectrum(self) -> Float[Tensor, " d"]:
        """All eigenvalues in ascending order."""
        d, r = self.basis.shape
        return torch.cat([self.eigenvalues, self.eigenvalues.new_zeros(d - r)]).sort().values

    @property
    def size(self) -> float:
        """How much the form can vary on the sphere: the spread of A plus the length of 2 q."""
        values = self.spectrum
        return float(values[-1] - values[0]) + 2 * float(self.linear.norm())

    @property
    def lipschitz(self) -> float:
        """Bound on the change of the gradient on the unit sphere, per rad, in float64."""
        values = self.spectrum.double()
        return 2 * float(values[-1] - values[0]) + 2 * float(self.linear.double().norm())

    def truncated(self, rank: int) -> "Form":
        """The form of the `rank` eigenvalues of largest size, where the median of all is 0."""
        form = self.gauged()
        kept = form.eigenvalues.abs().argsort(descending=True, stable=True)[:rank].sort().values
        return Form(form.basis[:, kept], form.eigenvalues[kept], form.linear, form.constant)

    def value(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """The form at x / |x|; like the derivatives, it is NaN at x = 0."""
        unit = x / _lengths(x)
        quadratic = (unit @ self.basis.to(x)).square() @ self.eigenvalues.to(x)
        return quadratic + 2 * unit @ self.linear.to(x) + self.constant

    def grad(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """P u / |x| with u = 2 (A n + q) at n = x / |x|, where P removes what is along n."""
        size = _lengths(x)
        unit = x / size
        return _tangent(unit, self._double_product(unit) + 2 * self.linear.to(x)) / size

    def hessian_vector(
        self, x: Float[Tensor, "... d"], v: Float[Tensor, "... d"]
    ) -> Float[Tensor, "... d"]:
        """The derivative of P u / |x| along v, in which n turns by P v / |x|."""
        size = _lengths(x)
        unit = x / size
        ambient = self._double_product(unit) + 2 * self.linear.to(x)
        turn = _tangent(unit, v) / size
        along, across = _dot(unit, ambient), _dot(turn, ambient)
        change = _tangent(unit, self._double_product(turn)) - along * turn - across * unit
        return (change - _dot(unit, v) * _tangent(unit, ambient) / size) / size

    def _double_product(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The product 2 A x."""
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


def check_parts(
    basis: Float[Tensor, "..."],
    eigenvalues: Float[Tensor, "..."],
    linear: Float[Tensor, "..."],
    constant: float | int,
) -> None:
    """Raise a ValueError unless these are V with orthonormal columns, l, q and c of one form."""
    d, r = basis.shape
    if eigenvalues.shape != (r,) or linear.shape != (d,) or d < 2:
        got = [tuple(x.shape) for x in (basis, eigenvalues, linear)]
        raise ValueError(f"got shapes {got}: expected (d, r), (r,) and (d,) with d > 1")
    if not isfinite(constant):
        raise ValueError(f"constant {constant}: expected a finite number")
    probe = torch.cos(torch.arange(1, r + 1, device=basis.device)).to(basis)
    if r > d or not torch.allclose(basis.T @ (basis @ probe), probe, atol=1e-3):
        raise ValueError(
            "the basis has no orthonormal columns: make the barrier of a matrix with "
            "PolynomialBarrier.of_quadratic"
        )


def _dot(x: Float[Tensor, "... d"], y: Float[Tensor, "... d"]) -> Float[Tensor, "... 1"]:
    return (x * y).sum(dim=-1, keepdim=True)


def _tangent(unit: Float[Tensor, "... d"], v: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    return v - unit * _dot(unit, v)


def _lengths(x: Float[Tensor, "... d"]) -> Float[Tensor, "... 1"]:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Extremum:
    """The largest or smallest h, and where it is attained.

    Attributes:
        value: h there, nats.
        at: A unit vector that attains it; there may be others.
    """

    value: float
    at: Float[Tensor, " d"]

    def __repr__(self) -> str:
        return f"Extremum({self.value:.4g} nats, at a unit vector of {len(self.at)})"


def highest(
    basis: Float[Tensor, "d r"], eigenvalues: Float[Tensor, " r"], linear: Float[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """The argmax of sum_i l_i (v_i . x)^2 + 2 q . x over |x| = 1, in float64.

    x = (mu I - A)^-1 q with mu >= lmax from |x| = 1 (the secular equation). Where q has no part in
    the top eigenspace and that x stays shorter than 1 at mu = lmax (the hard case), the rest of
    its length goes there. (Moré and Sorensen 1983; Conn, Gould and Toint 2000, section 7.3.)
    """
    q = linear.double()
    v, values = _with_rest(basis.double(), eigenvalues.double(), q)
    b, gaps = v.T @ q, values.max() - values
    top = gaps == 0
    shift = _secular(b, gaps, top)
    if shift > 0:
        y = b / (gaps + shift)
    else:
        y = torch.where(top, 0.0, b / torch.where(top, 1.0, gaps))
        missing = (1 - y.square().sum()).clamp(min=0).sqrt()  # below 0 by rounding only
        first = torch.arange(len(y), device=y.device) == int(top.int().argmax())
        y = torch.where(first, missing, y)
    x = v @ y
    return x / x.norm()


def _secular(b: Float[Tensor, " r"], gaps: Float[Tensor, " r"], top: Bool[Tensor, " r"]) -> float:
    """The shift mu - lmax; solved for itself, as mu may be nearer to lmax than rounding of mu."""
    from scipy.optimize import brentq

    low, high = float(b[top].norm()), float(b.norm())
    if low == 0 and float((b[~top] / gaps[~top]).norm()) <= 1:
        return 0.0

    def excess(shift: float) -> float:
        return 1 - 1 / float((b / (gaps + shift)).norm())

    if low == 0:
        low = high
        while excess(low) < 0:
            low /= 2
    if excess(low) <= 0 or low >= high:
        return low
    high = high if excess(high) < 0 else 2 * high
    return float(brentq(excess, low, high, xtol=1e-300, rtol=1e-15))  # type: ignore[arg-type]


def _with_rest(
    v: Float[Tensor, "d r"], values: Float[Tensor, " r"], q: Float[Tensor, " d"]
) -> tuple[Float[Tensor, "d s"], Float[Tensor, " s"]]:
    """One more eigenvector, of eigenvalue 0, where the basis does not span everything.

    It lies along the part of q outside of the basis: nothing else there matters to the maximum.
    """
    d, r = v.shape
    if r == d:
        return v, values
    outside = _outside(v, q)
    if not bool(outside.any()):
        least_covered = int(v.square().sum(dim=1).argmin())
        outside = _outside(v, torch.eye(d, dtype=v.dtype, device=v.device)[least_covered])
    unit = outside / outside.norm()
    return torch.cat([v, unit[:, None]], dim=1), torch.cat([values, values.new_zeros(1)])


def _outside(v: Float[Tensor, "d r"], x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """What of x is outside of the basis; projected twice, as one leaves a rounding error of |x|."""
    once = x - v @ (v.T @ x)
    return once - v @ (v.T @ once)
