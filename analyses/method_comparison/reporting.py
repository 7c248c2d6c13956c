"""Tables and figures of all units that are done, made anew after each."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analyses.method_comparison import tables
from analyses.method_comparison.figures import (
    cost_figure,
    forest_figure,
    search_figure,
    searched_figure,
    strip_figure,
)
from analyses.method_comparison.units import Plan, Unit
from lens_steer.benchmark import BASELINE, Comparison, Frontier
from lens_steer.figures import save_figure

FIGURES: dict[str, tuple[str, str, Any]] = {  # table, a column without which it is not drawn
    "forest": ("table", "method", forest_figure),
    "costs": ("table", "method", cost_figure),
    "models": ("by_model", "method", strip_figure),
    "search": ("search", "n", search_figure),
    "searched": ("search", f"less_{BASELINE}", searched_figure),
}


class UnitComparisons:
    """The comparisons of all units so far, by behaviour."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Comparison]] = {}
        self._tables: dict[str, dict[str, Any]] = {}
        self._by_model: list[Any] = []

    def add(self, unit: Unit, comparison: Comparison) -> None:
        """Add one unit; tables of its behaviour are made anew when they are next asked for."""
        self._parts.setdefault(unit.pairs, []).append(comparison)
        self._tables.pop(unit.pairs, None)
        self._by_model.append(tables.of_unit(comparison, unit))

    def report(self, units: Sequence[Unit], plan: Plan) -> None:
        """Save the tables and figures of all that there is."""
        for pairs in self._parts.keys() - self._tables.keys():
            self._tables[pairs] = tables.of_behaviour(self._parts[pairs])
        parts = [self._tables[pairs] for pairs in self._parts]
        together = {
            name: pd.concat([part[name] for part in parts], ignore_index=True)
            for name in ("table", "differences")
        }
        together = tables.corrected(together) | tables.of_choices(units, plan)
        together["by_model"] = pd.concat(self._by_model, ignore_index=True)
        together["search"] = tables.of_search(units, plan)
        tables.write(together, plan.out)
        origin: dict[str, Any] = {
            "methods": plan.methods,
            "settings": plan.tried,
            "fits": plan.fits,
            "budget": plan.budget,
            "units": together["units"].to_dict("records"),
        }
        for name, (table, column, draw) in FIGURES.items():
            if column in together[table]:
                path = plan.out / f"{name}.png"
                save_figure(draw(together[table]), path, together[table], origin)
        for each in self._parts.values():
            comparison = tables.shared(each)
            [behaviour] = comparison.behaviours
            frontier = Frontier.of(comparison, behaviour)
            path = plan.out / f"frontier-{behaviour.replace(':', '-')}.png"
            save_figure(frontier.figure(), path, frontier.table(), origin)
