"""The nine methods of the confirmatory contrasts, the others, and the structures of each.

A structure is everything but the strength: layer and read position, elements, set-point and control
cost. Methods that choose from the same structures are given the same draws, so that a contrast
between them is paired in these too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analyses.lqr.laws import made
from analyses.odesteer.methods import linear
from analyses.sadi.measures import fixed_vector
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import FAMILIES, FitCache, Hyperparameters, regulator_weights
from lens_steer.steering import Intervention, JointLQR

DRAWS = 6
CONTRASTS = (
    ("LinearAcT", "CAA"),
    ("ITI", "CAA"),
    ("SADI", "CAA"),
    ("SADI", "SADI's fixed vector"),
    ("LQR", "CAA"),
    ("LQR", "scalar gain"),
    ("ODESteer", "CAA"),
    ("ODESteer", "one-step linear probe"),
)

Make = Callable[[FitCache, Mapping[str, Any]], Intervention]
Structures = Callable[[FitCache, np.random.Generator], Hyperparameters]


@dataclass(frozen=True)
class Method:
    """A method and where its structures come from.

    Attributes:
        make: Makes it with a structure, at strength 1.
        structures: The name of what its structures are drawn from.
    """

    make: Make
    structures: str


def _of_family(name: str, cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """A draw from the prior of a family, without its strength."""
    setting = FAMILIES[name].draw(cache, source)
    return {knob: setting[knob] for knob in setting if knob not in ("nats", "strength")}


def _regulators(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """The prior of LQR with set-points of 2 to 30 class differences, which are not reached."""
    setpoint = float(np.exp(source.uniform(np.log(2.0), np.log(30.0))))
    return _of_family("LQR", cache, source) | {"setpoint": setpoint}


def _fixed_vector(cache: FitCache, setting: Mapping[str, Any]) -> Intervention:
    """The elements that SADI would scale, their differences of means added as they are."""
    activations = cache.activations(setting["read"], setting["kind"])
    mask = cache.scores(setting["read"], setting["kind"]).top(setting["k"])
    return fixed_vector(activations, mask)


def _one_step_probe(cache: FitCache, setting: Mapping[str, Any]) -> Intervention:
    """One rotation along the gradient of a cross-validated linear probe."""
    return linear(cache, setting).one_step(GeodesicEuler())


def _joint(cache: FitCache, setting: Mapping[str, Any]) -> JointLQR:
    """The joint law of one concept, which weighs errors of the feature alone."""
    resid = cache.activations(setting["read"])
    weights = regulator_weights(setting)
    return JointLQR.fit(cache.jacobians(dense=False), [resid], **weights)


# By the names that seeds are made of: methods of one name are given the same draws.
STRUCTURES: dict[str, Structures] = {
    "one layer": partial(_of_family, "CAA"),
    "heads": partial(_of_family, "ITI"),
    "elements": partial(_of_family, "SADI"),
    "regulators": _regulators,
}
METHODS: dict[str, Method] = {
    "CAA": Method(FAMILIES["CAA"].make, "one layer"),
    "LinearAcT": Method(FAMILIES["LinearAcT"].make, "one layer"),
    "ODESteer": Method(FAMILIES["ODESteer"].make, "one layer"),
    "one-step linear probe": Method(_one_step_probe, "one layer"),
    "ITI": Method(FAMILIES["ITI"].make, "heads"),
    "SADI": Method(FAMILIES["SADI"].make, "elements"),
    "SADI's fixed vector": Method(_fixed_vector, "elements"),
    "LQR": Method(FAMILIES["LQR"].make, "regulators"),
    "scalar gain": Method(partial(made, "scalar gain"), "regulators"),
}

# What else the package holds: measured beside the nine on three tasks, where that is asked for.
_REGULATORS = ("LQRTracker", "JointLQR", "PID")
OTHERS: dict[str, Method] = {
    name: Method(family.make, "regulators" if name in _REGULATORS else "one layer")
    for name, family in FAMILIES.items()
    if name not in METHODS
} | {
    "JointLQR": Method(_joint, "regulators"),
    "PID": Method(partial(made, "PID"), "regulators"),
}
OTHERS_ON = ("sentiment", "question", "present tense")
EVERY = METHODS | OTHERS


def drawn(method: str, cache: FitCache, seed: int, draws: int = DRAWS) -> list[Hyperparameters]:
    """The structures of a method: the same for all methods that choose from the same ones."""
    name = EVERY[method].structures
    source = np.random.default_rng([seed, *map(ord, name)])
    return [STRUCTURES[name](cache, source) for _ in range(draws)]
