"""Tables of a run over questions: every score, controls, and what an intercept alone would gain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analyses.registered.measuring import CHOSEN_AT
from analyses.registered.methods import METHODS
from analyses.registered.parts import FOLDS
from analyses.registered.tables import chosen
from analyses.registered.units import PARTS, REFERENCES
from analyses.registered_answers.journals import AnswerRun
from analyses.registered_answers.scores import moved, nats_on_task, scored, shortest

SCORES = (
    "mc1",
    "mc2",
    "log_odds",
    "mc1_per_token",
    "mc1_per_character",
    "mc2_per_token",
    "auc",
    "mass",
    "first_share",
    "bias",
    "mc1_with_bias",
    "prior",
    "mc1_less_prior",
    "letter_bias",
    "mc1_over_orders",
)
COSTS = ("nats", "nats_on_task")


def gains(run: AnswerRun) -> pd.DataFrame:
    """A row for each task, fold, method and cost: every score, its gain, and what it cost.

    `gain` is of the task's own measure, over the unsteered model on the same questions; a reading
    in which logits became NaN or infinite gains nothing. `nats` are per token, along unsteered
    texts after test prompts. Structures that were not tested have what dev promised of them alone.
    """
    table: list[dict[str, Any]] = []
    for task in run.tasks:
        dev, folds = task.parts(run.terms.seed)
        for fold, part in enumerate(folds):
            rows = [row for p in PARTS for row in run.rows(run.unit(task, fold, p))]
            plain = next((row for row in rows if row["method"] == "unsteered"), None)
            if plain is None:
                continue
            test, of_dev, lengths = task.asked(part), task.asked(dev), plain["lengths"]
            base = scored(task, plain, test, of_dev, lengths)
            for row in rows:
                if "answers" not in row and "dev_gain" not in row:
                    continue
                cell = _cell(row) | {"task": task.name, "fold": fold, "measure": task.measure}
                if "answers" in row:
                    found = scored(task, row, test, of_dev, lengths)
                    gain = found.get(task.measure, np.nan) - base[task.measure]
                    cell |= found | {"gain": gain if np.isfinite(gain) else 0.0}
                    cell["nats_on_task"] = nats_on_task(row, plain)
                table.append(cell)
            if task.answers is None:
                cell = _cell({"method": "shortest answer"}) | {"task": task.name, "fold": fold}
                table.append(cell | {"measure": task.measure} | shortest(test, lengths))
    first = ["task", "fold", "method", "measure", "draw", "asked_nats", "seed", "dev_gain", *COSTS]
    return pd.DataFrame(table).reindex(columns=[*first, "gain", *SCORES, "shown"])


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": row["method"],
        "draw": row.get("draw"),
        "asked_nats": row.get("nats"),
        "seed": row.get("seed"),
        "dev_gain": float(np.mean(row["dev_gain"])) if "dev_gain" in row else np.nan,
        "nats": row.get("kl"),
        "shown": row.get("shown", ""),
    }


def by_task(table: Any) -> pd.DataFrame:
    """Means over folds of what was chosen, for each task, method and cost asked for."""
    keys = ["task", "method", "asked_nats"]
    grouped: Any = chosen_of(table).groupby(keys, sort=False, dropna=False)
    return grouped[[*COSTS, "gain", *SCORES]].mean().reset_index()


def chosen_of(table: Any) -> pd.DataFrame:
    """Of every method the structure that dev prefers; references as they are."""
    usable = table["dev_gain"].notna() | ~table["method"].isin(METHODS)
    return chosen(table[usable].reset_index(drop=True))


def intercepts(table: Any) -> pd.DataFrame:
    """A row for each task with two answers and method: what accuracy gains, and how much is bias.

    At about 0.1 nats, mean over folds. `as_it_is` is the change of accuracy from the unsteered
    model; `with_bias` the same where both have a bias of their own, fitted to dev; `auc` the change
    of the AUC, which no bias moves; `intercept` what the bias alone gains without steering.
    """
    kept: Any = chosen_of(table)
    of_two: Any = kept[kept["mc1_with_bias"].notna()]
    rows = []
    for (task, fold), part in of_two.groupby(["task", "fold"], sort=False):
        plain = part[part["method"] == "unsteered"].iloc[0]
        at = part[(part["asked_nats"] == CHOSEN_AT) & (part["method"] != "unsteered")]
        for _, row in at.iterrows():
            rows.append(
                {
                    "task": task,
                    "fold": fold,
                    "method": row["method"],
                    "as_it_is": row["mc1"] - plain["mc1"],
                    "with_bias": row["mc1_with_bias"] - plain["mc1_with_bias"],
                    "auc": row["auc"] - plain["auc"],
                    "intercept": plain["mc1_with_bias"] - plain["mc1"],
                }
            )
    columns = ["task", "fold", "method", "as_it_is", "with_bias", "auc", "intercept"]
    each = pd.DataFrame(rows, columns=columns)
    grouped: Any = each.groupby(["task", "method"], sort=False)
    return grouped[columns[3:]].mean().reset_index()


def headroom(run: AnswerRun) -> pd.DataFrame:
    """Whether words or the learned vector move the right answers of a task: if not, none can."""
    rows = []
    for task in run.tasks:
        found = [run.rows(run.unit(task, fold, REFERENCES)) for fold in range(FOLDS)]
        if not all(found):
            continue
        asked = [task.asked(part) for part in task.parts(run.terms.seed)[1]]
        for name, change in moved(asked, found, seed=run.terms.seed).items():
            head = {"task": task.name, "reference": name, "counts": change.low > 0}
            rows.append(head | change.columns("log_odds_change"))
    return pd.DataFrame(rows)


def progress(run: AnswerRun) -> pd.DataFrame:
    """How many units of each task have been measured."""
    whole = FOLDS * len(PARTS)
    return pd.DataFrame(
        {
            "task": task.name,
            "items": len(task.questions),
            "state": f"{sum(u[0] == task.name for u in run.journal.done)} of {whole} units",
        }
        for task in run.tasks
    )
