"""Methods chosen on dev at one cost, and compared on test.

The choice: every setting of a method's grid is calibrated to 0.1 nats per token on dev prompts, and
the one that shows most of the behaviour there is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

import lens_steer as ls
from analyses.studies import Tables
from lens_steer.benchmark import (
    KL,
    Behaviour,
    Comparison,
    ComparisonConfig,
    Hyperparameters,
    MethodFamily,
    choose_all,
    holm,
)

DEV = 48  # prompts to choose and calibrate on, at most


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
        cache = behaviour.cache
        chosen = choose_all(
            families, cache, behaviour.dev.first(DEV), behaviour.judge, kl=KL, config=config
        )
        options: dict[str, Any] = {"behaviour_name": behaviour.name, "progress": False}
        comparison = ls.comparison(
            cache.model,
            behaviour.test,
            chosen.methods,
            judge=behaviour.judge,
            config=config,
            **options,
        )
        return cls(chosen.methods, chosen.settings, chosen.missing, comparison)

    def table(self, knobs: Sequence[str], extra: Any = None) -> Any:
        """Behaviour and costs on test, and the knobs of the setting that was chosen.

        Args:
            knobs: Names in settings.
            extra: More columns, by `method`.
        """
        table = self.comparison.table().drop(columns="seconds")  # the same bytes from every run
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
        table: Any = Comparison(tuple(trials), self.comparison.config, {}).differences()
        return table[(table["method"] == method) & (table["other"] == other)]


def corrected(tables: Tables) -> Tables:
    """The tables with p-values of `differences` corrected over all its rows (Holm)."""
    differences = tables["differences"]
    return tables | {"differences": differences.assign(p_holm=holm(list(differences["p"])))}
