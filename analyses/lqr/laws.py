"""The laws that the study compares, all with the same grid: read positions, one set-point."""

from collections.abc import Callable, Mapping
from typing import Any

import lens_steer as ls
from lens_steer.benchmark import FitCache, Hyperparameters, MethodFamily

Law = Callable[..., ls.Intervention]
SETPOINT = 4.0  # lambda, in class differences; the strength, which is calibrated, does the rest


def published(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQR:
    """LQR with set-points measured from the origin."""
    return ls.LQR.fit(cache.jacobians(dense=True), resid, centred=False, **costs)


def centred(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQR:
    """LQR with set-points measured from the undesired mean."""
    return ls.LQR.fit(cache.jacobians(dense=True), resid, **costs)


def feature(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQR:
    """LQR that weighs errors of the feature alone."""
    return ls.LQR.fit_feature(cache.jacobians(dense=False), resid, **costs)


def covariance_effort(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQR:
    """The same as `feature`, with effort measured in units of the activations' covariance."""
    return ls.LQR.fit_feature(cache.jacobians(dense=False), resid, covariance_effort=True, **costs)


def tracker(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQRTracker:
    """LQR behind the block, with feed-forward."""
    return ls.LQRTracker.fit(cache.jacobians(dense=False), resid, **costs)


def tracker_on_manifold(cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.LQRTracker:
    """The same as `tracker`, with effort measured in units of the activations' covariance."""
    return ls.LQRTracker.fit(cache.jacobians(dense=False), resid, covariance_effort=True, **costs)


def pid(_cache: FitCache, resid: ls.Activations, *, setpoint: float, **_costs: Any) -> ls.PID:
    """S-PID with the published gains of a 3B model."""
    return ls.PID.fit(resid, kp=0.3, ki=0.1, setpoint=setpoint)


def scalar(_cache: FitCache, resid: ls.Activations, **costs: Any) -> ls.PID:
    """P control with the gain that `centred` has where every Jacobian is the identity."""
    return ls.PID.fit_scalar_gain(resid, **costs)


LAWS: dict[str, Law] = {
    "published": published,
    "centred": centred,
    "feature": feature,
    "feature, on manifold": covariance_effort,
    "tracker": tracker,
    "tracker, on manifold": tracker_on_manifold,
    "PID": pid,
    "scalar gain": scalar,
}


def made(name: str, cache: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
    """A law with these settings, at strength 1."""
    costs = {knob: setting[knob] for knob in ("setpoint", "control_cost")}
    return LAWS[name](cache, cache.activations(setting["read"]), **costs)


def grid(cache: FitCache) -> list[Hyperparameters]:
    """One setting for each read position at which some layer has a feature."""
    return [
        {"read": read, "setpoint": SETPOINT, "control_cost": 1.0}
        for read in cache.reads
        if bool(cache.activations(read).direction.any())
    ]


def law_family(name: str) -> MethodFamily:
    """A law as a kind of method."""
    return MethodFamily(
        name=name, make=lambda cache, setting: made(name, cache, setting), grid=grid
    )
