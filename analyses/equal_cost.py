"""Methods chosen on dev at one cost, and compared on test.

The choice: every setting of a method's grid is calibrated to 0.1 nats per token on dev prompts, and
the one that shows most of the behaviour there is taken. All studies make their own kinds of methods
here (`method_family`), so that a change of the library's interface touches this file alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import lens_steer as ls
from analyses.studies import Tables
from lens_steer.benchmark import (
    KL,
    Behaviour,
    Comparison,
    ComparisonConfig,
    FitCache,
    Hyperparameters,
    MethodFamily,
    calibrated_best,
    holm,
)
from lens_steer.evaluation import OutOfReach

DEV = 48  # prompts to choose and calibrate on, at most

Make = Callable[[FitCache, Mapping[str, Any]], ls.Intervention]
Grid = Callable[[FitCache], list[Hyperparameters]]
Draw = Callable[[FitCache, np.random.Generator], Hyperparameters]


@dataclass(frozen=True, eq=False)
class _Family(MethodFamily):
    name: str
    build: Make
    settings: Grid
    prior: Draw | None

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Settings without a strength."""
        return self.settings(inputs)

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """A setting for random search."""
        if self.prior is None:
            raise ValueError(f"{self.name} has no prior for random search: choose from its grid")
        return self.prior(inputs, source)

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
        """The method with these settings."""
        return self.build(inputs, setting)


def method_family(*, name: str, make: Make, grid: Grid, draw: Draw | None = None) -> MethodFamily:
    """A kind of method.

    Args:
        name: In tables.
        make: The method of a setting, whose strength is set afterwards if the setting has one.
        grid: Settings to choose from on dev, without a strength.
        draw: A random setting with its strength, for random search.
    """

    def at_strength(cache: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
        return make(cache, setting).with_strength(setting.get("strength", 1.0))

    return _Family(name, at_strength, grid, draw)


def thinned(family: MethodFamily, most: int) -> MethodFamily:
    """A family that may try no more than `most` settings of its grid.

    They are the middle ones of as many equal parts of the grid, in its order; the prior of random
    search is not changed.
    """

    def grid(inputs: FitCache) -> list[Hyperparameters]:
        settings = family.grid(inputs)
        n = min(most, len(settings))
        return [settings[int((i + 0.5) * len(settings) / n)] for i in range(n)]

    return _Family(family.name, family.make, grid, family.draw)


@dataclass(frozen=True, eq=False)
class Matched:
    """Methods chosen on dev at one cost, and what they do on test.

    Attributes:
        methods: The best on dev of each family, by name.
        settings: The setting of each, with its strength.
        missing: Why the other families have none.
        comparison: Of the methods on test, with the references that they have to beat.
    """

    methods: dict[str, ls.Intervention]
    settings: dict[str, Hyperparameters]
    missing: dict[str, str]
    comparison: Comparison

    @classmethod
    def fit(
        cls, behaviour: Behaviour, families: Sequence[MethodFamily], config: ComparisonConfig
    ) -> "Matched":
        """Choose the best setting of each family on dev, then compare the methods on test."""
        dev, inputs = behaviour.dev.first(DEV), behaviour.inputs
        methods: dict[str, ls.Intervention] = {}
        settings: dict[str, Hyperparameters] = {}
        missing: dict[str, str] = {}
        for family in families:
            try:
                best = calibrated_best(family, inputs, dev, behaviour.judge, kl=KL, terms=config)
            except OutOfReach as error:
                missing[family.name] = str(error)
                continue
            methods[family.name], settings[family.name] = family.make(inputs, best), best
        options: dict[str, Any] = {"behaviour_name": behaviour.name, "progress": False}
        comparison = ls.comparison(
            inputs.model,
            behaviour.test,
            methods,
            judge=behaviour.judge,
            terms=config,
            **options,
        )
        return cls(methods, settings, missing, comparison)

    def table(self, knobs: Sequence[str], extra: Any = None) -> Any:
        """Behaviour and costs on test, and the knobs of the setting that was chosen.

        Args:
            knobs: Names in settings.
            extra: More columns, by `method`.
        """
        table = self.comparison.table()
        if extra is not None:
            table = table.merge(extra, on="method", how="left")
        for knob in knobs:
            table[knob] = [self.settings.get(name, {}).get(knob) for name in table["method"]]
        return table

    def missing_table(self) -> pd.DataFrame:
        """A row for each family without a method, which says why."""
        rows = [{"method": name, "why": why} for name, why in self.missing.items()]
        return pd.DataFrame(rows, columns=["method", "why"])

    def differences(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Paired: the first method less the second, at the cost on test and at 0.1 nats per token.

        Pairs of which a method is missing are left out.
        """
        present = [pair for pair in pairs if set(pair) <= set(self.methods)]
        table = pd.concat([self._difference(*pair) for pair in present], ignore_index=True)
        ends = [f"{c}{end}" for c in ("change", "at_0.1") for end in ("", "_low", "_high")]
        return table[["behaviour_name", "method", "other", *ends, "p"]]

    def _difference(self, method: str, other: str) -> Any:
        """One row; trials in the order of the names, so that the difference has its sign."""
        names = ["unsteered", method, other]
        trials = sorted(
            (trial for trial in self.comparison.trials if trial.method in names),
            key=lambda trial: names.index(trial.method),
        )
        table: Any = Comparison(tuple(trials), self.comparison.terms, {}).differences()
        return table[(table["method"] == method) & (table["other"] == other)]


def corrected(tables: Tables) -> Tables:
    """The tables with p-values of `differences` corrected over all its rows (Holm)."""
    differences = tables["differences"]
    return tables | {"differences": differences.assign(p_holm=holm(list(differences["p"])))}
