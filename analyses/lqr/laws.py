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
    RegulatorContender,
    calibrated_best,
)
from lens_steer.evaluation import Judge, OutOfReach

Make = Callable[[FitCache, ls.Activations, dict[str, Any]], ls.Intervention]


class Law(RegulatorContender):
    """One kind of regulator, with the set-points that all of them try."""

    setpoints = (4.0,)  # strength, which is calibrated, does the rest

    def __init__(self, name: str, make: Make) -> None:
        self.name, self._make = name, make

    def law(self, inputs: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
        """At strength 1."""
        costs = {name: setting[name] for name in ("setpoint", "control_cost")}
        return self._make(inputs, inputs.activations(setting["read"]), costs)


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
    return ls.PID.scalar_gain(resid, **costs)


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
    kinds: list[MethodFamily] = [FAMILIES["CAA"], *(Law(*each) for each in LAWS.items())]
    methods: dict[str, ls.Intervention] = {}
    settings: dict[str, Hyperparameters] = {}
    missing: dict[str, str] = {}
    for kind in kinds:
        try:
            setting = calibrated_best(kind, inputs, dev, judge, kl=KL, terms=terms)
        except OutOfReach as error:
            missing[kind.name] = str(error)
            continue
        methods[kind.name], settings[kind.name] = kind.make(inputs, setting), setting
    return methods, settings, missing
