"""Means over the texts for which there is a value."""

from collections.abc import Hashable, Sequence

from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals.resampling import Interval, interval

NONE = Interval(float("nan"), float("nan"), float("nan"))


def over_texts(values: Float[Tensor, " text"], groups: Sequence[Hashable], seed: int) -> Interval:
    """Mean and interval over groups; NaN, if every text's value is."""
    there = ~values.isnan()
    known = [group for group, here in zip(groups, there.tolist(), strict=True) if here]
    return interval(values[there], known, seed=seed) if known else NONE
