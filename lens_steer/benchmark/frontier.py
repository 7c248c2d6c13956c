"""Behaviour against what it costs in nats, beside the least that it can cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.artifacts import savable
from lens_steer.benchmark.drawing import (
    all_methods,
    check_behaviour,
    colours,
    errors,
    lines,
    marks,
    means,
    number_ends,
    numbers,
)
from lens_steer.benchmark.grouped_sums import GroupedSums
from lens_steer.benchmark.quantities import quantity
from lens_steer.benchmark.result import Comparison
from lens_steer.evaluation import least_nats
from lens_steer.intervals import Interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = np.ndarray


@savable
@dataclass(frozen=True)
class FrontierPoint:
    """One method at one strength.

    Attributes:
        method: The name of the method.
        multiple: The strength as a multiple of the method's own; 0 is the unsteered model.
        n: The number of examples behind the share, over all fits and seeds.
        kl_sequence: Nats per text.
        behaviour: The share that shows the behaviour.
        efficiency: The least nats for this share over `kl_sequence`; NaN where nothing is paid.
    """

    method: str
    multiple: float
    n: int
    kl_sequence: Interval
    behaviour: Interval
    efficiency: Interval


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Frontier(Report):
    """What every method makes of one behaviour, and for how many nats.

    Attributes:
        behaviour_name: The behaviour.
        methods: All methods of the comparison, for their colours.
        unsteered: The share of the unsteered model.
        points: A point per method and strength, in rising order of strength.
        groups: The number of groups of prompts that intervals are drawn over.

    Example:
        >>> result = ls.comparison(model, test, methods, config=ls.benchmark.ComparisonConfig())
        >>> ls.benchmark.Frontier.of(result, result.behaviours[0]).figure()
    """

    behaviour_name: str
    methods: tuple[str, ...]
    unsteered: Interval
    points: tuple[FrontierPoint, ...]
    groups: int

    @classmethod
    def of(cls, comparison: Comparison, behaviour: str) -> "Frontier":
        """The frontier of one behaviour.

        Raises:
            ValueError: If the behaviour was not measured.
        """
        check_behaviour(comparison, behaviour)
        seed = comparison.config.seed
        unsteered = comparison.grouped_sums(behaviour, "unsteered")
        points = tuple(
            _point(method, m, comparison.grouped_sums(behaviour, method, m), unsteered, seed)
            for method in comparison.methods(behaviour)
            for m in comparison.multiples(behaviour, method)
        )
        [share] = [point.behaviour for point in points if point.method == "unsteered"]
        return cls(behaviour, all_methods(comparison), share, points, len(unsteered.groups))

    def floor(self, shares: Float[Array, "*share"]) -> Float[Array, "*share"]:
        """The least nats per text that turn the unsteered share into each of `shares`."""
        return least_nats(shares, self.unsteered.mean)

    def table(self) -> "pd.DataFrame":
        """A row per method and strength; `floor` is the least nats for that share."""
        import pandas as pd

        rows = []
        for point in self.points:
            row: dict[str, Any] = {"behaviour_name": self.behaviour_name, "method": point.method}
            row |= {"multiple": point.multiple, "n": point.n}
            for name in ("kl_sequence", "behaviour", "efficiency"):
                row |= getattr(point, name).columns(name)
            rows.append(row | {"floor": float(self.floor(np.array(point.behaviour.mean)))})
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Behaviour against nats per text with the floor; beside it efficiency."""
        from lens_steer.figures import canvas, legend_outside

        rows = 1 + len({point.method for point in self.points}) // 2
        with canvas(1, 2, width=8.4, height=3.5 + 0.2 * rows) as (figure, (left, right)):
            self._draw_floor(left)
            for name in self.methods:
                points = [point for point in self.points if point.method == name]
                if points:
                    self._draw(left, name, points, "behaviour")
                    self._draw(right, name, points, "efficiency")
            left.set(ylabel=f"share of texts\n{self.behaviour_name}", ylim=(-0.02, 1.03))
            right.axhline(1, color="k", lw=1.0)
            part = "efficiency:\nleast nats / nats paid\n(below 0.001: off the axis)"
            right.set(ylabel=part, yscale="log", ylim=(1e-3, 2))
            right.yaxis.set_major_formatter("{x:g}")
            if self.unsteered.mean in (0.0, 1.0):
                note = "not known: unsteered texts\nare all alike, the floor is infinite"
                right.text(0.5, 0.5, note, transform=right.transAxes, ha="center", va="center")
            for axes, quantity in ((left, "behaviour"), (right, "efficiency")):
                self._draw_nats(axes)
                self._number(axes, quantity)
            counted = f"95 % intervals over {self.groups} groups of prompts"
            title = f"{counted}; hollow: share below that of unsteered"
            legend_outside(figure, left, title=title)
        return figure

    def _draw(self, axes: Any, name: str, points: Sequence[FrontierPoint], quantity: str) -> None:
        finite = [p for p in points if np.isfinite(getattr(p, quantity).mean)]
        colour, mark = colours(self.methods)[name], marks(self.methods)[name]
        x, y = [p.kl_sequence for p in finite], [getattr(p, quantity) for p in finite]
        number = numbers(self.methods)[name]
        faint = 0.35 if number else 1.0  # bars of many methods hide the points
        style: dict[str, Any] = {"color": colour, "fmt": "none", "elinewidth": 0.7, "alpha": faint}
        axes.errorbar(means(x), means(y), errors(y), errors(x), **style)
        axes.plot(means(x), means(y), lines(self.methods)[name], color=colour, lw=0.8)
        axes.plot([], [], mark, color=colour, label=f"{number}{name}, n = {points[0].n} a point")
        for a, b, point in zip(means(x), means(y), finite, strict=True):
            down = point.behaviour.mean < self.unsteered.mean
            axes.plot(a, b, mark, color=colour, mfc="white" if down else colour, zorder=3)

    def _number(self, axes: Any, quantity: str) -> None:
        """Numbers beside the panel, at the last point of each method that is drawn."""
        last: dict[str, FrontierPoint] = {}
        for point in self.points:
            if np.isfinite(getattr(point, quantity).mean) and numbers(self.methods)[point.method]:
                last[point.method] = point
        ends = [
            (p.kl_sequence.mean, getattr(p, quantity).mean, numbers(self.methods)[name], colour)
            for name, colour in colours(self.methods).items()
            if (p := last.get(name)) is not None
        ]
        number_ends(axes, ends)

    def _draw_floor(self, axes: Any) -> None:
        shares, plain = np.linspace(0, 1, 801), self.unsteered
        axes.plot(
            self.floor(shares),
            shares,
            color="k",
            lw=1.0,
            label="floor kl(y || unsteered), shaded: its interval",
        )
        if np.isfinite(plain.low):
            nearest = least_nats(shares, shares.clip(plain.low, plain.high))
            ends = [least_nats(shares, end) for end in (plain.low, plain.high)]
            farthest = np.minimum(np.maximum(*ends), 2 * self._farthest)
            axes.fill_betweenx(shares, nearest, farthest, color="k", alpha=0.08, lw=0)

    def _draw_nats(self, axes: Any) -> None:
        from matplotlib.ticker import SymmetricalLogLocator

        paid = [p.kl_sequence.mean for p in self.points if p.kl_sequence.mean > 0]
        least = 10.0 ** np.floor(np.log10(min(paid, default=0.1)))
        axes.set_xscale("symlog", linthresh=least, linscale=0.6)
        axes.set(xlabel="KL(steered || unsteered), nats per text", xlim=(0, self._farthest))
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least))
        axes.xaxis.set_major_formatter("{x:g}")

    @property
    def _farthest(self) -> float:
        ends = [x for p in self.points for x in (p.kl_sequence.mean, p.kl_sequence.high)]
        return 1.3 * max(1.0, *(x for x in ends if np.isfinite(x)))


def _point(
    method: str, multiple: float, grouped: GroupedSums, unsteered: GroupedSums, seed: int
) -> FrontierPoint:
    nats, behaviour, efficiency = (
        quantity(name, grouped.sums, unsteered.sums, seed=seed)
        for name in ("kl_sequence", "behaviour", "efficiency")
    )
    n = round(float(grouped.sums.examples.sum()))
    return FrontierPoint(method, multiple, n, nats, behaviour, efficiency)
