"""Dose and response: behaviour and the soundness of texts against strength."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.artifacts import savable
from lens_steer.benchmark.doses import Dose, dose_of, with_intact
from lens_steer.benchmark.drawing import (
    all_methods,
    check_behaviour,
    colours,
    errors,
    marks,
    means,
    number_ends,
    numbers,
)
from lens_steer.benchmark.grouped_sums import GroupedSums
from lens_steer.benchmark.quantities import behaviour as behaviour_share
from lens_steer.benchmark.quantities import intact as intact_share
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import share_interval
from lens_steer.intervals import Interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True)
class DosePoint:
    """One method at one strength: the share that shows the behaviour, and that of intact texts."""

    method: str
    multiple: float
    n: int
    behaviour: Interval
    intact: Interval


@savable
@dataclass(frozen=True, eq=False, repr=False)
class DoseResponse(Report):
    """Behaviour and intact texts against strength, and the doses that are read off.

    A text is intact if it is well formed and not empty; where the judge cannot tell, if its mean
    surprise per token under the unsteered model lies within the central 95 % of the unsteered
    texts'.

    Attributes:
        behaviour_name: The behaviour.
        methods: All methods of the comparison, for their colours.
        unsteered: The shares of the unsteered model.
        points: A point per method and strength, in rising order.
        doses: The doses of each method that has strengths.
        groups: The number of groups of prompts that intervals are drawn over.

    Example:
        >>> result = ls.comparison(model, test, methods, config=ls.benchmark.ComparisonConfig())
        >>> ls.benchmark.DoseResponse.of(result, result.behaviours[0]).table()
    """

    behaviour_name: str
    methods: tuple[str, ...]
    unsteered: DosePoint
    points: tuple[DosePoint, ...]
    doses: tuple[Dose, ...]
    groups: int

    @classmethod
    def of(cls, comparison: Comparison, behaviour: str) -> "DoseResponse":
        """The doses of one behaviour; methods of one strength, such as prompting, are left out.

        Raises:
            ValueError: If the behaviour was not measured.
        """
        check_behaviour(comparison, behaviour)
        filled, seed = with_intact(comparison), comparison.config.seed
        strengths = {
            name: [m for m in filled.multiples(behaviour, name) if m > 0]
            for name in filled.methods(behaviour)
        }
        varied = {name: multiples for name, multiples in strengths.items() if len(multiples) > 1}
        points = tuple(
            _point(name, m, filled.grouped_sums(behaviour, name, m), seed)
            for name, multiples in varied.items()
            for m in multiples
        )
        doses = tuple(dose_of(filled, behaviour, name) for name in varied)
        unsteered = filled.grouped_sums(behaviour, "unsteered")
        point = _point("unsteered", 0.0, unsteered, seed)
        return cls(behaviour, all_methods(filled), point, points, doses, len(unsteered.groups))

    def table(self) -> "pd.DataFrame":
        """A row per method: doses with their intervals, and the largest multiple tried."""
        import pandas as pd

        rows = []
        for dose in self.doses:
            row: dict[str, Any] = {"behaviour_name": self.behaviour_name, "method": dose.method}
            for name in ("ed50", "cd50", "window"):
                row |= getattr(dose, name).columns(name)
            rows.append(row | {"largest": dose.largest})
        return pd.DataFrame(rows)

    def curves(self) -> "pd.DataFrame":
        """A row per method and strength, the unsteered model first: what the figure joins."""
        import pandas as pd

        rows = []
        for point in (self.unsteered, *self.points):
            row: dict[str, Any] = {"behaviour_name": self.behaviour_name, "method": point.method}
            row |= {"multiple": point.multiple, "n": point.n}
            rows.append(row | point.behaviour.columns("behaviour") | point.intact.columns("intact"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Behaviour and the share of intact texts against strength; ED50 and CD50 as hollow."""
        from lens_steer.figures import canvas, legend_outside

        many = len(self.doses) > 8
        grid = (1, 2) if many else (2, 1)
        height = 3.9 + 0.25 * len(self.doses) if many else 4.4 + 0.33 * (len(self.doses) + 1)
        size = {"width": 10.6 if many else 5.6, "height": height}
        with canvas(*grid, sharex=True, **size) as (figure, (above, below)):
            for dose in self.doses:
                self._draw(above, dose, "behaviour", dose.ed50)
                self._draw(below, dose, "intact", dose.cd50)
            self._draw_levels(above, "behaviour", (1 + self.unsteered.behaviour.mean) / 2)
            self._draw_levels(below, "intact", self.unsteered.intact.mean / 2)
            above.set(ylabel=f"share of texts\n{self.behaviour_name}")
            below.set(ylabel="share of texts intact", xscale="log")
            for axes in (above, below) if many else (below,):
                axes.set(xlabel="strength, multiples of the method's own")
            self._mark_strengths(below)
            self._number(above, "behaviour")
            self._number(below, "intact")
            counted = f"95 % intervals over {self.groups} groups of prompts"
            title = f"{counted}; hollow: ED50, CD50, a little apart"
            legend_outside(figure, above, title=title, columns=2 if many else 1)

        return figure

    def _draw(self, axes: Any, dose: Dose, quantity: str, at: Interval) -> None:
        points = [point for point in self.points if point.method == dose.method]
        colour, mark = colours(self.methods)[dose.method], marks(self.methods)[dose.method]
        place = list(self.methods).index(dose.method)
        shares = [getattr(point, quantity) for point in points]
        aside = 1 + 0.008 * (place - len(self.methods) / 2)  # so that bars do not hide each other
        x = aside * np.array([point.multiple for point in points])
        number = numbers(self.methods)[dose.method]
        label = f"{number}{dose.method}, n = {points[0].n} a point\n{dose}"
        style: dict[str, Any] = {"color": colour, "lw": 1.0, "elinewidth": 0.7, "label": label}
        axes.errorbar(x, means(shares), errors(shares), fmt=f"{mark}-", **style)
        if isfinite(at.mean) and at.mean > 0:
            level = self._level(quantity) + 0.02 * (place - len(self.methods) / 2)
            seen = Interval(at.mean, at.low, min(at.high, 1.1 * dose.largest))
            bar: dict[str, Any] = {"color": colour, "capsize": 2, "elinewidth": 1.2, "zorder": 4}
            axes.errorbar([at.mean], [level], None, errors([seen]), mark, mfc="white", ms=6, **bar)

    def _number(self, axes: Any, quantity: str) -> None:
        """Numbers beside the panel, at the largest strength of each method."""
        last = {point.method: point for point in self.points}
        ends = [
            (point.multiple, getattr(point, quantity).mean, number, colours(self.methods)[name])
            for name, number in numbers(self.methods).items()
            if number and (point := last.get(name)) is not None
        ]
        number_ends(axes, ends)

    def _level(self, quantity: str) -> float:
        plain = getattr(self.unsteered, quantity).mean
        return (1 + plain) / 2 if quantity == "behaviour" else plain / 2

    def _draw_levels(self, axes: Any, quantity: str, level: float) -> None:
        plain, n = getattr(self.unsteered, quantity), self.unsteered.n
        label = f"unsteered, n = {n}; dotted: the level of ED50, of CD50"
        axes.axhline(plain.mean, color="k", ls="--", lw=0.8, label=label)
        if isfinite(plain.low):
            axes.axhspan(plain.low, plain.high, color="k", alpha=0.07, lw=0)
        axes.axhline(level, color="k", ls=":", lw=0.8)
        axes.set(ylim=(-0.02, 1.03))

    def _mark_strengths(self, axes: Any) -> None:
        from matplotlib.ticker import NullLocator

        axes.set_xticks(sorted({point.multiple for point in self.points}))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        tried = [point.multiple for point in self.points]
        axes.set_xlim(0.9 * min(tried, default=1), 1.1 * max(tried, default=1))


def _point(method: str, multiple: float, grouped: GroupedSums, seed: int) -> DosePoint:
    n = round(float(grouped.sums.examples.sum()))
    behaviour = share_interval(behaviour_share, [grouped.sums], seed=seed)
    intact = share_interval(intact_share, [grouped.sums], seed=seed)
    return DosePoint(method, multiple, n, behaviour, intact)
