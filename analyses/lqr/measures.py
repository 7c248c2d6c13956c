"""What `analyses.lqr` measures of one behaviour: at equal cost, by a fresh probe, and by lambda."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import lens_steer as ls
from analyses.lqr.laws import LAWS, Law, chosen
from lens_steer.benchmark import SHARES, Comparison, ComparisonConfig, FitCache, Hyperparameters
from lens_steer.evaluation import Judge, judge_of
from lens_steer.intervals import interval, of_share

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BY_LAMBDA = ("published", "centred", "tracker", "scalar gain")
DEV = 48  # prompts


@dataclass(frozen=True, eq=False)
class Case:
    """One behaviour: its parts, and how texts are written."""

    model: Any
    name: str
    inputs: FitCache
    dev: ls.ContrastivePairs
    test: ls.ContrastivePairs
    judge: Judge | None
    terms: ComparisonConfig

    @classmethod
    def of(cls, model: Any, name: str, reads: tuple[Any, ...], terms: ComparisonConfig) -> "Case":
        """Split by groups."""
        train, dev, test = ls.ContrastivePairs.load(name).split(*SHARES, seed=terms.seed)
        judge = judge_of(name)
        return cls(model, name, FitCache(model, train, reads), dev, test, judge, terms)


@dataclass(frozen=True, eq=False)
class Matched:
    """Methods chosen on dev at one cost, and what they do on test."""

    methods: dict[str, ls.Intervention]
    settings: dict[str, Hyperparameters]
    missing: dict[str, str]
    comparison: Comparison

    @classmethod
    def of(cls, case: Case) -> "Matched":
        """Choose, then compare with what has to be beaten."""
        dev = case.dev.first(DEV)
        methods, settings, missing = chosen(case.inputs, dev, case.judge, case.terms)
        options: dict[str, Any] = {"judge": case.judge, "progress": False}
        found = ls.comparison(
            *(case.model, case.test, methods),
            terms=case.terms,
            behaviour_name=case.name,
            **options,
        )
        return cls(methods, settings, missing, found)

    def table(self, case: Case) -> Any:
        """Behaviour, costs, and what a probe says that no law has seen."""
        table = self.comparison.table()
        fresh = pd.DataFrame([{"method": "unsteered"} | probed(case, None)])
        rows = [{"method": name} | probed(case, law) for name, law in self.methods.items()]
        fresh = pd.concat([fresh, pd.DataFrame(rows)], ignore_index=True)
        for knob in ("read", "layer", "setpoint", "strength"):
            fresh[knob] = [self.settings.get(name, {}).get(knob) for name in fresh["method"]]
        return table.merge(fresh, on="method", how="left")


def probed(case: Case, law: ls.Intervention | None) -> dict[str, float]:
    """The share of undesired test texts whose last state a probe takes for a desired one.

    The probe is a logistic regression on the dev pairs, behind the last block: other data and
    another family than the mean differences that laws are made of. Steered at that token alone.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = ls.capture(case.model, case.dev, "resid", read="last", progress=False)
    x = torch.cat([known.desired[:, -1], known.undesired[:, -1]]).numpy()
    y = np.repeat([1, 0], [len(known.desired), len(known.undesired)])
    probe: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(x, y)
    with ls.steered(case.model, *([] if law is None else [law])):
        found = ls.capture(case.model, case.test, "resid", read="last", progress=False)
    shown = torch.from_numpy(probe.predict(found.undesired[:, -1].numpy()).astype(float))
    share = interval(shown, case.test.groups, seed=case.terms.seed)
    return of_share(share, len(set(case.test.groups))).columns("probe")


def by_lambda(case: Case) -> Any:
    """Behaviour and cost of laws at strength 1, against the set-point that they are given."""
    rows = []
    for name in BY_LAMBDA:
        law = Law(name, LAWS[name])
        read = "last" if "last" in case.inputs.reads else case.inputs.reads[0]
        settings = [{"read": read, "setpoint": x, "control_cost": 1.0} for x in LAMBDAS]
        laws = [law.make(case.inputs, setting) for setting in settings]
        how = case.terms.decoding
        each = ls.evaluate_each(case.model, case.test, laws, judge=case.judge, **how)
        for x, trial in zip(LAMBDAS, each, strict=True):
            share = trial.interval(seed=how["seed"])
            row: dict[str, Any] = {"behaviour_set": case.name, "law": name, "lambda": x}
            rows.append(row | {"read": read, "kl": trial.kl} | share.columns("share"))
    return pd.DataFrame(rows)
