"""Where methods push: the share of their energy in each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch

from lens_steer.artifacts import savable
from lens_steer.benchmark.drawing import (
    all_methods,
    check_behaviour,
    colours,
    errors,
    means,
)
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.trials import Trial
from lens_steer.intervals import Interval, interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class EnergyMap(Report):
    """The share of each layer in a method's |edit|^2, summed over steered positions.

    Attributes:
        behaviour_name: The behaviour on whose prompts it was measured.
        multiple: The strength, as a multiple of each method's own.
        methods: All methods of the comparison, for their colours.
        shares: Method to block index to share; every layer that any method edits.
        n: The number of trials of each method, over fits and seeds.

    Example:
        >>> result = ls.comparison(model, test, methods, config=ls.benchmark.ComparisonConfig())
        >>> ls.benchmark.EnergyMap.of(result, result.behaviours[0]).figure()
    """

    behaviour_name: str
    multiple: float
    methods: tuple[str, ...]
    shares: dict[str, dict[int, Interval]]
    n: dict[str, int]

    @classmethod
    def of(cls, comparison: Comparison, behaviour: str, *, multiple: float = 1.0) -> "EnergyMap":
        """The energy of every method that edits activations.

        Intervals are over models, fits or seeds, the first of which there are several.

        Raises:
            ValueError: If the behaviour was not measured, or nothing was edited.
        """
        check_behaviour(comparison, behaviour)
        trials = [
            trial
            for trial in comparison.trials
            if (trial.behaviour_name, trial.multiple) == (behaviour, multiple) and _energy(trial)
        ]
        if not trials:
            raise ValueError(f"no method edits anything at {multiple:g} times its strength")
        methods = all_methods(comparison)
        layers = sorted({layer for trial in trials for layer, _ in _energy(trial)})
        of_method = {name: [t for t in trials if t.method == name] for name in methods}
        shares = {
            name: {layer: _share(part, layer, comparison.config.seed) for layer in layers}
            for name, part in of_method.items()
            if part
        }
        counts = {name: len(of_method[name]) for name in shares}
        return cls(behaviour, float(multiple), methods, shares, counts)

    def table(self) -> "pd.DataFrame":
        """A row per method and layer; without ends where there is one trial."""
        import pandas as pd

        rows = []
        for name, shares in self.shares.items():
            for layer, share in shares.items():
                row: dict[str, Any] = {"behaviour_name": self.behaviour_name, "method": name}
                row |= {"multiple": self.multiple, "layer": layer, "n": self.n[name]}
                rows.append(row | share.columns("energy"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Bars side by side, a group per layer."""
        from matplotlib.ticker import MaxNLocator

        from lens_steer.figures import canvas, legend_outside

        layers = max(layer for shares in self.shares.values() for layer in shares) + 1
        width, wide = min(12.0, 4.2 + 0.25 * layers), 0.84 / len(self.shares)
        height = 2.9 + 0.2 * len(self.shares)
        with canvas(width=width, height=height) as (figure, axes):
            for i, (name, shares) in enumerate(self.shares.items()):
                x = [layer + wide * (i - (len(self.shares) - 1) / 2) for layer in shares]
                heights, label = list(shares.values()), f"{name}, {self.n[name]} fits x seeds"
                bars: dict[str, Any] = {"color": colours(self.methods)[name], "label": label}
                axes.bar(x, means(heights), 0.92 * wide, **bars)
                axes.errorbar(x, means(heights), errors(heights), fmt="none", ecolor="k", lw=0.7)
            axes.set(
                xlabel="layer (block index)", xlim=(-0.6, layers - 0.4), ylim=(0, self._highest)
            )
            axes.set(ylabel="share of |edit|^2")
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
            title = f"{self.behaviour_name}, {self.multiple:g} x own strength\n"
            title += "95 % intervals where there are several fits"
            legend_outside(figure, title=title, columns=1)
        return figure

    @property
    def _highest(self) -> float:
        """The end of the axis: shares of many layers are small."""
        ends = [end for x in self.shares.values() for s in x.values() for end in (s.mean, s.high)]
        return min(1.05, 1.1 * max(end for end in ends if isfinite(end)))


def _energy(trial: Trial) -> tuple[tuple[int, float], ...]:
    return () if trial.fixed is None else trial.fixed.energy


def _share(trials: Sequence[Trial], layer: int, seed: int) -> Interval:
    shares = [dict(_energy(trial)).get(layer, 0.0) for trial in trials]
    units = [[getattr(t, name) for t in trials] for name in ("model", "fit", "seed")]
    several = [keys for keys in units if len(set(keys)) > 1]
    groups = several[0] if several else [0] * len(trials)
    return interval(torch.tensor(shares, dtype=torch.float64), groups, seed=seed)
