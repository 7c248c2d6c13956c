"""Figures of the analyses, of results in the repository and of tables made here, hold."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from analyses import jacobian_costs, sad_stories
from analyses.barrier_field_instruments.convergence import ConvergenceReport
from analyses.barrier_field_instruments.crowding import CrowdingReport
from analyses.barrier_field_instruments.stability import FieldStability
from analyses.barrier_field_instruments.turning import TurningReport
from analyses.divergence import DivergenceReport
from analyses.linearity.collapse import collapse_figure
from analyses.lqr import figures as lqr
from analyses.method_comparison import figures as comparison
from analyses.odesteer import figures as odesteer
from analyses.organism import figures as organism
from analyses.paths import PathSplitReport
from analyses.plots import matched_figure
from analyses.registered import figures as registered
from analyses.registered import tables as registered_tables
from analyses.registered import tasks as registered_tasks
from analyses.registered.methods import CONTRASTS, METHODS
from analyses.registered_answers import figures as answers
from analyses.registered_answers import tasks as answer_tasks
from analyses.sadi.figures import ways_figure
from analyses.unification.figures import differences_figure
from lens_steer.barriers.field import HeldOutRows
from tests.drawn_boxes import faults
from tests.report_samples import around, methods_named, normal, uniform

RESULTS = Path(__file__).parents[2] / "analyses" / "results"
ROWS = HeldOutRows(torch.arange(24) % 2 == 0, tuple(range(24)), 0)
LAYERS = tuple(range(-1, 6))  # of the embedded model: its figures are of no other


def saved(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv")


def searches() -> pd.DataFrame:
    paths = sorted((RESULTS / "method_comparison" / "search").glob("search-organism-*.csv"))
    names = [path.stem.removeprefix("search-").replace("-", ":", 1) for path in paths]
    parts = [
        pd.read_csv(path).assign(behaviour_name=name, model="organism")
        for path, name in zip(paths, names, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def collapse() -> Figure:
    return collapse_figure(saved("linearity/collapse"), saved("linearity/ranks"))


def probes(**columns: Any) -> pd.DataFrame:
    """A row for each layer and each combination of the columns, with an accuracy."""
    table = pd.MultiIndex.from_product(
        [*columns.values(), LAYERS], names=[*columns, "layer"]
    ).to_frame(index=False)
    return table.assign(accuracy=0.5 + uniform(len(table)).numpy() / 2)


def organism_layers() -> Figure:
    names = [f"behaviour {i}" for i in range(6)]
    table = probes(behaviour=names, read=["told by the persona", "shown by the text"])
    tried = probes(task=names).rename(columns={"accuracy": "behaviour"}).assign(well_formed=1.0)
    return organism.layers(table, tried, 0.9)


def stories() -> Figure:
    table = pd.MultiIndex.from_product([["CAA", "random"], range(5)], names=["direction", "seed"])
    rows = table.to_frame(index=False).assign(prompts=40, perplexity_ratio=1.4)
    return sad_stories.figure_of(rows.assign(change=0.1, change_low=0.05, change_high=0.2))


def divergence(methods: int) -> Figure:
    names = methods_named(methods)[2:]
    first = (40 * uniform(methods, 20)).long() + 1
    groups = tuple(f"group {i // 2}" for i in range(20))
    return DivergenceReport(names, first, first < 38, groups, 40, 0).figure()


def paths(methods: int) -> Figure:
    names = methods_named(methods)[2:]
    kl = uniform(methods, 4, 6, 12).double() + 0.1
    kl[:, 1:3] /= 3  # the paths alone do less than both
    draws = torch.full((6,), 12)
    return PathSplitReport(names, kl, kl.clone(), draws, tuple("abcdef"), 1, 0).figure()


def convergence() -> Figure:
    names, steps = ("Euler", "midpoint", "RK4", "geodesic Euler", "geodesic midpoint"), (1, 2, 4, 8)
    evaluations = torch.arange(1, 6)[:, None] * torch.tensor(steps)
    errors = uniform(5, 4, 24).double() / evaluations[..., None]
    return ConvergenceReport(0.5, names, steps, evaluations, errors, ROWS).figure()


def crowding() -> Figure:
    angles = torch.linspace(0, 1, 9).double()
    each = tuple(around(0.5 + i / 20) for i in range(9))
    one = around(0.7)
    return CrowdingReport(angles, each, each, each, one, one, one, ROWS).figure()


def stability() -> Figure:
    cosines = uniform(6, 24).double()
    sizes = (250, 500, 1000, 2000, 4000, 8000)
    return FieldStability(sizes, cosines, 1 - cosines, 8, ROWS).figure()


def turning() -> Figure:
    angles, bends = torch.linspace(0, 1, 9).double(), normal(9, 24).double().abs()
    return TurningReport(angles, bends, torch.ones(24).double(), ROWS).figure()


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


def answer_intercepts() -> Any:
    """Nine methods and the learned vector, of every registered task with two answers."""
    rows = [
        {"task": task, "method": method, "intercept": 0.3, "as_it_is": 0.03 * i}
        | {"with_bias": 0.02 * i - 0.05, "auc": 0.1 - 0.01 * i}
        for task in answer_tasks.TASKS[2:]
        for i, method in enumerate((*METHODS, "learned"))
    ]
    return pd.DataFrame(rows)


COMPARED = "method_comparison/table"
DRAWN: dict[str, Callable[[], Figure]] = {
    "matched, LQR": lambda: matched_figure(saved("lqr/matched"), lqr.ORDER, lqr.SCORES),
    "lambda": lambda: lqr.lambda_figure(saved("lqr/lambda")),
    "matched, ODESteer": lambda: matched_figure(
        saved("odesteer/matched"), odesteer.ORDER, odesteer.SCORES
    ),
    "angles": lambda: odesteer.angle_figure(saved("odesteer/angle")),
    "differences, ODESteer": lambda: odesteer.differences_figure(saved("odesteer/differences")),
    "fields": lambda: odesteer.field_figure(saved("odesteer/fields")),
    "differences, unification": lambda: differences_figure(saved("unification/differences")),
    "ways": lambda: ways_figure(saved("sadi/ways")),
    "forest": lambda: comparison.forest_figure(saved(COMPARED)),
    "costs of methods": lambda: comparison.cost_figure(saved(COMPARED)),
    "models": lambda: comparison.strip_figure(saved("method_comparison/by_model")),
    "search": lambda: comparison.search_figure(searches()),
    "searched": lambda: comparison.searched_figure(searches()),
    "collapse": collapse,
    "doses": lambda: organism.doses(saved("organism/doses")),
    "layers": organism_layers,
    "heads": lambda: organism.heads(probes(behaviour=list("abcdef"), head=range(4))),
    "degrees": lambda: organism.degrees(
        probes(read=["last", "mean"], probe=["linear", "degree 2"]), "polarity"
    ),
    "costs of Jacobians": lambda: jacobian_costs.figure_of(saved("jacobian_costs/costs")),
    "sad stories": stories,
    "divergence": partial(divergence, 2),
    "divergence of many": partial(divergence, 8),
    "paths": partial(paths, 2),
    "paths of one": partial(paths, 1),
    "convergence": convergence,
    "crowding": crowding,
    "stability": stability,
    "turning": turning,
    "contrasts": lambda: registered.contrasts_figure(registered_contrasts()),
    "gains": lambda: registered.gains_figure(registered_tables.chosen(registered_gains())),
    "frontier": lambda: registered.frontier_figure(registered_tables.by_task(registered_gains())),
    "intercepts": lambda: answers.intercepts_figure(answer_intercepts()),
    "best of n": lambda: registered.best_of_n_figure(
        registered_tables.best_of_n(registered_gains())
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_of_an_analysis_holds(name: str) -> None:
    assert faults(DRAWN[name]()) == []


def test_every_figure_of_an_analysis_is_among_them() -> None:
    """By rule: a function that returns a figure is drawn above, or draws what is."""
    found = {
        line.split("def ")[1].split("(")[0]
        for path in (RESULTS.parent).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("def ") and line.rstrip(':"').endswith("Figure")
    }
    named = {
        "matched_figure", "lambda_figure", "differences_figure", "angle_figure", "field_figure",
        "ways_figure", "forest_figure", "cost_figure", "strip_figure", "search_figure",
        "searched_figure", "collapse_figure", "doses", "layers", "heads", "degrees", "figure_of",
        "contrasts_figure", "gains_figure", "frontier_figure", "best_of_n_figure",
        "intercepts_figure",
    }  # fmt: skip
    assert found - named == {"draw_split"}  # of `PathSplitReport`
