"""Linear-quadratic regulators in float64 numpy, from the textbook recursion, nothing factored."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def dense_gains(
    a: Array, q: Sequence[Array], r: Sequence[Array], terminal: Array
) -> tuple[list[Array], list[Array]]:
    """K_k = (S_{k+1} + R_k)^-1 S_{k+1} A_k and S_k, with any Q_k and R_k."""
    s, gains, values = terminal, [], [terminal]
    for k in reversed(range(len(a))):
        gain = np.linalg.solve(s + r[k], s @ a[k])
        s = q[k] + a[k].T @ s @ a[k] - a[k].T @ s @ gain
        gains.append(gain)
        values.append(s)
    return gains[::-1], values[::-1]


def dense_actuated_gains(
    a: Array, b: Sequence[Array], q: Sequence[Array], r: Sequence[float], terminal: Array
) -> tuple[list[Array], list[Array]]:
    """K_k = (r I + B'SB)^-1 B'SA and S_k of z' = A z + B u, as textbooks have it."""
    s, gains, values = terminal, [], [terminal]
    for k in reversed(range(len(a))):
        inner = r[k] * np.eye(b[k].shape[1]) + b[k].T @ s @ b[k]
        gain = np.linalg.solve(inner, b[k].T @ s @ a[k])
        s = q[k] + a[k].T @ s @ a[k] - a[k].T @ s @ b[k] @ gain
        gains.append(gain)
        values.append(s)
    return gains[::-1], values[::-1]


def cost(
    pushes: Array,
    a: Array,
    start: Array,
    drift: Array,
    v: Array,
    beta: Array,
    q: Array,
    r: Array,
    terminal: float,
) -> float:
    """Of pushes on z' = A z + drift + u: sum q (v.z - beta)^2 + r |u|^2 and the terminal error."""
    z, total = start, 0.0
    for k in range(len(a)):
        total += q[k] * (v[k] @ z - beta[k]) ** 2 + r[k] * pushes[k] @ pushes[k]
        z = a[k] @ z + drift[k] + pushes[k]
    return float(total + terminal * (v[-1] @ z - beta[-1]) ** 2)
