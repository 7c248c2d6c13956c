"""What the study measures of one behaviour: how linear each layer is."""

from typing import Any

import numpy as np
import torch

import lens_steer as ls
from lens_steer.benchmark import Behaviour
from lens_steer.intervals import Interval
from lens_steer.linearity import PREDICTORS, LinearityReport, crossing, skill

RADII = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def diagnosed(behaviour: Behaviour, features: ls.FeatureDirections, seed: int) -> LinearityReport:
    """Jacobians of train, diagnosed on test."""
    cache = behaviour.cache
    jacobians = ls.linearize(cache.model, cache.train, progress=False)
    how: dict[str, Any] = {"radii": RADII, "seed": seed, "progress": False}
    return ls.linearity.diagnose(cache.model, jacobians, behaviour.test, features=features, **how)


def by_layer(pairs: str, report: LinearityReport) -> Any:
    """A row for each layer: every radius, errors and skills."""
    table: Any = report.table()
    table.insert(0, "behaviour", pairs)
    table["skill_radius"] = skill_radius(report).numpy()
    curves, skills = report.curves, {}
    for radius in (0.1, 1.0):
        at = curves.radii.index(radius)
        for predictor in ("own", "mean"):
            skills[f"skill_{predictor}_{radius:g}"] = [
                curves.skill(layer, at, predictor, "feature") for layer in range(len(table))
            ]
    for side, values in skill_by_side(report).items():
        skills[f"skill_mean_0.1_{side}"] = values
    for name, values in skills.items():
        table[name] = [each.mean for each in values]
        table[f"{name}_low"] = [each.low for each in values]
        table[f"{name}_high"] = [each.high for each in values]
    return table


def skill_radius(report: LinearityReport) -> torch.Tensor:
    """Radius at which A's own prediction first errs as much as the identity's, by layer."""
    excess = (report.curves.mean() - report.curves.mean("identity")).double().numpy()
    radii = report.curves.radii
    return torch.tensor([crossing(radii, v, 0.0, start=v[0]) for v in np.asarray(excess).T])


def skill_by_side(report: LinearityReport) -> dict[str, list[Interval]]:
    """What the mean Jacobian of the desired class knows at a tenth of |z|, of either class."""
    curves = report.curves
    errors = curves.errors[:, 0, curves.radii.index(0.1)]  # along the feature
    half = errors.shape[-1] // 2  # the desired examples come first, paired
    mean, identity = errors[PREDICTORS.index("mean")], errors[PREDICTORS.index("identity")]
    return {
        side: [
            skill(a, b, curves.groups[part], curves.seed)
            for a, b in zip(mean[..., part], identity[..., part], strict=True)
        ]
        for side, part in (("desired", slice(half)), ("undesired", slice(half, None)))
    }
