"""Set-points of one behaviour: whether features reach them, in which loop, and what is promised."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

import lens_steer as ls
from analyses.lqr.measures import Case
from lens_steer.steering import Costs
from lens_steer.tracking import (
    FeatureBound,
    LinearLoop,
    LoopReport,
    TrackingReport,
    Trajectories,
    compare_figure,
    position_gap,
    record,
)

TEXTS, TOKENS = 24, 12  # followed, and how far
SHOWN = ("CAA", "published", "centred", "feature, on manifold", "tracker", "scalar gain")


def followed(case: Case, methods: dict[str, ls.Intervention]) -> tuple[Any, dict[str, Any]]:
    """Where features go under every method; figures with their data.

    Set-point errors are distances from the desired mean, whatever set-points a law was given.
    """
    resid = case.inputs.activations("last")
    features = ls.FeatureDirections.of(resid)
    wanted = features.setpoints(1.0, centred=True)
    seed = case.terms.seed
    order = np.random.default_rng(seed).permutation(len(case.test.desired)).tolist()
    some = _some(case.test, sorted(order[:TEXTS]))  # of every group
    how: dict[str, Any] = {"seed": seed, "progress": False}
    given = (some, features, wanted)
    reports: dict[str, TrackingReport] = {
        name: record(case.model, method, *given, **how).of("undesired")
        for name, method in methods.items()
    }
    rows = [report.table().assign(method=name) for name, report in reports.items()]
    table: Any = pd.concat(rows, ignore_index=True)
    shown = {name: report for name, report in reports.items() if name in SHOWN}
    figures: dict[str, Any] = {}
    if shown:
        figures["setpoints"] = (compare_figure(shown), table)
    laws = {"centred": ls.LQR.fit, "tracker": ls.LQRTracker.fit}
    jacobians = case.inputs.jacobians(dense=True)
    for name, fit in laws.items():
        law = fit(jacobians, resid)
        report = record(case.model, law, *given, max_new_tokens=TOKENS, temperature=0.7, **how)
        last = len(wanted) - 1
        figures[f"{name}-layers"] = (report.figure(), report.table())
        figures[f"{name}-tokens"] = (report.tokens_figure((1, last // 2, last)), report.table())
        bound = bounded(case, law)
        figures[f"{name}-bound"] = (bound.figure(), bound.table())
        gap = position_gap(case.model, law, some, features, seed=seed)
        figures[f"{name}-positions"] = (gap.figure(), gap.table())
    loops = looped(case)
    figures["loops"] = (loops.figure(), loops.table())
    return table, figures


def bounded(case: Case, law: ls.Intervention) -> Any:
    """90 % bounds for single texts, on a half of the dev and test pairs that had no part in them.

    Neither Jacobians nor features are of these pairs. Dev and test are drawn together and anew,
    because their own groups are too few for a bound that holds for 90 % of groups.
    """
    jacobians = case.inputs.jacobians(dense=True)
    features = ls.FeatureDirections.of(case.inputs.activations("last"))
    pooled = ls.ContrastivePairs(
        (*case.dev.desired, *case.test.desired), (*case.dev.undesired, *case.test.undesired)
    )
    order = np.random.default_rng(case.terms.seed).permutation(len(pooled.desired)).tolist()
    ends = (0, len(order) // 4, len(order) // 2, len(order))
    shape, calibration, tested = (
        Trajectories.of(case.model, law, _some(pooled, order[low:high])).ungrouped()
        for low, high in pairwise(ends)
    )
    bound = FeatureBound.fit(
        *(jacobians, features, features.setpoints(1.0, centred=True)),
        shape=shape,
        calibration=calibration,
        loop=LinearLoop.of(law, jacobians),
    )
    return bound.check(tested, seed=case.terms.seed)


def looped(case: Case) -> LoopReport:
    """|Phi| without steering, in the law in use, in the tracker, and of full state feedback."""
    jacobians, resid = case.inputs.jacobians(dense=True), case.inputs.activations("last")
    laws = [ls.LQR.fit(jacobians, resid), ls.LQRTracker.fit(jacobians, resid)]
    costs = Costs.of(jacobians.n_layers, 0.1, 1.0, 0.1, None)
    loops = [LinearLoop.open(jacobians), *(LinearLoop.of(law, jacobians) for law in laws)]
    return LoopReport.of([*loops, LinearLoop.state_feedback(jacobians, costs)], first=1)


def _some(pairs: ls.ContrastivePairs, chosen: list[int]) -> ls.ContrastivePairs:
    desired, undesired = (
        tuple(side[i] for i in chosen) for side in (pairs.desired, pairs.undesired)
    )
    return ls.ContrastivePairs(desired, undesired, name=pairs.name)
