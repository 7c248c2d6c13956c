"""How long an effect lasts after what made it has stopped: its half-life, with an interval."""

from math import inf, isnan, nan

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark import collapse_dose
from lens_steer.intervals import Interval, Resampling

Array = np.ndarray


def half_life(kept: Float[Array, "*resample token"]) -> Float[Array, "*resample"]:
    """Tokens until an effect has first fallen to half of its first value; inf if it does not.

    Between tokens it is joined by straight lines; NaN at the end is where no text reaches. NaN
    where there is no effect at first.
    """
    found = collapse_dose(kept, np.arange(kept.shape[-1], dtype=float))
    found = np.where(np.isnan(found), inf, found)
    return np.where(kept[..., 0] > 0, found, nan)


def half_life_interval(
    effect: Float[Array, "token group"], first: Float[Array, "token group"], *, seed: int
) -> Interval:
    """The half-life of effect / first, groups drawn again; ends that are not reached are infinite.

    Args:
        effect: Sum over the texts of each group, at tokens from the first unsteered one on.
        first: The same texts' effect at the first of these tokens: later on they are fewer.
    """
    value = float(half_life(_shares(effect.sum(axis=1), first.sum(axis=1))))
    if isnan(value):
        return Interval(nan, nan, nan)
    drawn = Resampling.of(effect.shape[1:], seed=seed)
    sums = [np.stack([drawn.sums(x) for x in each], axis=-1) for each in (effect, first)]
    found, beyond = half_life(_shares(*sums)), 2.0 * len(effect)
    # how far percentiles are widened depends on the number of groups alone: any influence will do
    influence = np.linspace(-1, 1, effect.shape[1])
    low, high = drawn.levels(influence, np.where(np.isinf(found), beyond, found))
    low, high = (inf if end > len(effect) - 1 else end for end in (low, high))
    return Interval(value, low, high)


def _shares(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(below, nan), where=below > 0)
