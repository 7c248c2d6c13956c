"""Comparing methods: what they do, what it costs, and whether the difference is real."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.benchmark.config import ComparisonConfig
from lens_steer.benchmark.grouped_sums import (
    Array,
    GroupedSums,
    Sums,
    group_differences,
    grouped_by_strength,
)
from lens_steer.benchmark.method_names import references_first
from lens_steer.benchmark.quantities import (
    QUANTITIES,
    along,
    area,
    at_budget,
    behaviour,
    difference,
    kl,
    quantity,
)
from lens_steer.benchmark.statistics import (
    Statistic,
    Totals,
    distinct_interval,
    holm,
    share_interval,
    sign_flip,
    statistic_interval,
)
from lens_steer.benchmark.trials import Trial

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Everything that was measured in a comparison; tables and figures are made of it.

    Attributes:
        trials: All methods, behaviours, strengths, fits and seeds; of one model, or of several.
        config: How texts were written and methods were varied, the same for all.
        seconds: (behaviour, method) to steered over unsteered generation; empty where not timed.

    Example:
        >>> result = ls.comparison(model, test, methods, config=ls.benchmark.ComparisonConfig())
        >>> result.table()
        >>> ls.benchmark.Frontier.of(result, result.behaviours[0]).figure()
    """

    trials: tuple[Trial, ...]
    config: ComparisonConfig
    seconds: dict[tuple[str, str], float]

    def __repr__(self) -> str:
        methods = references_first(trial.method for trial in self.trials)
        return (
            f"Comparison({len(self.trials)} trials of {', '.join(methods)} on "
            f"{', '.join(self.behaviours)})"
        )

    @classmethod
    def merge(cls, parts: Iterable["Comparison"]) -> "Comparison":
        """Several behaviours, or several models, in one: they are corrected for together.

        Raises:
            ValueError: If there are none, or they were run with different settings.
        """
        comparisons = list(parts)
        if not comparisons or any(part.config != comparisons[0].config for part in comparisons):
            raise ValueError("expected comparisons, at least one, all with the same config")
        trials = tuple(trial for part in comparisons for trial in part.trials)
        keys = [trial.key for trial in trials]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"two comparisons have the trial {twice}: give one another name")
        seconds = {key: value for part in comparisons for key, value in part.seconds.items()}
        return cls(trials, comparisons[0].config, seconds)

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The names of the behaviours, in order of first appearance."""
        return tuple(dict.fromkeys(trial.behaviour_name for trial in self.trials))

    def methods(self, behaviour_name: str) -> tuple[str, ...]:
        """The names of the methods that were run on a behaviour, references first."""
        return references_first(
            trial.method for trial in self.trials if trial.behaviour_name == behaviour_name
        )

    def grouped_sums(self, behaviour_name: str, method: str, multiple: float = 1.0) -> GroupedSums:
        """The sums of one method at one strength (the unsteered model has only one).

        Raises:
            ValueError: If there is no such trial.
        """
        key = (behaviour_name, method, 0.0 if method == "unsteered" else multiple)
        if key not in self._grouped_sums:
            raise ValueError(f"no trial of {key}: there are {sorted(self._grouped_sums)}")
        return self._grouped_sums[key]

    @cached_property
    def _grouped_sums(self) -> dict[tuple[str, str, float], GroupedSums]:
        return grouped_by_strength(self.trials)

    def multiples(self, behaviour_name: str, method: str) -> list[float]:
        """Strengths that were tried, as multiples of the method's own, in rising order."""
        wanted = (behaviour_name, method)
        return sorted(m for name, other, m in self._grouped_sums if (name, other) == wanted)

    def table(self) -> "pd.DataFrame":
        """A row per method and behaviour, every number with its interval; see `compare`.

        It prints on one screen; `table.full` prints every column.
        """
        from lens_steer.benchmark.comparison_table import ComparisonTable

        pairs = [(name, method) for name in self.behaviours for method in self.methods(name)]
        rows = [self._row(name, method) for name, method in pairs]
        _add_holm([row for row in rows if row["method"] != "unsteered"])
        return ComparisonTable(rows)

    def _row(self, behaviour_name: str, method: str) -> dict[str, Any]:
        steered = self.grouped_sums(behaviour_name, method)
        unsteered = self.grouped_sums(behaviour_name, "unsteered")
        seed = self.config.seed
        row: dict[str, Any] = {"method": method, "behaviour_name": behaviour_name}
        for name in QUANTITIES:
            row |= quantity(name, steered.sums, unsteered.sums, seed=seed).columns(name)
        for n in (1, 2):
            row |= distinct_interval(steered.trials, n).columns(f"distinct_{n}")
        if method != "unsteered":
            row |= self._change(steered, unsteered)
        curve = self._curve(behaviour_name, method)
        for budget in self.config.budgets:
            at = share_interval(_read_off(at_budget, budget), curve, seed=seed)
            row |= at.columns(f"at_{budget:g}")
        under = _read_off(area, self.config.budgets[-1])
        row |= statistic_interval(under, curve, seed=seed).columns("area")
        row |= _of_texts(steered.trials)
        return row | {"seconds": self.seconds.get((behaviour_name, method), float("nan"))}

    def _change(self, one: GroupedSums, other: GroupedSums) -> dict[str, float]:
        seed = self.config.seed
        change = statistic_interval(difference, [one.sums, other.sums], seed=seed)
        p = sign_flip(group_differences(one, other), seed=seed)
        return change.columns("change") | {"p": p}

    def _curve(self, behaviour_name: str, method: str) -> list[Sums]:
        """The sums at each strength, out from no steering."""
        steered = [m for m in self.multiples(behaviour_name, method) if m > 0]
        curve = [self.grouped_sums(behaviour_name, method, m).sums for m in steered]
        return [self.grouped_sums(behaviour_name, "unsteered").sums, *curve]

    def differences(self, against: str | None = None) -> "pd.DataFrame":
        """Paired differences of methods as given and at each budget, p after Holm.

        Args:
            against: The method that each of the others is compared with; None is every pair.

        Raises:
            ValueError: If there is no trial of that method.
        """
        import pandas as pd

        rows = []
        for name in self.behaviours:
            methods = self.methods(name)
            others = [(method, against) for method in methods if against not in (None, method)]
            for one, other in combinations(methods, 2) if against is None else others:
                rows.append(self._pair(name, one, str(other)))
        _add_holm(rows)
        return pd.DataFrame(rows)

    def _pair(self, behaviour_name: str, one: str, other: str) -> dict[str, Any]:
        row: dict[str, Any] = {"behaviour_name": behaviour_name, "method": one, "other": other}
        row |= self._change(
            self.grouped_sums(behaviour_name, one), self.grouped_sums(behaviour_name, other)
        )
        left, right = self._curve(behaviour_name, one), self._curve(behaviour_name, other)
        for budget in self.config.budgets:
            read = _read_off(at_budget, budget)

            def gap(*totals: Totals, read: Statistic = read, n: int = len(left)) -> Any:
                return read(*totals[:n]) - read(*totals[n:])

            apart = statistic_interval(gap, [*left, *right], seed=self.config.seed)
            row |= apart.columns(f"at_{budget:g}")
        return row

    def points(self) -> "pd.DataFrame":
        """A row per behaviour, method and strength: behaviour against realised cost."""
        import pandas as pd

        rows = []
        for (behaviour_name, method, multiple), grouped in self._grouped_sums.items():
            row: dict[str, Any] = {"behaviour_name": behaviour_name, "method": method}
            row |= {"multiple": multiple, "shown": grouped.trials[0].shown}
            unsteered = self.grouped_sums(behaviour_name, "unsteered").sums
            for name in ("behaviour", "kl", "kl_sequence", "kl_fixed", "relative_norm", "failed"):
                measured = quantity(name, grouped.sums, unsteered, seed=self.config.seed)
                row |= measured.columns(name)
            rows.append(row)
        return pd.DataFrame(rows)


def _read_off(read: Callable[..., Array], budget: float) -> Statistic:
    """Behaviour along a curve, read off at the cost that was realised."""
    return lambda *curve: read(along(kl, curve), along(behaviour, curve), budget)


def _of_texts(trials: tuple[Trial, ...]) -> dict[str, Any]:
    """Columns that are statistics of single texts."""
    evaluations = [trial.evaluation for trial in trials]
    costs = [evaluation.text_costs for evaluation in evaluations]
    nats = np.concatenate([of_texts.kl.numpy() for of_texts in costs if of_texts is not None])
    row: dict[str, Any] = {"kl_median": float(np.median(nats))}
    row |= {"kl_95": float(np.quantile(nats, 0.95))}
    failure = next((e.failure for e in evaluations if e.failure), "")
    row |= {"failure": failure} if failure else {}
    if any(e.unjudged for e in evaluations):
        row |= {"unjudged": float(np.mean([e.unjudged_share for e in evaluations]))}
    row |= {"repetition": float(np.mean([e.repetition for e in evaluations]))}
    return row | {"fits": len({trial.fit for trial in trials})}


def _add_holm(rows: list[dict[str, Any]]) -> None:
    """Give every row the p value adjusted for all of them."""
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
