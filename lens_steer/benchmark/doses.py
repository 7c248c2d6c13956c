"""Doses: how much of a method it takes, how much breaks the text, and how far they lie apart."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.cells import GroupedSums
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import at_budget
from lens_steer.benchmark.unbounded import unbounded_interval
from lens_steer.intervals import Interval

Array = np.ndarray

_SUMS = ("behaviour", "examples", "failed", "texts")


@dataclass(frozen=True)
class Dose:
    """What a method needs, and what it bears; multiples of its own strength.

    Between the strengths tried shares are joined by straight lines, out from no steering.

    Attributes:
        method: Its name.
        ed50: Where behaviour first rises half-way from the unsteered share to 1; inf if nowhere.
        cd50: Where intact texts first fall to half of their unsteered share; inf if nowhere.
        window: cd50 / ed50: inf if only collapse is out of reach, 0 if only the effect is, NaN if
            both are.
        largest: Multiple that was tried.
    """

    method: str
    ed50: Interval
    cd50: Interval
    window: Interval
    largest: float

    def __str__(self) -> str:
        least, most = self.largest / self.ed50.mean, self.cd50.mean / self.largest
        window = _shown(self.window) if isfinite(self.window.mean) else "unknown"
        window = f"over {least:.2g}" if self.window.mean == inf else window
        window = f"below {most:.2g}" if self.window.mean == 0 else window
        reached = [
            f"beyond {self.largest:g}" if x.mean == inf else _shown(x)
            for x in (self.ed50, self.cd50)
        ]
        return f"ED50 {reached[0]}, CD50 {reached[1]}, window {window}"


def strengths(
    comparison: Comparison, behaviour: str, method: str
) -> tuple[Float[Array, " multiple"], list[GroupedSums]]:
    """Multiples of one method in rising order, out from 0, the unsteered model, and their cells."""
    tried = [m for m in comparison.multiples(behaviour, method) if m > 0]
    cells = [comparison.cells(behaviour, "unsteered")]
    cells += [comparison.cells(behaviour, method, m) for m in tried]
    return np.array([0.0, *tried]), cells


def half_dose(
    shares: Float[Array, "*resample multiple"], multiples: Float[Array, " multiple"]
) -> Float[Array, "*resample"]:
    """Where shares first rise half-way from the first, no steering, to 1; NaN if nowhere."""
    gap = shares - (1 + shares[..., :1]) / 2
    return at_budget(gap, np.broadcast_to(multiples, gap.shape), 0.0)


def collapse_dose(
    shares: Float[Array, "*resample multiple"], multiples: Float[Array, " multiple"]
) -> Float[Array, "*resample"]:
    """Where shares first fall to half of the first, no steering; NaN if nowhere."""
    gap = shares[..., :1] / 2 - shares
    return at_budget(gap, np.broadcast_to(multiples, gap.shape), 0.0)


def dose_of(comparison: Comparison, behaviour: str, method: str) -> Dose:
    """Of one method on one behaviour; texts are intact that have not failed, see `with_intact`."""
    multiples, cells = strengths(comparison, behaviour, method)
    sums, seed = [each.sums[name] for each in cells for name in _SUMS], comparison.terms.seed

    def doses(*totals: Any) -> tuple[Array, Array]:
        shown, n, failed, texts = (np.stack(totals[i::4], axis=-1) for i in range(4))
        found = half_dose(shown / n, multiples), collapse_dose(1 - failed / texts, multiples)
        return _or_infinite(found[0]), _or_infinite(found[1])

    ed50, cd50, window = (
        unbounded_interval(statistic, sums, seed=seed)
        for statistic in (
            lambda *x: doses(*x)[0],
            lambda *x: doses(*x)[1],
            lambda *x: np.divide(*doses(*x)[::-1]),
        )
    )
    window = window if window.mean > 0 else Interval(window.mean, float("nan"), float("nan"))
    return Dose(method, ed50, cd50, window, largest=float(multiples[-1]))


def _or_infinite(x: Array) -> Array:
    return np.where(np.isnan(x), inf, x)


def _shown(found: Interval) -> str:
    return f"{found.mean:.2g} [{found.low:.2g}, {found.high:.2g}]"
