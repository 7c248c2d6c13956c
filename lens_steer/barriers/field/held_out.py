"""Held-out activations of both classes, and means over them with their intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isfinite, pi

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier
from lens_steer.intervals import Interval, Resampling, nanmean_interval, proportion_interval
from lens_steer.reports import short_repr

CLASS_COLOURS = {"undesired": "C3", "desired": "C0"}  # in every figure
_RESAMPLES = 500  # of statistics that are not means


@savable
@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Which class and group each held-out row is of: what intervals of a measurement depend on.

    Attributes:
        desired: Whether a row is of the desired class; these come first.
        groups: A key for each row; rows that share one are drawn together.
        seed: Of the intervals.
    """

    desired: Bool[Tensor, " n"]
    groups: tuple[Hashable, ...]
    seed: Seed

    __repr__ = short_repr

    @classmethod
    def of(
        cls, activations: LayerActivations, groups: Sequence[Hashable] | None, seed: Seed
    ) -> "HeldOutRows":
        """The rows of some activations; without groups every row is drawn by itself.

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
        grouped = "" if units == len(self) else f" in {units} groups"
        return f"{up} desired, {len(self) - up} undesired held-out rows{grouped}"

    @property
    def by_class(self) -> dict[str, Bool[Tensor, " n"]]:
        """The rows of each class by its name; the undesired are the ones to be steered."""
        return {"undesired": ~self.desired, "desired": self.desired}

    def interval(
        self, values: Float[Tensor, " n"], among: Bool[Tensor, " n"] | None = None
    ) -> Interval:
        """The mean over rows that have a value (not NaN); NaN if no row has one.

        Args:
            among: The rows to take; None takes all.
        """
        kept = torch.ones(len(self), dtype=torch.bool) if among is None else among
        return nanmean_interval(values[kept], self._keys(kept), self.seed)

    def share(self, flags: Bool[Tensor, " n"], among: Bool[Tensor, " n"] | None = None) -> Interval:
        """The share of rows that are flagged, of all or of some."""
        kept = torch.ones_like(flags) if among is None else among
        return proportion_interval(self.interval(flags.double(), among), len(set(self._keys(kept))))

    def weights(self) -> Float[np.ndarray, "resample n"]:
        """How often each row is drawn in each resample, whole groups at a time."""
        index = {key: i for i, key in enumerate(dict.fromkeys(self.groups))}
        drawn = Resampling.of((len(index),), seed=self.seed, resamples=_RESAMPLES).counts[0]
        return drawn[:, [index[key] for key in self.groups]]

    def _keys(self, kept: Bool[Tensor, " n"]) -> list[Hashable]:
        return [key for key, is_kept in zip(self.groups, kept.tolist(), strict=True) if is_kept]


def percentiles(value: float, drawn: np.ndarray) -> Interval:
    """A statistic with the middle 95 % of its resamples, without those that are NaN."""
    numbers = drawn[~np.isnan(drawn)]
    if len(set(numbers.tolist())) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(numbers, [0.025, 0.975], method="nearest")
    return Interval(value, float(low), float(high))


def check_angle(angle: float | int) -> float:
    """Raise a ValueError unless the angle is above 0 and at most 2 pi rad."""
    if not (isfinite(angle) and 0 < angle <= 2 * pi):
        raise ValueError(f"angle {angle}: expected above 0 and at most 2 pi rad")
    return float(angle)


def stacked_rows(barrier: Barrier, activations: LayerActivations) -> Float[Tensor, "n d"]:
    """Both classes in float64, the desired first.

    Raises:
        ValueError: If they are of another site or width than the barrier, or a row is 0.
    """
    expected, got = (barrier.kind, barrier.layer), (activations.kind, activations.layer)
    if expected != got:
        raise ValueError(
            f"got activations of {got[0].value} {got[1]} for a barrier of {expected[0].value} "
            f"{expected[1]}: capture the same site"
        )
    shape = tuple(activations.desired.shape)
    if len(shape) != 2 or shape[1] != barrier.width:
        raise ValueError(f"got activations of shape {shape}: expected [n, {barrier.width}]")
    rows = torch.cat([activations.desired, activations.undesired]).double()
    zero = int((~rows.any(dim=-1)).sum())
    if zero:
        raise ValueError(f"{zero} of {len(rows)} activations are 0 and have no direction")
    return rows


def check_held_out(rows: Float[Tensor, "n d"], training: Float[Tensor, "m d"]) -> None:
    """Raise a ValueError if half of the rows are among the training rows, number by number."""
    seen = {row.tobytes() for row in training.cpu().numpy()}
    copies = sum(row.tobytes() in seen for row in rows.cpu().numpy())
    if 2 * copies >= len(rows):
        raise ValueError(
            f"{copies} of {len(rows)} held-out activations are among the training ones: hold "
            "other pairs out"
        )
