"""Means over the texts for which there is a value."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals import Interval, by_group, interval, ratio_interval

NONE = Interval(float("nan"), float("nan"), float("nan"))


def over_texts(values: Float[Tensor, " text"], groups: Sequence[Hashable], seed: int) -> Interval:
    """Mean and interval over groups; NaN, if every text's value is."""
    there = ~values.isnan()
    known = [group for group, here in zip(groups, there.tolist(), strict=True) if here]
    return interval(values[there], known, seed=seed) if known else NONE


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
        return NONE
    found = ratio_interval(*by_group(above, below, known), seed=seed)
    return Interval(1 - found.mean, 1 - found.high, 1 - found.low)
