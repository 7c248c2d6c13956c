"""Tables of `analyses.method_comparison`, of whatever units there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.method_comparison.units import Plan, Unit
from lens_steer.benchmark import AGAINST, Comparison, holm
from lens_steer.figures import save_table

_ROWS = ("model", "behaviour_name", "method")


def of_unit(found: Comparison, unit: Unit) -> Any:
    """A row per method, of one model: what it does and costs; p-values are for the whole."""
    table = found.table()
    budgets = (f"at_{budget:g}" for budget in found.terms.budgets)
    kept = ("behaviour", "kl", "efficiency", "failed", *budgets)
    columns = [f"{name}{end}" for name in kept for end in ("", "_low", "_high")]
    return table.assign(model=unit.model)[[*_ROWS, *columns]]


def shared(parts: Sequence[Comparison]) -> Comparison:
    """One behaviour of all its models, with the methods that every model has.

    Its intervals draw models and groups of prompts where there are several models, and groups,
    fits and seeds where there is one.
    """
    kept = set.intersection(*({t.method for t in part.trials} for part in parts))
    whole = Comparison.merge(parts)
    trials = tuple(t for t in whole.trials if t.method in kept)
    return Comparison(trials, whole.terms, {})


def of_behaviour(parts: Sequence[Comparison]) -> dict[str, Any]:
    """Over all models of a behaviour: every method, and each less CAA.

    `p` flips signs of groups of prompts, over which models are averaged: it says nothing of other
    models, and is never below `p_least`, which is 2 to the power of 1 less the number of groups.
    """
    found = shared(parts)
    [behaviour] = found.behaviours
    groups = len(found.cells(behaviour, "unsteered").groups)
    sizes: dict[str, Any] = {"models": len(parts), "groups": groups, "p_least": 2.0 ** (1 - groups)}
    known = AGAINST in found.methods(behaviour)
    apart = found.differences(AGAINST).assign(**sizes) if known else pd.DataFrame()
    return {"table": found.table().drop(columns="seconds").assign(**sizes), "differences": apart}


def corrected(tables: Mapping[str, Any]) -> dict[str, Any]:
    """p-values of each table corrected over all its behaviours and methods (Holm)."""
    found = dict(tables)
    for name in ("table", "differences"):
        table = found[name]
        if "p" in table:
            tested = table["p"].notna()
            table = table.assign(p_holm=float("nan"))
            table.loc[tested, "p_holm"] = holm(list(table.loc[tested, "p"]))
            found[name] = table
    return found


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
            kept = {name.rpartition("-")[2]: each for name, each in about["chosen"].items()}
            chosen += [key | {"method": name} | each for name, each in kept.items()]
            missing += [key | {"method": m, "why": why} for m, why in about["missing"].items()]
    columns = [*_ROWS, "why"]
    return {
        "chosen": pd.DataFrame(chosen),
        "missing": pd.DataFrame(missing, columns=columns),
        "units": pd.DataFrame(state),
    }


def of_search(units: Sequence[Unit], plan: Plan) -> Any:
    """What the best on dev of n trials does on test, of all units that have random search."""
    found = []
    for unit in units:
        for place in sorted(plan.settings(unit).out.glob("search-*.csv")):
            key = {"model": unit.model, "behaviour_name": unit.pairs}
            found.append(pd.read_csv(place).assign(**key))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def write(tables: Mapping[str, Any], out: Path) -> None:
    """Each whole or not at all; empty ones are not written."""
    for name, table in tables.items():
        if len(table):
            save_table(table, out / f"{name}.csv")
