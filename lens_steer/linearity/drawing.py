"""Colours that mean the same in every figure, and the layers that there is room for."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

COLOURS = {
    "own": "C0",
    "mean": "C1",
    "identity": "0.45",
    "shuffled": "C3",
    "random": "C2",
}


def known_layers(values: Float[Tensor, " layer"], most: int) -> list[int]:
    """At most so many of the layers that have a value, evenly."""
    there = values.isfinite().nonzero().flatten().tolist()
    return [there[i] for i in a_few(len(there), most)]


def a_few(n: int, most: int) -> list[int]:
    """At most so many of the numbers below n, evenly, the ends among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most)).tolist()})
