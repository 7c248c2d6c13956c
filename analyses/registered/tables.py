"""Tables of a registered run: what entered, what every method gained, controls, and best of n."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analyses.registered.contrasts import readings, realised, shown
from analyses.registered.gate import gate_table
from analyses.registered.journals import Run
from analyses.registered.measuring import CHOSEN_AT
from analyses.registered.methods import EVERY, METHODS, OTHERS, OTHERS_ON
from analyses.registered.parts import FOLDS
from analyses.registered.units import PARTS, Units
from lens_steer.intervals import Interval


def gates(run: Run) -> pd.DataFrame:
    """The gate of every task that has been measured."""
    parts = []
    for task in run.usable():
        rows = run.rows(run.unit(task, "gate"))
        if rows:
            table = gate_table(task.name, rows, seed=run.terms.seed)
            parts.append(table.assign(enters=run.entered(task)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def gains(run: Run, parts: Sequence[str] = PARTS) -> pd.DataFrame:
    """A row for each task, fold, method, cost and seed: its gain over the unsteered, and its cost.

    Structures that were not tested have what dev promised of them alone.
    """
    plain = {
        (task.name, fold, row["seed"]): float(shown(row).mean())
        for task, fold, row in run.fold_rows()
        if row["method"] == "unsteered"
    }
    table = []
    for task, fold, row in run.fold_rows(parts):
        if "behaviour" not in row and "dev_gain" not in row:
            continue
        cell = {
            "task": task.name,
            "fold": fold,
            "method": row["method"],
            "draw": row.get("draw"),
            "asked_nats": row.get("nats"),
            "seed": row.get("seed"),
            "dev_gain": float(np.mean(row["dev_gain"])) if "dev_gain" in row else np.nan,
            "shown": row.get("shown", ""),
        }
        if "behaviour" in row:
            share = float(shown(row).mean())
            cell |= {
                "nats": realised(row),
                "share": share,
                "gain": share - plain[task.name, fold, row["seed"]],
                "unjudged": row["unjudged"] / len(row["groups"]),
                "repetition": row["repetition"],
                "perplexity": row["perplexity"],
            }
        table.append(cell)
    return pd.DataFrame(table)


def other_gains(run: Run) -> pd.DataFrame:
    """As `gains`, of all methods on the tasks that the other methods are measured on."""
    table: Any = gains(run, (*PARTS, *OTHERS))
    return table[table["task"].isin(OTHERS_ON)].reset_index(drop=True)


def cells(run: Units, table: Any) -> pd.DataFrame:
    """A row for each task that entered, fold and method: the gain of what dev chose, three ways."""
    kept = chosen(table)
    rows = []
    for task in (each for each in run.usable() if run.entered(each)):
        for fold in range(FOLDS):
            here = kept[(kept["task"] == task.name) & (kept["fold"] == fold)]
            for method in METHODS:
                found = readings(here[here["method"] == method])
                rows.append({"task": task.name, "fold": fold, "method": method} | found)
    return pd.DataFrame(rows)


def failures(run: Run) -> pd.DataFrame:
    """Structures that could not be made or calibrated, and broken texts, with the reason."""
    rows = [
        {
            "task": task.name,
            "fold": fold,
            "method": row["method"],
            "draw": row.get("draw"),
            "why": row.get("failure") or row.get("broken"),
        }
        for task, fold, row in run.fold_rows()
        if row.get("failure") or row.get("broken")
    ]
    return pd.DataFrame(rows, columns=["task", "fold", "method", "draw", "why"])


def chosen(table: Any) -> pd.DataFrame:
    """Of every method the structure that dev prefers, at all costs; references as they are."""
    searched = table[table["method"].isin(EVERY)]
    kept = [table[~table["method"].isin(EVERY)]]
    for _, part in searched.groupby(["task", "fold", "method"], sort=False):
        best = part.loc[part[part["asked_nats"] == CHOSEN_AT]["dev_gain"].idxmax(), "draw"]
        kept.append(part[(part["draw"] == best) & part["gain"].notna()])
    return pd.concat(kept, ignore_index=True)


def by_task(table: Any) -> pd.DataFrame:
    """Means over seeds and folds of what was chosen, for each task, method and cost asked for."""
    columns = ["nats", "share", "gain", "unjudged", "repetition"]
    keys = ["task", "method", "asked_nats"]
    of_fold: Any = chosen(table).groupby([*keys, "fold"], sort=False, dropna=False)
    grouped: Any = of_fold[columns].mean().reset_index().groupby(keys, sort=False, dropna=False)
    return grouped[columns].mean().reset_index()


def best_of_n(table: Any) -> pd.DataFrame:
    """Gain on test of what leads dev after n structures, in the order drawn; mean over all folds.

    With the first seed. Where none of n can be used the gain is 0.
    """
    n_folds = len(table[["task", "fold"]].drop_duplicates())
    at = table[(table["asked_nats"] == CHOSEN_AT) & ~(table["seed"] > 0)]
    at = at[at["method"].isin(METHODS)]
    rows = []
    for method in METHODS:
        for n in range(1, int(at["draw"].max()) + 2):
            seen = at[(at["method"] == method) & (at["draw"] < n)]
            groups: Any = seen.groupby(["task", "fold"], sort=False)
            total = sum(part.loc[part["dev_gain"].idxmax(), "gain"] for _, part in groups)
            rows.append({"method": method, "n": n, "gain": total / n_folds})
    return pd.DataFrame(rows)


def likelihood(run: Run, *, seed: int, resamples: int = 2000) -> pd.DataFrame:
    """Rank correlation over methods and costs of the likelihood gained and the share gained.

    Of the nine methods and the learned vector, on the same test items, whose groups are drawn
    again; controls, which gain nothing in both, are left out.
    """
    rows = []
    for task in (each for each in run.tasks if each.likelihood):
        items = _both(run, task.name)
        if not items:
            continue
        source = np.random.default_rng(seed)
        found = [_rank_correlation(items, None)]
        found += [_rank_correlation(items, source) for _ in range(resamples)]
        low, high = np.nanpercentile(found[1:], [2.5, 97.5])
        each = Interval(found[0], float(low), float(high))
        rows.append({"task": task.name, "settings": len(items[0][0])} | each.columns("correlation"))
    return pd.DataFrame(rows)


def _both(run: Run, name: str) -> list[tuple[Any, Any, list[int]]]:
    """Of each fold: likelihood and behaviour gained `[setting item]`, and the items' groups."""
    folds = []
    for fold in range(FOLDS):
        rows = [row for task, f, row in run.fold_rows() if (task.name, f) == (name, fold)]
        plain = next((row for row in rows if row["method"] == "unsteered"), None)
        steered = [r for r in rows if "test_gain" in r and r["method"] in (*METHODS, "learned")]
        if plain is None or not steered:
            return []
        told = np.array([row["test_gain"] for row in steered])
        gained = np.array([shown(row) - shown(plain) for row in steered])
        folds.append((told, gained, plain["groups"]))
    return folds


def _rank_correlation(folds: Sequence[Any], source: Any) -> float:
    """The mean over folds, of which the settings differ."""
    values = []
    for told, gained, groups in folds:
        columns = np.arange(told.shape[1])
        if source is not None:
            names = list(dict.fromkeys(groups))
            again = source.integers(len(names), size=len(names))
            columns = np.concatenate(
                [[i for i, group in enumerate(groups) if group == names[k]] for k in again]
            )
        found: Any = spearmanr(told[:, columns].mean(1), gained[:, columns].mean(1))
        values.append(found.statistic)
    return float(np.mean(values))


def progress(run: Run) -> pd.DataFrame:
    """How many units of each task have been measured, and whether it has entered."""
    rows = []
    for task in run.tasks:
        if task not in run.usable():
            rows.append({"task": task.name, "state": "cannot be tested here: no chat template"})
            continue
        entered = run.entered(task)
        done = sum(u[0] == task.name and u[-1] not in OTHERS for u in run.journal.done)
        whole = 1 + FOLDS * (1 + len(METHODS)) if entered else 1
        state = {None: "not begun", False: "cannot be tested here: nothing moves it"}
        rows.append(
            {"task": task.name, "state": state.get(entered, f"{min(done, whole)} of {whole} units")}
        )
    return pd.DataFrame(rows)
