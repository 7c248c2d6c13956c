"""Figures of the studies of public models, of tables made here or kept in the repository."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses.forecast import figures as forecast
from analyses.recommendations import figures as recommendations
from analyses.recommendations.tables import RIVALS
from analyses.registered import figures as registered
from analyses.registered import tables as registered_tables
from analyses.registered import tasks as registered_tasks
from analyses.registered.methods import CONTRASTS, METHODS
from analyses.registered_answers import figures as answers
from analyses.registered_answers import tasks as answer_tasks
from analyses.text_kinds import figures as text_kinds
from analyses.text_kinds.__main__ import KINDS, LINES
from analyses.variance import figures as variance
from analyses.variance import tables as variance_tables
from analyses.where_nats_go import figures as nats
from analyses.where_nats_go.measuring import METHODS as NAT_METHODS
from analyses.where_nats_go.measuring import PROMPT
from analyses.where_nats_go.parts import CAUSES, PLACES
from analyses.wrong_way import figures as wrong_way
from tests.report_samples import normal

RESULTS = Path(__file__).parents[2] / "analyses" / "results"


def saved(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv")


def registered_gains() -> Any:
    """Nine methods and two references of seven tasks in three folds, at three costs."""
    rows = [
        {"task": task, "fold": fold, "method": method, "asked_nats": nats, "nats": 1.2 * nats}
        | {"gain": float(np.sin(i + fold) / 4), "share": 0.5, "unjudged": 0.0, "repetition": 0.0}
        | {"draw": 0, "dev_gain": 0.1, "seed": 0}
        for task in registered_tasks.TASKS
        for fold in range(3)
        for i, method in enumerate((*METHODS, "learned", "random, as activations vary"))
        for nats in (0.03, 0.1, 0.3)
    ]
    return pd.DataFrame(rows)


def registered_contrasts() -> Any:
    rows = [
        {"method": first, "less": second, "tasks": 7, "margin": 0.04, "difference": 0.02 * i}
        | {"difference_low": 0.02 * i - 0.05, "difference_high": 0.02 * i + 0.05}
        | {"over_tasks_low": 0.02 * i - 0.3, "over_tasks_high": 0.02 * i + 0.3}
        for i, (first, second) in enumerate(CONTRASTS)
    ]
    return pd.DataFrame(rows)


RULES = ("forecast", "slope alone", "half depth", "length of the difference", "AUC", "logit lens")


def foretold(column: str, names: Any) -> Any:
    """A row for each cost and name, with an interval."""
    return pd.DataFrame(
        {"nats": nats, column: name, "value": 0.5, "value_low": 0.3, "value_high": 0.7}
        for nats in (0.03, 0.1, 0.3, 1.0)
        for name in names
    )


def reach() -> Any:
    names = ("strength", "gain", "gain_at_cost")
    ends = {f"{name}{end}": x for name in names for end, x in QUARTILES.items()}
    return pd.DataFrame([{"nats": nats} | ends for nats in (0.03, 0.1, 0.3, 1.0)])


def regrets(rules: Any) -> Any:
    return pd.DataFrame(
        {"measure": measure, "rule": rule, "regret": i, "regret_low": i - 1, "regret_high": i + 2}
        for measure in ("margin, nats", "texts, points")
        for i, rule in enumerate(rules)
    )


QUARTILES = {"": 1.1, "_quartile_1": 0.8, "_quartile_3": 1.7}


def skill_by_kind(table: str, lines: dict[str, str]) -> Figure:
    """Of thirty blocks."""
    return text_kinds.skill_figure(saved(f"text_kinds/smollm2/{table}"), lines, TEXT_KINDS)


def field_by_layer() -> Figure:
    return text_kinds.field_by_layer_figure(saved("text_kinds/smollm2/field"), TEXT_KINDS)


TEXT_KINDS = [kind.name for kind in KINDS]


def shares_of_variance(behaviours: int, measures: int) -> Figure:
    """Every factor of the study of variance at three levels, of many behaviours or of one."""
    levels = {name: tuple(range(3)) for name in variance_tables.FACTORS}
    levels["behaviour"] = tuple(range(behaviours))
    found = variance_tables.Grid(normal(behaviours, 3, 3, 3, 3).double().numpy(), levels)
    names = list(variance_tables.MEASURES)[:measures]
    tables = variance_tables.shares_table(found), variance_tables.changed_table(found)
    return variance.variance_figure(dict.fromkeys(names, tables))


def nats_means() -> Any:
    """Every method at three costs; words have no strength, and one part is below 0."""
    names = (*CAUSES, *PLACES)
    rows = []
    for i, method in enumerate(NAT_METHODS):
        for asked in (np.nan,) if method == PROMPT else (0.03, 0.1, 0.3):
            nats = 0.05 if method == PROMPT else asked * (1 + i / 5)
            row = {"method": method, "asked": asked, "behaviours": 6, "nats": nats}
            row |= {"nats_low": nats / 2, "nats_high": 2 * nats, "floor": 0.2 * nats}
            row |= {"excess": 0.8 * nats} | {name: 0.25 * nats for name in names}
            row |= {"wrong_direction": -0.1 * nats, "well_formed": -0.05 * nats}
            rows.append(row | ({name: np.nan for name in CAUSES} if method == PROMPT else {}))
    return pd.DataFrame(rows)


def answer_intercepts() -> Any:
    """Nine methods and the learned vector, of every registered task with two answers."""
    rows = [
        {"task": task, "method": method, "intercept": 0.3, "as_it_is": 0.03 * i}
        | {"with_bias": 0.02 * i - 0.05, "auc": 0.1 - 0.01 * i}
        for task in answer_tasks.TASKS[2:]
        for i, method in enumerate((*METHODS, "learned"))
    ]
    return pd.DataFrame(rows)


STUDY_FIGURES: dict[str, Callable[[], Figure]] = {
    "gates": lambda: registered.gates_figure(saved("registered/smollm2/gates")),
    "contrasts": lambda: registered.contrasts_figure(registered_contrasts()),
    "gains": lambda: registered.gains_figure(registered_tables.chosen(registered_gains())),
    "frontier": lambda: registered.frontier_figure(registered_tables.by_task(registered_gains())),
    "prompts foretold": lambda: forecast.prompts_figure(
        foretold("what", ("forecast", "clean margin", "sign"))
    ),
    "reach": lambda: forecast.reach_figure(reach()),
    "where": lambda: forecast.regret_figure(regrets(RULES)),
    "which": lambda: forecast.regret_figure(regrets(("forecast", "CAA at half depth"))),
    "texts lost": lambda: recommendations.lost_figure(
        regrets(("recommend, with a judge", "recommend, without a judge", *RIVALS))
    ),
    "best of n": lambda: registered.best_of_n_figure(
        registered_tables.best_of_n(registered_gains())
    ),
    "skill by kind of text": partial(skill_by_kind, "skill", LINES),
    "kinds of text": partial(skill_by_kind, "kinds", {k: f"mean of {k}" for k in TEXT_KINDS}),
    "field by layer": field_by_layer,
    "intercepts": lambda: answers.intercepts_figure(answer_intercepts()),
    "where the nats go": lambda: nats.means_figure(nats_means()),
    "variance": partial(shares_of_variance, 6, 2),
    "parts of slopes": lambda: wrong_way.paths_figure(saved("wrong_way/organism/paths")),
    "variance of one": partial(shares_of_variance, 1, 1),
}


def names_of_figures() -> set[str]:
    """The figure functions of these studies; each is called above under the name that it has."""
    source = Path(__file__).read_text(encoding="utf-8")
    studies = (forecast, recommendations, registered, text_kinds, variance, answers, wrong_way)
    modules = (*studies, nats)
    names = {n for m in modules for n, f in inspect.getmembers(m, inspect.isfunction)}
    return {name for name in names if f".{name}(" in source}
