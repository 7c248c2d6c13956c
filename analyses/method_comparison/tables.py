"""Tables of the comparison, of whatever units are done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.method_comparison.units import Plan, Unit
from lens_steer.benchmark import BASELINE, Comparison, holm
from lens_steer.figures import save_table

_ROWS = ("model", "behaviour_name", "method")


def of_unit(comparison: Comparison, unit: Unit) -> Any:
    """A row for each method of one model: what it does and costs, without p-values."""
    table = comparison.table()
    budgets = (f"at_{budget:g}" for budget in comparison.config.budgets)
    kept = ("behaviour", "kl", "efficiency", "failed", *budgets)
    columns = [f"{name}{end}" for name in kept for end in ("", "_low", "_high")]
    return table.assign(model=unit.model)[[*_ROWS, *columns]]


def shared(parts: Sequence[Comparison]) -> Comparison:
    """One behaviour of all its models, with the methods that every model has.

    Intervals draw models and groups of prompts where there are several models, and groups,
    fits and seeds where there is one.
    """
    methods = set.intersection(*({t.method for t in part.trials} for part in parts))
    merged = Comparison.merge(parts)
    trials = tuple(trial for trial in merged.trials if trial.method in methods)
    return Comparison(trials, merged.config, {})


def of_behaviour(parts: Sequence[Comparison]) -> dict[str, Any]:
    """Tables over all models of one behaviour: every method, and each less CAA.

    `p` flips signs of groups of prompts, over which models are averaged: it says nothing of other
    models, and is never below `p_least`, which is 2 to the power of 1 less the number of groups.
    """
    comparison = shared(parts)
    [behaviour] = comparison.behaviours
    groups = len(comparison.grouped_sums(behaviour, "unsteered").groups)
    sizes: dict[str, Any] = {"models": len(parts), "groups": groups, "p_least": 2.0 ** (1 - groups)}
    differences = pd.DataFrame()
    if BASELINE in comparison.methods(behaviour):
        differences = comparison.differences(BASELINE).assign(**sizes)
    table = comparison.table().drop(columns="seconds").assign(**sizes)
    return {"table": table, "differences": differences}


def corrected(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables with p-values corrected over all behaviours and methods of each (Holm)."""
    tables = dict(tables)
    for name in ("table", "differences"):
        table = tables[name]
        if "p" in table:
            tested = table["p"].notna()
            table = table.assign(p_holm=float("nan"))
            table.loc[tested, "p_holm"] = holm(list(table.loc[tested, "p"]))
            tables[name] = table
    return tables


def of_choices(units: Sequence[Unit], plan: Plan) -> dict[str, Any]:
    """What was chosen on dev, what could not be used and why, and which units are not done."""
    chosen: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    state: list[dict[str, Any]] = []
    for unit in units:
        key = {"model": unit.model, "behaviour_name": unit.pairs}
        about = unit.about(plan)
        state.append(key | {"done": about is not None})
        if about is not None:
            settings = {name.rpartition("-")[2]: each for name, each in about["chosen"].items()}
            chosen += [key | {"method": name} | each for name, each in settings.items()]
            missing += [key | {"method": m, "why": why} for m, why in about["missing"].items()]
    columns = [*_ROWS, "why"]
    return {
        "chosen": pd.DataFrame(chosen),
        "missing": pd.DataFrame(missing, columns=columns),
        "units": pd.DataFrame(state),
    }


def of_search(units: Sequence[Unit], plan: Plan) -> Any:
    """What the best on dev of n trials does on test, for all units that have random search."""
    parts = []
    for unit in units:
        for path in sorted(plan.settings(unit).out.glob("search-*.csv")):
            key = {"model": unit.model, "behaviour_name": unit.pairs}
            parts.append(pd.read_csv(path).assign(**key))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def write(tables: Mapping[str, Any], out: Path) -> None:
    """Write each table whole or not at all; empty tables are not written."""
    for name, table in tables.items():
        if len(table):
            save_table(table, out / f"{name}.csv")
