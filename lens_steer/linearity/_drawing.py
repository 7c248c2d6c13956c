"""Lines with their intervals, in colours that mean the same in every figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals import Interval

COLOURS = {
    "own": "C0",
    "mean": "C1",
    "identity": "0.45",
    "shuffled": "C3",
    "random": "C2",
}


def band(
    axes: Any, x: Sequence[float | int], found: Sequence[Interval], colour: str, label: str
) -> None:
    """A line through means, its 95 % intervals as a band."""
    low, mean, high = (
        np.array([getattr(each, end) for each in found]) for end in ("low", "mean", "high")
    )
    axes.plot(x, mean, "o-", color=colour, label=label, lw=1.2, ms=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def known_layers(values: Float[Tensor, " layer"], most: int) -> list[int]:
    """At most so many of the layers that have a value, evenly."""
    there = values.isfinite().nonzero().flatten().tolist()
    return [there[i] for i in a_few(len(there), most)]


def a_few(n: int, most: int) -> list[int]:
    """At most so many of the numbers below n, evenly, the ends among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most)).tolist()})
