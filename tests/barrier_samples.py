"""Barriers drawn at random, and what their flows do, written from the equations."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from lens_steer.barriers import PolynomialBarrier

Array = np.ndarray


def drawn_barrier(d: int, rank: int, *, seed: int = 0, linear: float = 1.0) -> PolynomialBarrier:
    """Eigenvalues from a normal law, q of length about `linear`; float64."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, rank, generator=draw).double()).Q
    values = torch.randn(rank, generator=draw).double()
    q = linear * torch.randn(d, generator=draw).double() / d**0.5
    return PolynomialBarrier(basis, values, q, 0.3)


def drawn_rows(*shape: int, seed: int = 1, norm: float = 20.0) -> Tensor:
    """Activations of about that norm, float64."""
    draw = torch.Generator().manual_seed(seed)
    return norm * torch.randn(*shape, generator=draw).double() / shape[-1] ** 0.5


def field_of(barrier: PolynomialBarrier) -> Callable[[Array], Array]:
    """grad h / |grad h| of one activation, from A and q, in numpy."""
    matrix, q, _ = barrier.quadratic()
    a, b = matrix.numpy(), q.numpy()

    def field(x: Array) -> Array:
        unit = x / np.linalg.norm(x)
        pull = 2 * a @ unit + 2 * b
        g = pull - unit * (unit @ pull)
        return g / np.linalg.norm(g)

    return field


def solved(barrier: PolynomialBarrier, x: Tensor, length: Tensor) -> Tensor:
    """The exact flow of each row of `[n d]`, by scipy."""
    field = field_of(barrier)
    ends = []
    for row, t in zip(x.numpy(), length.tolist(), strict=True):
        how = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
        ends.append(solve_ivp(lambda _, y: field(y), (0.0, t), row, **how).y[:, -1])
    return torch.tensor(np.array(ends))
