"""Oracles in plain Python and float64 numpy, written from the definitions and not from the code."""

from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def welford(sample: Sequence[Any]) -> tuple[int, Array, Array]:
    """Count, mean and sum of squared deviations, one value at a time (Welford 1962)."""
    mean = np.zeros_like(np.asarray(sample[0], dtype=np.float64))
    m2 = np.zeros_like(mean)
    for count, value in enumerate(sample, start=1):
        x = np.asarray(value, dtype=np.float64)
        before = x - mean
        mean = mean + before / count
        m2 = m2 + before * (x - mean)
    return len(sample), mean, m2


def chan(a: tuple[int, Array, Array], b: tuple[int, Array, Array]) -> tuple[int, Array, Array]:
    """Two samples' moments put together (Chan, Golub and LeVeque 1979, eq. 2.1)."""
    count = a[0] + b[0]
    shift = b[1] - a[1]
    mean = (a[0] * a[1] + b[0] * b[1]) / count
    return count, mean, a[2] + b[2] + shift**2 * a[0] * b[0] / count


def separability(desired: Sequence[int], undesired: Sequence[int]) -> Fraction:
    """Leave-one-out majority vote by token, the classes weighing the same, in exact fractions."""
    weight = (Fraction(1, len(desired)), Fraction(1, len(undesired)))
    sides = (list(desired), list(undesired))
    shares = []
    for own in (0, 1):
        right = Fraction(0)
        for left_out, token in enumerate(sides[own]):
            others = [t for i, t in enumerate(sides[own]) if i != left_out]
            mine = weight[own] * others.count(token)
            theirs = weight[1 - own] * sides[1 - own].count(token)
            right += Fraction(1, 2) if mine == theirs else Fraction(int(mine > theirs))
        shares.append(right / len(sides[own]))
    return (shares[0] + shares[1]) / 2


def components(ties: Sequence[set[Hashable]]) -> list[set[int]]:
    """Indices whose sets of ties meet, directly or through others: merged until nothing changes."""
    found = [({i}, set(tie)) for i, tie in enumerate(ties)]
    merged = True
    while merged:
        merged = False
        for i in range(len(found)):
            for j in range(i + 1, len(found)):
                if found[i][1] & found[j][1]:
                    found[i] = (found[i][0] | found[j][0], found[i][1] | found[j][1])
                    del found[j]
                    merged = True
                    break
            if merged:
                break
    return [members for members, _ in found]
