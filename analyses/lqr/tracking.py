"""Set-points of one behaviour: do features reach them, do loops contract, do bounds hold?"""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

import lens_steer as ls
from analyses.studies import selected
from lens_steer.benchmark import Behaviour
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

TEXTS, TOKENS = 24, 12  # texts that are followed, and tokens of each
COMPARED = ("CAA", "published", "centred", "feature, on manifold", "tracker", "scalar gain")


def followed(
    behaviour: Behaviour, methods: dict[str, ls.Intervention], seed: int
) -> tuple[Any, dict[str, Any]]:
    """Where features go under every method: a table, and figures with their data by name.

    Set-point errors are distances from the desired mean, whatever set-points a law was given.
    """
    cache, test = behaviour.cache, behaviour.test
    resid = cache.activations("last")
    features = ls.FeatureDirections.of(resid)
    order = np.random.default_rng(seed).permutation(len(test.desired)).tolist()
    texts = selected(test, sorted(order[:TEXTS]))  # of every group

    def recorded(method: ls.Intervention, **how: Any) -> TrackingReport:
        setpoints = features.setpoints(1.0, centred=True)
        how |= {"seed": seed, "progress": False}
        return record(cache.model, method, texts, features, setpoints, **how)

    reports = {name: recorded(method).of_class("undesired") for name, method in methods.items()}
    rows = [report.table().assign(method=name) for name, report in reports.items()]
    table: Any = pd.concat(rows, ignore_index=True)
    compared = {name: report for name, report in reports.items() if name in COMPARED}
    figures: dict[str, Any] = {}
    if compared:
        figures["setpoints"] = (compare_figure(compared), table)
    jacobians = cache.jacobians(dense=True)
    for name, fit in {"centred": ls.LQR.fit, "tracker": ls.LQRTracker.fit}.items():
        law = fit(jacobians, resid)
        report = recorded(law, max_new_tokens=TOKENS, temperature=0.7)
        last = len(features.directions) - 1
        figures[f"{name}-layers"] = (report.figure(), report.table())
        figures[f"{name}-tokens"] = (report.tokens_figure((1, last // 2, last)), report.table())
        bound = bounded(behaviour, law, seed)
        figures[f"{name}-bound"] = (bound.figure(), bound.table())
        gap = position_gap(cache.model, law, texts, features, seed=seed)
        figures[f"{name}-positions"] = (gap.figure(), gap.table())
    loops = loop_report(behaviour)
    figures["loops"] = (loops.figure(), loops.table())
    return table, figures


def bounded(behaviour: Behaviour, law: ls.Intervention, seed: int) -> Any:
    """90 % bounds for single texts, checked on a half of the dev and test pairs.

    Neither Jacobians nor features are of these pairs. Dev and test are drawn together and anew,
    because their own groups are too few for a bound that holds for 90 % of groups.
    """
    cache, dev, test = behaviour.cache, behaviour.dev, behaviour.test
    jacobians = cache.jacobians(dense=True)
    features = ls.FeatureDirections.of(cache.activations("last"))
    pooled = ls.ContrastivePairs((*dev.desired, *test.desired), (*dev.undesired, *test.undesired))
    order = np.random.default_rng(seed).permutation(len(pooled.desired)).tolist()
    ends = (0, len(order) // 4, len(order) // 2, len(order))
    shape, calibration, tested = (
        Trajectories.fit(cache.model, law, selected(pooled, order[low:high])).ungrouped()
        for low, high in pairwise(ends)
    )
    bound = FeatureBound.fit(
        jacobians,
        features,
        features.setpoints(1.0, centred=True),
        shape=shape,
        calibration=calibration,
        loop=LinearLoop.of(law, jacobians),
    )
    return bound.check(tested, seed=seed)


def loop_report(behaviour: Behaviour) -> LoopReport:
    """|Phi| without steering, in the law in use, in the tracker, and of full state feedback."""
    cache = behaviour.cache
    jacobians, resid = cache.jacobians(dense=True), cache.activations("last")
    laws = [ls.LQR.fit(jacobians, resid), ls.LQRTracker.fit(jacobians, resid)]
    costs = Costs.of(jacobians.n_layers, 0.1, 1.0, 0.1, None)
    loops = [LinearLoop.open(jacobians), *(LinearLoop.of(law, jacobians) for law in laws)]
    return LoopReport.of([*loops, LinearLoop.state_feedback(jacobians, costs)], first=1)
