"""Means, ratios and proportions with their 95 % bootstrap intervals over groups."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals.resampling import Array, Resampling

_PRINTED = 8  # intervals of a list that are printed


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % bootstrap interval.

    The ends are NaN where there is nothing to draw again, such as a single fit.

    Example:
        >>> Interval(0.5, 0.4, 0.6)
        Interval(0.5, 0.4, 0.6)
        >>> print(Interval(0.5, 0.4, 0.6))
        0.5 [0.4, 0.6]
    """

    mean: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"Interval({self.mean:.3g}, {self.low:.3g}, {self.high:.3g})"

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def columns(self, name: str) -> dict[str, float]:
        """Three columns of a table: the mean under `name`, the ends under `*_low` and `*_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


class Intervals(list[Interval]):
    """Intervals in order, such as one for each layer; of many it prints the first and the last.

    Example:
        >>> Intervals([Interval(0.5, 0.4, 0.6)])
        1 intervals: 0.5 [0.4, 0.6]
    """

    def __repr__(self) -> str:
        texts = [str(each) for each in self]
        if len(texts) > _PRINTED:
            half = _PRINTED // 2
            texts = [*texts[:half], "...", *texts[-half:]]
        return f"{len(self)} intervals: {', '.join(texts)}"


NAN_INTERVAL = Interval(float("nan"), float("nan"), float("nan"))


def interval(
    values: Float[Tensor, " example"],
    groups: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """The mean of some values, with its bootstrap interval over groups.

    Values of one group belong together and are drawn together. For the difference between two
    methods pass the differences, example by example.

    Args:
        values: One number for each example.
        groups: One key for each example, such as the name in a template; None makes every example
            a group by itself.
        seed: Of the draws.
        resamples: How often the groups are drawn.

    Raises:
        ValueError: If there are no values, or the number of groups is another.

    Example:
        >>> interval(torch.tensor([0.1, 0.3, 0.2, 0.6]), ["ann", "ann", "bob", "cy"], seed=0)
    """
    [found] = interval_of_each([values], groups, seed=seed, resamples=resamples)
    return found


def interval_of_each(
    values: Sequence[Float[Tensor, " example"]],
    groups: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> list[Interval]:
    """What `interval` gives for each of several quantities of the same examples, drawn once.

    Args:
        values: One number for each example, of every quantity.
        groups: As `interval`.
        seed: As `interval`.
        resamples: As `interval`.

    Raises:
        ValueError: As `interval`.
    """
    arrays = [quantity.double().cpu().numpy() for quantity in values]
    keys = list(range(len(arrays[0]) if arrays else 0)) if groups is None else list(groups)
    wrong = [len(x) for x in arrays if len(x) == 0 or len(x) != len(keys)]
    if wrong or not arrays:
        raise ValueError(
            f"{len(keys)} groups for {wrong[0] if wrong else 0} values: expected one each, and at "
            "least one"
        )
    summed = [group_sums(x, np.ones_like(x), keys) for x in arrays]
    drawn = Resampling.of(summed[0][0].shape, seed=seed, resamples=resamples)
    return [_ratio(sums, counts, drawn) for sums, counts in summed]


def nanmean_interval(
    values: Float[Tensor, " example"], groups: Sequence[Hashable], seed: int
) -> Interval:
    """The interval of the mean over the values that are not NaN; `NAN_INTERVAL` if all of them are.

    Args:
        values: One number for each example, NaN where it is not defined.
        groups: One key for each example, as in `interval`.
        seed: Of the draws.
    """
    defined = ~values.isnan()
    kept = [group for group, keep in zip(groups, defined.tolist(), strict=True) if keep]
    return interval(values[defined], kept, seed=seed) if kept else NAN_INTERVAL


def proportion_interval(bootstrap: Interval, groups: int) -> Interval:
    """The interval of a proportion, also where it is 0 or 1 in every group.

    Drawing equal values again gives equal values, so that the bootstrap interval of such a
    proportion has no width. Its open end is then that of Clopper and Pearson for as many
    independent trials as there are groups: 0 of 8 is compatible with 37 %.

    Args:
        bootstrap: The bootstrap interval of the proportion.
        groups: How many groups it was drawn from.
    """
    degenerate = bootstrap.low == bootstrap.high and bootstrap.mean in (0.0, 1.0)
    if groups < 2 or not degenerate:
        return bootstrap
    reach = 1 - 0.025 ** (1 / groups)
    mean = bootstrap.mean
    return Interval(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def group_sums(
    numerators: Float[Array, "*way example"],
    denominators: Float[Array, "*way example"],
    groups: Sequence[Any],
) -> tuple[Float[Array, "*way group"], Float[Array, "*way group"]]:
    """Sums over the examples of each group, of two quantities whose ratio is wanted.

    Args:
        numerators: Values by example, which is the last axis.
        denominators: Values of the same shape; ones, for a mean.
        groups: One key for each example; sums are in the order in which keys first appear.
    """
    index = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    member = np.array([index[key] for key in groups], dtype=np.intp)
    return _by_group(numerators, member, len(index)), _by_group(denominators, member, len(index))


def _by_group(
    values: Float[Array, "*way example"], member: Array, size: int
) -> Float[Array, "*way group"]:
    """Sums by group, example after example in float64: a NaN stays in its own group."""
    rows = np.asarray(values, dtype=float).reshape(-1, values.shape[-1])
    place = (np.arange(len(rows))[:, None] * size + member).ravel()
    sums = np.bincount(place, weights=rows.ravel(), minlength=len(rows) * size)
    return sums.reshape(*values.shape[:-1], size)


def ratio_interval(
    numerators: Float[Array, "*way"],
    denominators: Float[Array, "*way"],
    *,
    seed: int,
    resamples: int = 2000,
) -> Interval:
    """The interval of sum(numerators) / sum(denominators).

    The units of every axis are drawn again independently. An axis of one unit (one fit, one seed)
    is taken as it is: nothing is known of its spread.

    Args:
        numerators: One axis for each way of clustering, such as `fit seed group`.
        denominators: Values of the same shape; counts, for a mean.
        seed: Of the draws.
        resamples: How often the units are drawn.
    """
    drawn = Resampling.of(numerators.shape, seed=seed, resamples=resamples)
    return _ratio(numerators, denominators, drawn)


def _ratio(
    numerators: Float[Array, "*way"], denominators: Float[Array, "*way"], drawn: Resampling
) -> Interval:
    mean = float(numerators.sum() / denominators.sum())
    if not np.isfinite(mean):
        return Interval(mean, float("nan"), float("nan"))
    means = drawn.sums(numerators) / drawn.sums(denominators)
    low, high = drawn.levels((numerators - mean * denominators) / denominators.sum(), means)
    return Interval(mean, low, high)
