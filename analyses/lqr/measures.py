"""What the study measures of one behaviour: a fresh probe's verdict, and behaviour by lambda."""

from typing import Any

import numpy as np
import pandas as pd
import torch

import lens_steer as ls
from analyses.lqr.laws import made
from lens_steer.benchmark import Behaviour, ComparisonConfig
from lens_steer.intervals import interval, proportion_interval

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BY_LAMBDA = ("published", "centred", "tracker", "scalar gain")


def probed(behaviour: Behaviour, methods: dict[str, ls.Intervention], seed: int) -> pd.DataFrame:
    """The share of undesired test texts whose last state a probe takes for a desired one.

    The probe is a logistic regression on the dev pairs, behind the last block: other data and
    another family than the mean differences that laws are made of. Steered at that token alone.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model, test = behaviour.cache.model, behaviour.test
    dev = ls.capture(model, behaviour.dev, "resid", read="last", progress=False)
    x = torch.cat([dev.desired[:, -1], dev.undesired[:, -1]]).numpy()
    y = np.repeat([1, 0], [len(dev.desired), len(dev.undesired)])
    probe: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(x, y)
    rows = []
    for name, method in {"unsteered": None, **methods}.items():
        with ls.steered(model, *([] if method is None else [method])):
            steered = ls.capture(model, test, "resid", read="last", progress=False)
        verdicts = probe.predict(steered.undesired[:, -1].numpy()).astype(float)
        share = interval(torch.from_numpy(verdicts), test.groups, seed=seed)
        rows.append(
            {"method": name} | proportion_interval(share, len(set(test.groups))).columns("probe")
        )
    return pd.DataFrame(rows)


def by_lambda(behaviour: Behaviour, config: ComparisonConfig) -> pd.DataFrame:
    """Behaviour and cost on test of laws at strength 1, against the set-point they are given."""
    cache, decoding = behaviour.cache, config.decoding
    read = "last" if "last" in cache.reads else cache.reads[0]
    rows = []
    for law in BY_LAMBDA:
        settings = [{"read": read, "setpoint": x, "control_cost": 1.0} for x in LAMBDAS]
        methods = [made(law, cache, setting) for setting in settings]
        trials = ls.evaluate_each(
            cache.model, behaviour.test, methods, judge=behaviour.judge, decoding=decoding
        )
        for x, trial in zip(LAMBDAS, trials, strict=True):
            row: dict[str, Any] = {"behaviour_set": behaviour.name, "law": law, "lambda": x}
            share = trial.interval(seed=config.seed).columns("share")
            rows.append(row | {"read": read, "kl": trial.kl} | share)
    return pd.DataFrame(rows)
