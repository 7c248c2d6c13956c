"""The largest value of a quadratic form with a linear term on the unit sphere."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Extremum:
    """Where h is largest or smallest.

    Attributes:
        value: Of h, nats.
        at: A unit vector; where the extremum is attained at several, one of them.
    """

    value: float
    at: Float[Tensor, " d"]


def highest(
    basis: Float[Tensor, "d r"], eigenvalues: Float[Tensor, " r"], linear: Float[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """Argmax of sum_i l_i (v_i . x)^2 + 2 q . x over |x| = 1, in float64.

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
    """Mu - lmax, by the distance itself: the root may be nearer to lmax than rounding of mu."""
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

    Along what of q is outside of the basis: nothing else there matters to the maximum.
    """
    d, r = v.shape
    if r == d:
        return v, values
    outside = _outside(v, q)
    if not bool(outside.any()):
        loneliest = int(v.square().sum(dim=1).argmin())
        outside = _outside(v, torch.eye(d, dtype=v.dtype, device=v.device)[loneliest])
    unit = outside / outside.norm()
    return torch.cat([v, unit[:, None]], dim=1), torch.cat([values, values.new_zeros(1)])


def _outside(v: Float[Tensor, "d r"], x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Twice, as one projection leaves a rounding error of the size of x."""
    once = x - v @ (v.T @ x)
    return once - v @ (v.T @ once)
