"""Comparing methods: what they do, what it costs, and whether the difference is real."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.benchmark.cells import Array, GroupedSums, all_groups
from lens_steer.benchmark.contest import in_order
from lens_steer.benchmark.quantities import QUANTITIES, quantity
from lens_steer.benchmark.statistics import (
    area,
    at_budget,
    distinct_interval,
    holm,
    share_interval,
    sign_flip,
    statistic_interval,
)
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.benchmark.trials import Trial

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that was measured; tables and figures are made of it.

    Attributes:
        trials: Of all methods, behaviours, strengths, fits and seeds; of one model, or of several.
        terms: The same for all.
        seconds: (behaviour, method) to steered over unsteered generation; empty where not timed.
    """

    trials: tuple[Trial, ...]
    terms: ComparisonConfig
    seconds: dict[tuple[str, str], float]

    @classmethod
    def merge(cls, parts: Iterable["Comparison"]) -> "Comparison":
        """Several behaviours, or several models, in one: they are corrected for together.

        Raises:
            ValueError: If there are none, or they were not run on the same terms.
        """
        found = list(parts)
        if not found or any(part.terms != found[0].terms for part in found):
            raise ValueError("expected comparisons, at least one, all on the same terms")
        keys = [t.key for part in found for t in part.trials]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"two comparisons have the trial {twice}: give one another name")
        seconds = {key: value for part in found for key, value in part.seconds.items()}
        return cls(tuple(t for part in found for t in part.trials), found[0].terms, seconds)

    @property
    def behaviours(self) -> tuple[str, ...]:
        """Names, in order of first appearance."""
        return tuple(dict.fromkeys(trial.behaviour_name for trial in self.trials))

    def methods(self, behaviour: str) -> tuple[str, ...]:
        """Names, references first."""
        return in_order(t.method for t in self.trials if t.behaviour_name == behaviour)

    def cells(self, behaviour: str, method: str, multiple: float = 1.0) -> GroupedSums:
        """Sums of one method at one strength (the unsteered model has only one).

        Raises:
            ValueError: If there is no such trial.
        """
        wanted = 0.0 if method == "unsteered" else multiple
        key = (behaviour, method, wanted)
        if key not in self._cells:
            raise ValueError(f"no trial of {key}: there are {sorted(self._cells)}")
        return self._cells[key]

    @cached_property
    def _cells(self) -> dict[tuple[str, str, float], GroupedSums]:
        parts: dict[tuple[str, str, float], list[Trial]] = {}
        for trial in self.trials:
            key = (trial.behaviour_name, trial.method, trial.multiple)
            parts.setdefault(key, []).append(trial)
        for name in self.behaviours:
            _check_alike({key: part for key, part in parts.items() if key[0] == name})
        groups = {
            name: all_groups([t for t in self.trials if t.behaviour_name == name])
            for name in self.behaviours
        }
        return {key: GroupedSums.of(part, groups[key[0]]) for key, part in parts.items()}

    def multiples(self, behaviour: str, method: str) -> list[float]:
        """Strengths that were tried, as multiples of the method's own, in rising order."""
        return sorted(m for b, name, m in self._cells if (b, name) == (behaviour, method))

    def table(self) -> "pd.DataFrame":
        """A row per method and behaviour, every number with its interval; see `compare`."""
        import pandas as pd

        rows = [
            self._row(behaviour, method)
            for behaviour in self.behaviours
            for method in self.methods(behaviour)
        ]
        tested = [row for row in rows if row["method"] != "unsteered"]
        for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = adjusted
        return pd.DataFrame(rows)

    def _row(self, behaviour: str, method: str) -> dict[str, Any]:
        here, plain = self.cells(behaviour, method), self.cells(behaviour, "unsteered")
        seed = self.terms.seed
        row: dict[str, Any] = {"method": method, "behaviour_name": behaviour}
        for name in QUANTITIES:
            row |= quantity(name, here, plain, seed=seed).columns(name)
        for n in (1, 2):
            row |= distinct_interval(here.trials, n).columns(f"distinct_{n}")
        if method != "unsteered":
            row |= self._change(here, plain)
        curve = self._curve(behaviour, method)
        for budget in self.terms.budgets:
            found = share_interval(*self._read_off(curve, budget, at_budget), seed=seed)
            row |= found.columns(f"at_{budget:g}")
        most = self._read_off(curve, self.terms.budgets[-1], area)
        row |= statistic_interval(*most, seed=seed).columns("area")
        nats = np.concatenate(
            [t.evaluation.paths.kl.numpy() for t in here.trials if t.evaluation.paths]
        )
        row |= {"kl_median": float(np.median(nats)), "kl_95": float(np.quantile(nats, 0.95))}
        repeats = [trial.evaluation.repetition for trial in here.trials]
        failure = next((t.evaluation.failure for t in here.trials if t.evaluation.failure), "")
        row |= {"failure": failure} if failure else {}
        row |= {"repetition": float(np.mean(repeats)), "fits": len({t.fit for t in here.trials})}
        return row | {"seconds": self.seconds.get((behaviour, method), float("nan"))}

    def _change(self, here: GroupedSums, plain: GroupedSums) -> dict[str, float]:
        sums = [c.sums[n] for c in (here, plain) for n in ("behaviour", "examples")]
        seed = self.terms.seed
        found = statistic_interval(_difference, sums, seed=seed).columns("change")
        return found | {"p": sign_flip(group_differences(here, plain), seed=seed)}

    def _curve(self, behaviour: str, method: str) -> list[GroupedSums]:
        """Out from no steering."""
        own = [m for m in self.multiples(behaviour, method) if m > 0]
        steered = [self.cells(behaviour, method, m) for m in own]
        return [self.cells(behaviour, "unsteered"), *steered]

    def _read_off(
        self, curve: Sequence[GroupedSums], budget: float, read: Callable[..., Array]
    ) -> tuple[Callable[..., Any], list[Array]]:
        """Behaviour as a function of sums over cells, at the cost that was realised."""
        sums = [cells.sums[name] for cells in curve for name in _CURVE]

        def statistic(*totals: Any) -> Any:
            shown, examples, nats, draws = (np.stack(totals[i::4], axis=-1) for i in range(4))
            return read(nats / draws, shown / examples, budget)

        return statistic, sums

    def differences(self, against: str | None = None) -> "pd.DataFrame":
        """Paired differences of methods as given and at each budget, p after Holm.

        Args:
            against: The method that each of the others is compared with; None is every pair.

        Raises:
            ValueError: If there is no trial of that method.
        """
        import pandas as pd

        rows = []
        for behaviour in self.behaviours:
            names = self.methods(behaviour)
            others = [(name, against) for name in names if against not in (None, name)]
            for one, other in combinations(names, 2) if against is None else others:
                rows.append(self._pair(behaviour, one, str(other)))
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = adjusted
        return pd.DataFrame(rows)

    def _pair(self, behaviour: str, one: str, other: str) -> dict[str, Any]:
        row: dict[str, Any] = {"behaviour_name": behaviour, "method": one, "other": other}
        row |= self._change(self.cells(behaviour, one), self.cells(behaviour, other))
        for budget in self.terms.budgets:
            (read, left), (_, right) = (
                self._read_off(self._curve(behaviour, name), budget, at_budget)
                for name in (one, other)
            )
            half = len(left)

            def gap(*totals: Any, read: Any = read, half: int = half) -> Any:
                return read(*totals[:half]) - read(*totals[half:])

            apart = statistic_interval(gap, [*left, *right], seed=self.terms.seed)
            row |= apart.columns(f"at_{budget:g}")
        return row

    def points(self) -> "pd.DataFrame":
        """A row per behaviour, method and strength: behaviour against realised cost."""
        import pandas as pd

        rows = []
        for (behaviour, method, multiple), cells in self._cells.items():
            row: dict[str, Any] = {"behaviour_name": behaviour, "method": method}
            row |= {"multiple": multiple, "shown": cells.trials[0].shown}
            plain = self.cells(behaviour, "unsteered")
            for name in ("behaviour", "kl", "kl_sequence", "kl_fixed", "relative_norm", "failed"):
                row |= quantity(name, cells, plain, seed=self.terms.seed).columns(name)
            rows.append(row)
        return pd.DataFrame(rows)


_CURVE = ("behaviour", "examples", "kl", "draws")


def _check_alike(parts: dict[tuple[str, str, float], list[Trial]]) -> None:
    """Raise a ValueError where trials are not to be compared: of other models, or other seeds."""
    for name in ("model", "seed"):
        each = {key: {getattr(t, name) for t in part} for key, part in parts.items()}
        (first, whole), *others = each.items()
        for key, own in others:
            if own != whole:
                raise ValueError(
                    f"{key} has trials of {name} {sorted(own)}, {first} of {sorted(whole)}: "
                    "run all of them"
                )


def _difference(a: Any, n: Any, b: Any, m: Any) -> Any:
    return a / n - b / m


def group_differences(one: GroupedSums, other: GroupedSums) -> Array:
    """Mean difference in behaviour within each group of prompts, over fits and seeds."""
    shown, counts = (
        [cells.sums[name].reshape(-1, len(cells.groups)).sum(axis=0) for cells in (one, other)]
        for name in ("behaviour", "examples")
    )
    there = (counts[0] > 0) & (counts[1] > 0)  # a group may have texts, and no example of its own
    return shown[0][there] / counts[0][there] - shown[1][there] / counts[1][there]
