"""What predictions know, and where an error passes a level."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals import NAN_INTERVAL, Interval, group_sums, ratio_interval


def skill(
    errors: Float[Tensor, " text"],
    base: Float[Tensor, " text"],
    groups: Sequence[Hashable],
    seed: int,
) -> Interval:
    """1 - sum |error|^2 / sum |base error|^2; NaN, if the base makes no error or there is none."""
    there = ~(errors.isnan() | base.isnan())
    known = [group for group, here in zip(groups, there.tolist(), strict=True) if here]
    above, below = (x[there].double().square().numpy() for x in (errors, base))
    if not known or not np.any(below):
        return NAN_INTERVAL
    found = ratio_interval(*group_sums(above, below, known), seed=seed)
    return Interval(1 - found.mean, 1 - found.high, 1 - found.low)


def crossing(
    radii: Sequence[float], values: Float[np.ndarray, " radius"], level: float, *, start: float
) -> float:
    """Where lines through points, from `start` at radius 0, first rise above a level.

    The last radius if they never do; NaN if a value is.
    """
    x, y = np.array([0.0, *radii]), np.array([start, *values])
    if np.isnan(y).any():
        return float("nan")
    above = np.flatnonzero(y > level)
    if len(above) == 0:
        return float(x[-1])
    i = int(above[0])
    share = (level - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
