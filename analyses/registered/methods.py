"""The nine methods of the confirmatory contrasts, and the structures that are drawn for them.

A structure is everything but the strength: layer and read position, elements, set-point and control
cost. Methods that choose from the same structures are given the same draws, so that a contrast
between them is paired in these too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import lens_steer as ls
from lens_steer.attribution import masked
from lens_steer.barriers import LinearBarrier
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import FAMILIES, FitCache, Hyperparameters
from lens_steer.steering import Intervention

DRAWS = 6
ANGLE = 0.25  # radians, of flows at strength 1
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
        structures: Draws a structure. Methods with the same one are given the same draws.
    """

    make: Make
    structures: Structures


def one_layer(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """Any block and read position at which the means of the classes differ."""
    settings = [
        {"layer": layer, "read": read}
        for read in cache.reads
        for layer, differ in _differing(cache, read)
        if differ
    ]
    return settings[int(source.integers(len(settings)))]


def _differing(cache: FitCache, read: Any) -> list[tuple[int, bool]]:
    found = cache.activations(read)
    return list(zip(found.layers, found.direction.flatten(1).any(dim=1).tolist(), strict=True))


def elements(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """Heads, neurons or dimensions of MLP outputs, up to 500 of them, evenly in the logarithm."""
    kind = ("head", "neuron", "mlp_out")[int(source.integers(3))]
    read = _read(cache, source)
    most = min(500, cache.scores(read, kind).values.numel())
    return {"kind": kind, "read": read, "k": round(_log_uniform(source, 1, most))}


def heads(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """Up to half of all heads, evenly in the logarithm."""
    read = _read(cache, source)
    most = max(2, cache.head_accuracies(read).values.numel() // 2)
    return {"read": read, "k": round(_log_uniform(source, 1, most))}


def regulators(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """A set-point of 2 to 30 class differences, which are not reached, and a cost of 0.3 to 10."""
    return {
        "read": _read(cache, source),
        "setpoint": _log_uniform(source, 2.0, 30.0),
        "control_cost": _log_uniform(source, 0.3, 10.0),
    }


def _log_uniform(source: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(source.uniform(np.log(low), np.log(high))))


def _read(cache: FitCache, source: np.random.Generator) -> Any:
    return cache.reads[int(source.integers(len(cache.reads)))]


def _of_family(name: str) -> Make:
    return FAMILIES[name].make


def fixed_vector(cache: FitCache, setting: Mapping[str, Any]) -> Intervention:
    """The differences of means of the elements that SADI would scale, added as they are."""
    activations = cache.activations(setting["read"], setting["kind"])
    mask = cache.scores(setting["read"], setting["kind"]).top(setting["k"])
    chosen = masked(activations, mask)
    layers = sorted({layer for layer, _ in mask.elements()})
    first, *rest = (ls.CAA.fit(chosen.at(layer)) for layer in layers)
    total: Any = first
    for vector in rest:
        total = total + vector
    return total


def scalar_gain(cache: FitCache, setting: Mapping[str, Any]) -> Intervention:
    """The regulator where every Jacobian is taken for the identity."""
    costs = {name: setting[name] for name in ("setpoint", "control_cost")}
    return ls.PID.fit_scalar_gain(cache.activations(setting["read"]), **costs)


def one_step_probe(cache: FitCache, setting: Mapping[str, Any]) -> Intervention:
    """One rotation along the gradient of a cross-validated linear probe."""
    barrier = LinearBarrier.fit(cache.layer(setting))
    return ls.ODESteer(barrier, setting["layer"], angle=ANGLE).one_step(GeodesicEuler())


METHODS: dict[str, Method] = {
    "CAA": Method(_of_family("CAA"), one_layer),
    "LinearAcT": Method(_of_family("LinearAcT"), one_layer),
    "ODESteer": Method(_of_family("ODESteer"), one_layer),
    "one-step linear probe": Method(one_step_probe, one_layer),
    "ITI": Method(_of_family("ITI"), heads),
    "SADI": Method(_of_family("SADI"), elements),
    "SADI's fixed vector": Method(fixed_vector, elements),
    "LQR": Method(_of_family("LQR"), regulators),
    "scalar gain": Method(scalar_gain, regulators),
}


def drawn(method: str, cache: FitCache, seed: int, draws: int = DRAWS) -> list[Hyperparameters]:
    """The structures of a method: the same for all methods that choose from the same ones."""
    structures = METHODS[method].structures
    numbers = [ord(letter) for letter in structures.__name__]
    source = np.random.default_rng([seed, *numbers])
    return [structures(cache, source) for _ in range(draws)]
