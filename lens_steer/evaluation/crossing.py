"""Where a measured curve crosses a target: scanned first, refined at the first crossing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import copysign, sqrt
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOST = 60  # strengths that refinement tries
_FINEST = 1e-5  # of the distance of the two strengths that it begins between
_CLOSE = 2e-3  # of the target: refinement ends when the value is so close
_NEAR = 0.05  # of the target: where no value is so near, the curve jumps over it
_NAMES = {
    "kl": "KL(steered || unsteered), nats per token, fixed texts",
    "relative_norm": "|edit| / |residual stream|",
    "behaviour": "share of texts that show the behaviour",
}

Measure = Callable[[Sequence[float]], list[float]]  # strengths -> the quantity at each


class OutOfReach(ValueError):
    """No strength of a method reaches the target that was asked for."""


@savable
@dataclass(frozen=True, repr=False)
class CalibrationReport(Report):
    """What a quantity is at every strength that was tried, and where it crosses the target.

    Attributes:
        quantity: `kl`, `relative_norm` or `behaviour`.
        target: The value that the quantity was to have.
        strengths: All strengths that were tried, from 0 outwards.
        values: The quantity at each; NaN or infinite where the strength breaks the model.
        crossings: Strengths at which the curve crosses the target, from 0 outwards.
        strength: The strength that was taken, at the first crossing.
        realised: The quantity as it was measured at that strength.
        predicted: The strength that local nats foretold; None where none were asked.
        scanned_because: Why strengths were scanned although local nats were asked; else empty.
    """

    quantity: str
    target: float
    strengths: tuple[float, ...]
    values: tuple[float, ...]
    crossings: tuple[float, ...]
    strength: float
    realised: float
    predicted: float | None = None
    scanned_because: str = ""

    @property
    def shape(self) -> str:
        """`rising`, `saturating` (flat over the strongest third) or `not monotone`."""
        return shape_of(self.values)

    def table(self) -> "pd.DataFrame":
        """One row per strength."""
        import pandas as pd

        return pd.DataFrame({"strength": self.strengths, self.quantity: self.values})

    @override
    def figure(self) -> "Figure":
        """The curve around its crossings; beside it the whole curve, if that goes on far behind."""
        from lens_steer.evaluation.crossing_drawing import draw_crossings

        return draw_crossings(self, fill(_NAMES[self.quantity], 34))


def find_crossing(  # noqa: PLR0913 - what is known already and where it was predicted
    measure: Measure,
    quantity: str,
    target: float,
    grid: Sequence[float],
    *,
    refine: bool,
    known: Mapping[float, float] | None = None,
    predicted: float | None = None,
    scanned_because: str = "",
) -> CalibrationReport:
    """Scan the grid, find every crossing, refine the first.

    Args:
        measure: Gives the quantity at each of some strengths.
        quantity: Its name, as in `CalibrationReport`.
        target: The value to be reached.
        grid: Strengths to try first, from 0 outwards.
        refine: Whether further strengths are tried around the first crossing.
        known: Strengths that were measured before, and their values.
        predicted: As in `CalibrationReport`.
        scanned_because: As in `CalibrationReport`.

    Raises:
        OutOfReach: If the target is not reached.
    """
    values = dict(known or {})
    untried = [strength for strength in grid if strength not in values]
    values |= dict(zip(untried, measure(untried) if untried else [], strict=True))
    crossings = _crossings(values, target)
    if not crossings:
        raise _out_of_reach(values, quantity, target)
    first = _refined(measure, values, quantity, target) if refine else crossings[0]
    if first not in values:  # what is reported is measured, not read off a straight line
        values[first] = measure([first])[0]
    if not np.isfinite(values[first]):
        raise _out_of_reach(values, quantity, target)
    if refine and abs(values[first] - target) > _NEAR * target:
        raise OutOfReach(
            f"{quantity} jumps over {target:g} at strength {first:g}, where it is "
            f"{values[first]:.3g}: ask for another value"
        )
    order = sorted(values, key=abs)
    curve = tuple(values[strength] for strength in order)
    return CalibrationReport(
        quantity,
        target,
        tuple(order),
        curve,
        (first, *crossings[1:]),
        first,
        values[first],
        predicted,
        scanned_because,
    )


def _refined(measure: Measure, values: dict[float, float], quantity: str, target: float) -> float:
    """The strength of the first crossing; what is measured on the way joins `values`."""
    from scipy.optimize import brentq

    def beyond(strength: float) -> float:
        """Straight where a cost is a parabola, and 0 where the value is close enough."""
        if strength not in values:
            values[strength] = measure([strength])[0]
        value = values[strength]
        if not np.isfinite(value):  # steering breaks the model between two strengths
            raise _out_of_reach(values, quantity, target)
        close = abs(value - target) <= _CLOSE * target
        return 0.0 if close else copysign(sqrt(abs(value)), value) - sqrt(target)

    order = sorted(values, key=abs)
    if values[order[0]] == target:
        return order[0]
    left, right = next(pair for pair in pairwise(order) if _crosses(values, pair, target))
    smallest = abs(right - left) * _FINEST
    root: Any = brentq(beyond, left, right, xtol=smallest, maxiter=_MOST, disp=False)
    return float(root)


def _crosses(values: Mapping[float, float], pair: tuple[float, float], target: float) -> bool:
    """Whether the curve passes the target between two strengths; not where one is broken."""
    a, b = (values[strength] - target for strength in pair)
    return bool(np.isfinite([a, b]).all()) and ((a < 0 <= b) or (b <= 0 < a))


def _crossings(values: dict[float, float], target: float) -> list[float]:
    """Where straight lines between the strengths tried meet the target, from 0 outwards."""
    order = sorted(values, key=abs)
    crossings = [order[0]] if values[order[0]] == target else []
    for left, right in pairwise(order):
        if _crosses(values, (left, right), target):
            a, b = values[left] - target, values[right] - target
            crossings.append(right if b == 0 else left + (right - left) * a / (a - b))
    return crossings


def shape_of(values: Sequence[float]) -> str:
    """The shape of a curve from 0 outwards; dips of less than 2 % of its height are ignored."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    height = float(x.max() - x.min())
    if bool((np.diff(x) < -0.02 * height).any()):
        return "not monotone"
    last = x[-max(2, len(x) // 3) :]
    return "saturating" if last[-1] - last[0] < 0.02 * height else "rising"


def _out_of_reach(values: dict[float, float], quantity: str, target: float) -> OutOfReach:
    """The error that says which values are reached, and which strengths break the model."""
    order = [s for s in sorted(values, key=abs) if np.isfinite(values[s])]
    broken = ", ".join(f"{s:.3g}" for s in sorted(values, key=abs) if not np.isfinite(values[s]))
    also = f"; it is NaN or infinite at strength {broken}, which breaks the model" if broken else ""
    if not order:
        return OutOfReach(f"{quantity} {target:g} is not reached{also}: pass smaller strengths=")
    reached = [values[s] for s in order]
    return OutOfReach(
        f"{quantity} {target:g} is not reached: between strength {order[0]:g} and {order[-1]:g} it "
        f"goes from {min(reached):.3g} to {max(reached):.3g} and is {shape_of(reached)}{also}: ask "
        "for a value inside, or pass other strengths="
    )
