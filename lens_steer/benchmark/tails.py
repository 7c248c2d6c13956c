"""How unevenly the nats are spread over texts: a mean may be made by a few of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from lens_steer.artifacts import savable
from lens_steer.benchmark.drawing import all_methods, check_behaviour, colours, errors, lines
from lens_steer.benchmark.grouped_sums import GroupedSums
from lens_steer.benchmark.quantities import kl_sequence
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import statistic_interval
from lens_steer.intervals import Interval, Resampling
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = np.ndarray

_MARKS = {"median": "o", "mean": "D", "high": "s"}


@savable
@dataclass(frozen=True, eq=False)
class Tail:
    """Nats per text of one method.

    Attributes:
        method: The name of the method.
        nats: The nats of every text, in rising order.
        mean: The mean over texts.
        median: Half of the texts cost at most this.
        high: 95 % of the texts cost at most this.
    """

    method: str
    nats: Float[Array, " text"] = field(repr=False)
    mean: Interval
    median: Interval
    high: Interval


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CostTails(Report):
    """The distribution over texts of KL(steered || unsteered) of a whole text.

    Attributes:
        behaviour_name: The behaviour on whose prompts it was measured.
        multiple: The strength, as a multiple of each method's own.
        methods: All methods of the comparison, for their colours.
        tails: Each method that costs anything.
        groups: The number of groups of prompts that intervals are drawn over.

    Example:
        >>> result = ls.comparison(model, test, methods, config=ls.benchmark.ComparisonConfig())
        >>> ls.benchmark.CostTails.of(result, result.behaviours[0]).table()
    """

    behaviour_name: str
    multiple: float
    methods: tuple[str, ...]
    tails: tuple[Tail, ...]
    groups: int

    @classmethod
    def of(cls, comparison: Comparison, behaviour: str, *, multiple: float = 1.0) -> "CostTails":
        """The costs of every method at one strength.

        Raises:
            ValueError: If the behaviour was not measured, or no method was run at that strength.
        """
        check_behaviour(comparison, behaviour)
        tails = [
            _tail(name, comparison.grouped_sums(behaviour, name, multiple), comparison.config.seed)
            for name in comparison.methods(behaviour)
            if name != "unsteered" and multiple in comparison.multiples(behaviour, name)
        ]
        costly = tuple(tail for tail in tails if tail.nats[-1] > 0)
        if not costly:
            raise ValueError(f"no method costs anything at {multiple:g} times its strength")
        groups = len(comparison.grouped_sums(behaviour, "unsteered").groups)
        return cls(behaviour, float(multiple), all_methods(comparison), costly, groups)

    def table(self) -> "pd.DataFrame":
        """A row per method: mean, median and 95 % quantile of nats per text."""
        import pandas as pd

        rows = []
        for tail in self.tails:
            row: dict[str, Any] = {"behaviour_name": self.behaviour_name, "method": tail.method}
            row |= {"multiple": self.multiple, "n": len(tail.nats)}
            row |= tail.mean.columns("kl_mean") | tail.median.columns("kl_median")
            rows.append(row | tail.high.columns("kl_95"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The share of texts that cost more than so many nats."""
        from lens_steer.figures import canvas, legend_outside

        columns = 1 if len(self.tails) <= 8 else 2
        size: dict[str, Any] = {
            "width": 3.2 + 2.2 * columns,
            "height": 3.4 + 0.2 * len(self.tails) / columns,
        }
        with canvas(**size) as (figure, axes):
            for tail in self.tails:
                self._draw(axes, tail)
            least = 0.7 / max(len(tail.nats) for tail in self.tails)
            axes.set(xscale="log", yscale="log", ylim=(min(least, 0.02), 1.1), xlim=self._reach)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
            axes.set(xlabel="KL(steered || unsteered), nats per text")
            axes.set(ylabel="share of texts\nthat cost more than x")
            title = f"{self.behaviour_name}, {self.multiple:g} x own strength\n"
            title += "round: median, diamond: mean, square: 95 % quantile;\n"
            title += f"bars: 95 % intervals over {self.groups} groups of prompts"
            legend_outside(figure, title=title, columns=columns)
        return figure

    def _draw(self, axes: Any, tail: Tail) -> None:
        n, colour = len(tail.nats), colours(self.methods)[tail.method]
        x, left = np.concatenate([[tail.nats[0]], tail.nats]), 1 - np.arange(n + 1) / n
        style: dict[str, Any] = {"color": colour, "ls": lines(self.methods)[tail.method], "lw": 1.0}
        axes.step(x, left, where="post", label=f"{tail.method}, n = {n}", **style)
        above = float((tail.nats > tail.mean.mean).mean()) or 1 / n
        for name, height in (("median", 0.5), ("mean", above), ("high", 0.05)):
            cost, mark = getattr(tail, name), _MARKS[name]
            bar: dict[str, Any] = {"color": colour, "capsize": 2, "elinewidth": 0.8, "zorder": 3}
            axes.errorbar([cost.mean], [height], None, errors([cost]), mark, mfc="white", **bar)

    @property
    def _reach(self) -> tuple[float, float]:
        """The ends of the cost axis, which texts that cost next to nothing do not stretch."""
        medians = [tail.median.mean for tail in self.tails if tail.median.mean > 0]
        most = max(tail.nats[-1] for tail in self.tails)
        return min(medians, default=most) / 30, 1.3 * float(most)


def _tail(method: str, grouped: GroupedSums, seed: int) -> Tail:
    nats, units = _texts(grouped)
    mean = statistic_interval(kl_sequence, [grouped.sums], seed=seed)
    shape = grouped.sums.shape
    median, high = (_quantile(nats, units, shape, q, seed) for q in (0.5, 0.95))
    return Tail(method, np.sort(nats), mean, median, high)


def _texts(grouped: GroupedSums) -> tuple[Float[Array, " text"], Int[Array, "text way"]]:
    """The nats of every text, and the numbers of its fit, seed (or model) and group."""
    several = len({trial.model for trial in grouped.trials}) > 1
    names = ("model",) if several else ("fit", "seed")
    keys = [sorted({getattr(t, name) for t in grouped.trials}) for name in names]
    nats, units = [], []
    for trial in grouped.trials:
        assert trial.evaluation.text_costs is not None  # every trial is measured
        place = [key.index(getattr(trial, name)) for key, name in zip(keys, names, strict=True)]
        nats.append(trial.evaluation.text_costs.kl.numpy())
        units += [[*place, grouped.groups.index(group)] for group in trial.evaluation.text_groups]
    return np.concatenate(nats), np.array(units, dtype=int)


def _quantile(
    nats: Float[Array, " text"],
    units: Int[Array, "text way"],
    shape: Sequence[int],
    share: float,
    seed: int,
) -> Interval:
    """The least number of nats that `share` of the texts do not exceed, with its interval."""
    order = np.argsort(nats)
    x, member = nats[order], units[order]
    value = float(x[np.searchsorted(np.arange(1, len(x) + 1), share * len(x) - 1e-9)])
    drawn = Resampling.of(shape, seed=seed)
    weights = np.ones((len(drawn.counts[0]), len(x)))
    for counts, way in zip(drawn.counts, member.T, strict=True):
        weights *= counts[:, way]
    reached = weights.cumsum(axis=1) >= share * weights.sum(axis=1, keepdims=True) - 1e-9
    influence = np.zeros(tuple(shape))
    np.add.at(influence, tuple(member.T), share - (x <= value))
    low, high = drawn.levels(influence - influence.mean(), x[reached.argmax(axis=1)])
    return Interval(value, low, high)
