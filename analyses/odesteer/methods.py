"""The methods that the study compares, all chosen from one grid: read positions and layers."""

from collections.abc import Mapping
from typing import Any

import lens_steer as ls
from analyses.odesteer.gated import POLARITY, GatedCAA
from lens_steer.barriers import LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import FitCache, Hyperparameters, Make, MethodFamily

ANGLE = 0.25  # rad, of every flow at strength 1; vectors are as long as 0.25 activations
GATED = "two CAA, told which"
COMPARED = ("one step", "published sketch", "linear probe", "CAA", GATED)  # with ODESteer


def ode(cache: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The exact kernel's barrier, gamma and C cross-validated; ten geodesic midpoint steps."""
    return ls.ODESteer(cache.barrier(setting["read"], setting["layer"]), angle=ANGLE)


def one_step(cache: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The same barrier: one rotation in the direction that its field has at the start."""
    return ode(cache, setting).one_step(GeodesicEuler())


def sketch(cache: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """As published: a sketch with gamma 0.1 and C 1; ten Euler steps of one length for all."""
    activations = cache.layer(setting)
    barrier = PolynomialBarrier.fit_sketch(activations)
    return ls.ODESteer.from_length(barrier, T=ANGLE * activations.median_length)


def linear(cache: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
    """The flow along the direction of a cross-validated linear probe."""
    return ls.ODESteer(LinearBarrier.fit(cache.layer(setting)), angle=ANGLE)


def caa(cache: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
    """The difference of means, as long as 0.25 activations at strength 1."""
    activations = cache.layer(setting)
    return (ANGLE / activations.relative_length) * ls.CAA.fit(activations)


def gated(cache: FitCache, setting: Mapping[str, Any]) -> ls.Intervention:
    """Two such differences, chosen by the listener in the prompt; their mean length is the same."""
    activations = cache.layer(setting)
    raw = GatedCAA.fit(activations, cache.train)
    scale = ANGLE * activations.median_length * 2 / float(raw.wet.norm() + raw.dry.norm())
    return GatedCAA(raw.layer, scale * raw.wet, scale * raw.dry, provenance=raw.provenance)


METHODS: dict[str, Make] = {
    "CAA": caa,
    "ODESteer": ode,
    "one step": one_step,
    "published sketch": sketch,
    "linear probe": linear,
}


def methods_of(pairs: str) -> dict[str, Make]:
    """The methods for one behaviour: with two gated vectors where it has two halves."""
    return {**METHODS, GATED: gated} if pairs == POLARITY else METHODS


def grid_of(cache: FitCache, layers: tuple[int, ...]) -> list[Hyperparameters]:
    """The layers and read positions at which the classes differ, the same for all methods."""
    return [
        {"layer": layer, "read": read}
        for read in cache.reads
        for layer in layers
        if bool(cache.activations(read).at(layer).direction.any())
    ]


def layer_families(methods: Mapping[str, Make], layers: tuple[int, ...]) -> list[MethodFamily]:
    """Kinds of methods that act at one of these layers; strength is their only other knob."""
    return [
        MethodFamily(name=name, make=make, grid=lambda cache: grid_of(cache, layers))
        for name, make in methods.items()
    ]


def families_of(pairs: str, layers: tuple[int, ...]) -> list[MethodFamily]:
    """All kinds of methods for one behaviour."""
    return layer_families(methods_of(pairs), layers)
