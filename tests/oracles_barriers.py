"""Data for barriers, and their formulas once more, in float64 numpy."""

from itertools import combinations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from lens_steer.activations import LayerActivations
from lens_steer.sites import Kind


def planted(
    up: int = 90, down: int = 60, d: int = 8, *, seed: int = 0, shift: float = 0.6
) -> LayerActivations:
    """A large common mean; the classes differ in mean and in covariance. In float64."""
    draw = torch.Generator().manual_seed(seed)
    common = torch.ones(d).double()

    def side(n: int, sign: float) -> torch.Tensor:
        widths = 1 + 0.5 * sign * torch.cos(torch.arange(d).double())
        noise = torch.randn(n, d, generator=draw).double() * widths
        return 3 * (2 * common + noise + sign * shift * torch.eye(d).double()[0])

    return LayerActivations(side(up, 1.0), side(down, -1.0), 3, Kind.RESID)


def stacked(activations: LayerActivations) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels."""
    sides = activations.desired.double().numpy(), activations.undesired.double().numpy()
    return np.concatenate(sides), np.repeat([1, 0], [len(side) for side in sides])


def directions(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def monomials(x: np.ndarray, gamma: float, coef0: float) -> np.ndarray:
    """phi with phi(x) . phi(y) = (gamma x . y + coef0)^2, without the constant one."""
    pairs = [x[:, i] * x[:, j] for i, j in combinations(range(x.shape[1]), 2)]
    mixed = gamma * 2**0.5 * np.stack(pairs, axis=1)
    return np.concatenate([(2 * gamma * coef0) ** 0.5 * x, gamma * x**2, mixed], axis=1)


def sketch_by_convolution(
    x: np.ndarray, buckets: np.ndarray, signs: np.ndarray, n: int, gamma: float, coef0: float
) -> np.ndarray:
    """The count sketch from its definition: two hashed vectors and their circular convolution."""
    z = np.append(gamma**0.5 * x, coef0**0.5)
    first, second = np.zeros(n), np.zeros(n)
    for j, value in enumerate(z):
        first[buckets[0, j]] += signs[0, j] * value
        second[buckets[1, j]] += signs[1, j] * value
    found = np.zeros(n)
    for i in range(n):
        for j in range(n):
            found[(i + j) % n] += first[i] * second[j]
    return found


def value(a: np.ndarray, matrix: np.ndarray, linear: np.ndarray, constant: float) -> np.ndarray:
    """h of a quadratic form in normalised coordinates."""
    x = directions(a)
    return np.einsum("...i,ij,...j->...", x, matrix, x) + 2 * x @ linear + constant


def symmetric(d: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed).normal(size=(d, d))
    return (draw + draw.T) / 2


def logistic(C: float) -> LogisticRegression:
    """To its optimum."""
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=500)
