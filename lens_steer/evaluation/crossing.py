"""Where a measured curve crosses a target: scanned first, refined at the first crossing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BETWEEN, _ROUNDS, _CLOSE = 3, 6, 2e-3  # strengths tried between two, how often, until so close
_NEAR = 0.05  # of the target: farther away, the curve jumps over it
_NAMES = {
    "kl": "KL(steered || unsteered), nats per token, fixed texts",
    "relative_norm": "|edit| / |residual stream|",
    "behaviour": "share of texts that show the behaviour",
}


Measure = Callable[[Sequence[float]], list[float]]


class OutOfReach(ValueError):
    """No strength of a method costs, or does, what is asked for."""


@savable
@dataclass(frozen=True, repr=False)
class CalibrationReport(Report):
    """What a quantity is at every strength that was tried, and where it crosses the target.

    Attributes:
        quantity: `kl`, `relative_norm` or `behaviour`.
        target: What it was to be.
        strengths: All that were tried, in order.
        values: At each; NaN or infinite where the strength breaks the model.
        crossings: Strengths at which the curve crosses the target, from 0 outwards.
        strength: The one that was taken, the first crossing.
        realised: What the quantity is there, measured.
    """

    quantity: str
    target: float
    strengths: tuple[float, ...]
    values: tuple[float, ...]
    crossings: tuple[float, ...]
    strength: float
    realised: float

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
        """The whole curve, the target, and every crossing."""
        from lens_steer.figures import canvas

        with canvas() as (figure, axes):
            axes.plot(self.strengths, self.values, "o-", color="C0")
            axes.axhline(self.target, color="k", ls=":", lw=0.8, label=f"target {self.target:g}")
            for crossing in self.crossings:
                axes.axvline(crossing, color="C7", lw=0.8)
            axes.plot(self.strength, self.realised, "s", color="C3", label="taken")
            axes.set(xlabel="strength", ylabel=fill(_NAMES[self.quantity], 34))
            title = f"{self.shape}; crossings: vertical lines"
            axes.legend(title=title, frameon=True, framealpha=1, edgecolor="none")  # over the lines
        return figure


def find_crossing(
    measure: Measure, quantity: str, target: float, grid: Sequence[float], *, refine: bool
) -> CalibrationReport:
    """Scan the grid, find every crossing, refine the first.

    Raises:
        OutOfReach: If the target is not reached.
    """
    known = dict(zip(grid, measure(grid), strict=True))
    crossings = _crossings(known, target)
    if not crossings:
        _refuse(known, quantity, target)
    taken = crossings[0]
    for _ in range(_ROUNDS if refine else 0):
        below, above = _around(known, taken)
        between = np.linspace(below, above, _BETWEEN + 2)[1:-1].tolist()
        tried = sorted({taken, *between} - set(known), key=abs)
        known |= dict(zip(tried, measure(tried), strict=True))
        if abs(known[taken] - target) <= _CLOSE * target:
            break
        crossings = _crossings(known, target)
        if not crossings:  # steering broke the model between two strengths
            _refuse(known, quantity, target)
        taken = crossings[0]
    if taken not in known:  # what is reported is measured, not read off a straight line
        known[taken] = measure([taken])[0]
    if not np.isfinite(known[taken]):
        _refuse(known, quantity, target)
    if refine and abs(known[taken] - target) > _NEAR * target:
        raise OutOfReach(
            f"{quantity} jumps over {target:g} at strength {taken:g}, where it is "
            f"{known[taken]:.3g}: ask for another value"
        )
    order = sorted(known, key=abs)
    return CalibrationReport(
        *(quantity, target, tuple(order), tuple(known[s] for s in order), tuple(crossings)),
        strength=taken,
        realised=known[taken],
    )


def _crossings(known: dict[float, float], target: float) -> list[float]:
    """Where straight lines between the strengths tried meet the target, from 0 outwards."""
    order = sorted(known, key=abs)
    found = [order[0]] if known[order[0]] == target else []
    for left, right in zip(order, order[1:], strict=False):
        a, b = known[left] - target, known[right] - target
        if not np.isfinite([a, b]).all():
            continue  # one of the two strengths breaks the model
        if (a < 0 <= b) or (b <= 0 < a):
            found.append(right if b == 0 else left + (right - left) * a / (a - b))
    return found


def _around(known: dict[float, float], strength: float) -> tuple[float, float]:
    return max(s for s in known if s <= strength), min(s for s in known if s >= strength)


def shape_of(values: Sequence[float]) -> str:
    """What the curve looks like from 0 outwards; a dip below 2 % of its height is not one."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    height = float(x.max() - x.min())
    if bool((np.diff(x) < -0.02 * height).any()):
        return "not monotone"
    last = x[-max(2, len(x) // 3) :]
    return "saturating" if last[-1] - last[0] < 0.02 * height else "rising"


def _refuse(known: dict[float, float], quantity: str, target: float) -> NoReturn:
    order = [s for s in sorted(known, key=abs) if np.isfinite(known[s])]
    broken = ", ".join(f"{s:.3g}" for s in sorted(known, key=abs) if not np.isfinite(known[s]))
    lost = f"; it is NaN or infinite at strength {broken}, which breaks the model" if broken else ""
    if not order:
        raise OutOfReach(f"{quantity} {target:g} is not reached{lost}: pass smaller strengths=")
    values = [known[s] for s in order]
    raise OutOfReach(
        f"{quantity} {target:g} is not reached: between strength {order[0]:g} and {order[-1]:g} it "
        f"goes from {min(values):.3g} to {max(values):.3g} and is {shape_of(values)}{lost}: ask "
        "for a value inside, or pass other strengths="
    )
