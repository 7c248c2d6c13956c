"""The laws that `analyses.lqr` compares, and how each is chosen: the same grid and cost for all."""

from collections.abc import Callable, Mapping
from typing import Any

import lens_steer as ls
from lens_steer.benchmark import (
    FAMILIES,
    KL,
    ComparisonConfig,
    FitCache,
    Hyperparameters,
    MethodFamily,
    choose_all,
    regulator,
    regulator_weights,
)
from lens_steer.evaluation import Judge

Make = Callable[[FitCache, ls.Activations, dict[str, Any]], ls.Intervention]
SETPOINTS = (4.0,)  # of all laws; strength, which is calibrated, does the rest


def law(name: str, make: Make) -> MethodFamily:
    """One kind of regulator, with the set-points that all of them try."""

    def at_strength_1(cache: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
        return make(cache, cache.activations(setting["read"]), regulator_weights(setting))

    return regulator(name, at_strength_1, SETPOINTS)


def published(inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.LQR:
    """Set-points from the origin."""
    return ls.LQR.fit(inputs.jacobians(dense=True), resid, centred=False, **costs)


def centred(inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.LQR:
    """Set-points from the undesired mean."""
    return ls.LQR.fit(inputs.jacobians(dense=True), resid, **costs)


def feature(inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.LQR:
    """Errors of the features alone are weighed."""
    return ls.LQR.fit_feature(inputs.jacobians(dense=False), resid, **costs)


def covariance_effort(inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.LQR:
    """The same, with covariance effort."""
    return ls.LQR.fit_feature(inputs.jacobians(dense=False), resid, covariance_effort=True, **costs)


def tracker(inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.LQRTracker:
    """Behind the block, with feed-forward."""
    return ls.LQRTracker.fit(inputs.jacobians(dense=False), resid, **costs)


def tracker_on_manifold(
    inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]
) -> ls.LQRTracker:
    """The same, with covariance effort."""
    return ls.LQRTracker.fit(inputs.jacobians(dense=False), resid, covariance_effort=True, **costs)


def pid(_inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.PID:
    """S-PID with the published gains of a 3B model."""
    return ls.PID.fit(resid, kp=0.3, ki=0.1, setpoint=costs["setpoint"])


def scalar(_inputs: FitCache, resid: ls.Activations, costs: dict[str, Any]) -> ls.PID:
    """What `centred` is for A = I."""
    return ls.PID.fit_scalar_gain(resid, **costs)


LAWS: dict[str, Make] = {
    "published": published,
    "centred": centred,
    "feature": feature,
    "feature, on manifold": covariance_effort,
    "tracker": tracker,
    "tracker, on manifold": tracker_on_manifold,
    "PID": pid,
    "scalar gain": scalar,
}


def chosen(
    inputs: FitCache, dev: ls.ContrastivePairs, judge: Judge | None, terms: ComparisonConfig
) -> tuple[dict[str, ls.Intervention], dict[str, Hyperparameters], dict[str, str]]:
    """Of each law, and of CAA, the best on dev at one cost; and why some are missing."""
    kinds = [FAMILIES["CAA"], *(law(name, make) for name, make in LAWS.items())]
    chosen = choose_all(kinds, inputs, dev, judge, kl=KL, config=terms)
    return chosen.methods, chosen.settings, chosen.missing
