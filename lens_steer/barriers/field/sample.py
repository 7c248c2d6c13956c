"""Which held-out rows a measurement is of, and means over them with their intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.intervals import Interval, Resampling, nanmean_interval, proportion_interval

_RESAMPLES = 500  # of statistics that are no means


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Held-out rows, the desired first.

    Attributes:
        desired: Which are of that class.
        groups: A key for each; rows that share one are drawn together.
        seed: Of the intervals.
    """

    desired: Bool[Tensor, " n"]
    groups: tuple[Hashable, ...]
    seed: int

    @classmethod
    def of(
        cls, activations: LayerActivations, groups: Sequence[Hashable] | None, seed: int
    ) -> "HeldOutRows":
        """Every row by itself, unless told what belongs together.

        Raises:
            ValueError: If there is not a group for each row.
        """
        up, down = len(activations.desired), len(activations.undesired)
        keys = tuple(range(up + down)) if groups is None else tuple(groups)
        if len(keys) != up + down:
            raise ValueError(
                f"{len(keys)} groups for {up} desired and {down} undesired activations: expected "
                "one for each, those of the desired first"
            )
        return cls(torch.arange(up + down) < up, keys, seed)

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        up, units = int(self.desired.sum()), len(set(self.groups))
        whole = "" if units == len(self) else f" in {units} groups"
        return f"{up} desired, {len(self) - up} undesired held-out rows{whole}"

    def interval(
        self, values: Float[Tensor, " n"], among: Bool[Tensor, " n"] | None = None
    ) -> Interval:
        """Mean over rows that have a value (not NaN); NaN if none has.

        Args:
            among: The rows to take; None takes all.
        """
        kept = torch.ones(len(self), dtype=torch.bool) if among is None else among
        return nanmean_interval(values[kept], self._keys(kept), self.seed)

    def share(self, flags: Bool[Tensor, " n"], among: Bool[Tensor, " n"] | None = None) -> Interval:
        """Of the rows that are flagged."""
        kept = torch.ones_like(flags) if among is None else among
        return proportion_interval(self.interval(flags.double(), among), len(set(self._keys(kept))))

    def weights(self) -> Float[np.ndarray, "resample n"]:
        """How often each row is drawn, resample by resample, whole groups at a time."""
        index = {key: i for i, key in enumerate(dict.fromkeys(self.groups))}
        drawn = Resampling.of((len(index),), seed=self.seed, resamples=_RESAMPLES).counts[0]
        return drawn[:, [index[key] for key in self.groups]]

    def _keys(self, kept: Bool[Tensor, " n"]) -> list[Hashable]:
        return [key for key, own in zip(self.groups, kept.tolist(), strict=True) if own]


def percentiles(value: float, drawn: np.ndarray) -> Interval:
    """A statistic with the middle 95 % of its resamples, those that have none left out."""
    known = drawn[~np.isnan(drawn)]
    if len(set(known.tolist())) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975], method="nearest")
    return Interval(value, float(low), float(high))
