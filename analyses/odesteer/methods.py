"""The methods that `analyses.odesteer` compares, and how each is chosen: same grid, same cost."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import lens_steer as ls
from analyses.odesteer.gated import POLARITY, GatedCAA
from lens_steer.activations import LayerActivations
from lens_steer.barriers import LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import (
    KL,
    ComparisonConfig,
    FitCache,
    Hyperparameters,
    MethodFamily,
    calibrated_best,
)
from lens_steer.evaluation import Judge, OutOfReach

Make = Callable[[FitCache, Mapping[str, Any]], ls.Intervention]
ANGLE = 0.25  # rad, of every flow at strength 1; the vectors are as long as 0.25 activations


class Way(MethodFamily):
    """One way to steer at one layer; the strength that is calibrated is its only other knob."""

    def __init__(self, name: str, make: Make, layers: tuple[int, ...]) -> None:
        self.name, self._make, self._layers = name, make, layers

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """The layers and read positions at which the classes differ, the same for all."""
        return [
            {"layer": layer, "read": read}
            for read in inputs.reads
            for layer in self._layers
            if bool(inputs.activations(read).at(layer).direction.any())
        ]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """Any of those, at 0.2 to 6 times the strength, evenly in the log."""
        grid = self.grid(inputs)
        strength = float(np.exp(source.uniform(np.log(0.2), np.log(6.0))))
        return grid[int(source.integers(len(grid)))] | {"strength": strength}

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
        """Strength 1 if none was found yet."""
        return self._make(inputs, setting).with_strength(setting.get("strength", 1.0))


def ode(inputs: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The exact kernel's barrier, gamma and C cross-validated; ten geodesic midpoint steps."""
    return ls.ODESteer(inputs.barrier(setting["read"], setting["layer"]), angle=ANGLE)


def one_step(inputs: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The same barrier: one rotation in the direction of the field where it begins."""
    return ode(inputs, setting).one_step(GeodesicEuler())


def sketch(inputs: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """As published: a sketch with gamma 0.1 and C 1; ten Euler steps of one length for all."""
    own = own_of(inputs, setting)
    return ls.ODESteer.of_length(PolynomialBarrier.fit_sketch(own), T=ANGLE * _usual(own))


def linear(inputs: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The flow along a cross-validated linear probe's direction."""
    return ls.ODESteer(LinearBarrier.fit(own_of(inputs, setting)), angle=ANGLE)


def caa(inputs: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
    """The difference of means, scaled, so that strengths mean what they do elsewhere."""
    own = own_of(inputs, setting)
    return (ANGLE / own.relative_length) * ls.CAA.fit(own)


def gated(inputs: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
    """Two such differences, the prompt's listener choosing; at this strength a mean length."""
    own = own_of(inputs, setting)
    raw = GatedCAA.fit(own, inputs.train)
    scale = ANGLE * _usual(own) * 2 / float(raw.wet.norm() + raw.dry.norm())
    return GatedCAA(raw.layer, scale * raw.wet, scale * raw.dry, provenance=raw.provenance)


def own_of(inputs: FitCache, setting: Mapping[str, Any]) -> LayerActivations:
    """The training activations that a setting reads."""
    return inputs.activations(setting["read"]).at(setting["layer"])


def _usual(own: LayerActivations) -> float:
    return float(own.undesired.norm(dim=-1).median())


WAYS: dict[str, Make] = {
    "CAA": caa,
    "ODESteer": ode,
    "one step": one_step,
    "published sketch": sketch,
    "linear probe": linear,
}
GATED = "two CAA, told which"


def ways(name: str) -> dict[str, Make]:
    """Of one behaviour: two vectors where it has two halves."""
    return {**WAYS, GATED: gated} if name == POLARITY else WAYS


def chosen(  # noqa: PLR0913 - as calibrated_best
    inputs: FitCache,
    dev: ls.ContrastivePairs,
    judge: Judge | None,
    terms: ComparisonConfig,
    layers: tuple[int, ...],
    each: Mapping[str, Make],
) -> tuple[dict[str, ls.Intervention], dict[str, Hyperparameters], dict[str, str]]:
    """Of each way the best on dev at one cost; its setting; and why some are missing."""
    methods: dict[str, ls.Intervention] = {}
    settings: dict[str, Hyperparameters] = {}
    missing: dict[str, str] = {}
    for name, make in each.items():
        way = Way(name, make, layers)
        try:
            setting = calibrated_best(way, inputs, dev, judge, kl=KL, terms=terms)
        except OutOfReach as error:
            missing[name] = str(error)
            continue
        methods[name], settings[name] = way.make(inputs, setting), setting
    return methods, settings, missing
