"""Lines with their intervals, and the two classes' colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from lens_steer.field._sample import Sample
from lens_steer.intervals import Interval

COLOURS = {"undesired": "C3", "desired": "C0"}


def sides(sample: Sample) -> dict[str, Bool[Tensor, " n"]]:
    """The rows of each class; the undesired are the ones to be steered."""
    return {"undesired": ~sample.desired, "desired": sample.desired}


def band(
    axes: Any, x: Sequence[float | int], found: Sequence[Interval], colour: str, label: str
) -> None:
    """A line through means, its 95 % intervals as a band."""
    low, mean, high = (
        np.array([getattr(each, end) for each in found]) for end in ("low", "mean", "high")
    )
    axes.plot(x, mean, "o-", color=colour, label=label, lw=1.2, ms=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
