"""One family of pushes, M J' w at one layer, and what each of its members assumes.

The readout w reads the behaviour, the Jacobian J carries a push to where w reads, and the metric M
says which pushes are cheap. CAA is the class difference with J = M = I; every other member changes
one of these, but for the two that say so.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.odesteer.methods import ANGLE
from lens_steer.activations import LayerActivations
from lens_steer.barriers import LinearBarrier
from lens_steer.benchmark import FitCache, Make
from lens_steer.sites import Site
from lens_steer.steering import Additive

Vector = Float[Tensor, " d"]
Readout = Callable[[FitCache, Mapping[str, Any]], Vector]
Metric = Callable[[FitCache, Mapping[str, Any], Vector], Vector]
DAMPING = 0.1  # of the Fisher metric, in units of its mean eigenvalue, as in `FishBack`


def difference(cache: FitCache, setting: Mapping[str, Any]) -> Vector:
    """The difference of the class means, at the layer that is steered."""
    return cache.layer(setting).direction.double()


def lda(cache: FitCache, setting: Mapping[str, Any]) -> Vector:
    """The normal of linear discriminant analysis: Sigma^-1 times the difference of means."""
    sigma = within(cache.layer(setting))
    return torch.linalg.solve(sigma, difference(cache, setting))


def probe(cache: FitCache, setting: Mapping[str, Any]) -> Vector:
    """The normal of a logistic probe, its C cross-validated."""
    return LinearBarrier.fit(cache.layer(setting)).weight.double()


def last_difference(cache: FitCache, setting: Mapping[str, Any]) -> Vector:
    """The difference of means behind the last block, as if no block changed the stream."""
    activations = cache.activations(setting["read"])
    return activations.at(activations.layers[-1]).direction.double()


def pulled_difference(cache: FitCache, setting: Mapping[str, Any]) -> Vector:
    """J' times `last_difference`: J is the product of the mean Jacobians of the blocks that follow.

    They are taken at the last token of the desired training texts, whichever token the classes are
    read at.
    """
    jacobians = cache.jacobians(dense=False)
    vector = last_difference(cache, setting).to(jacobians.nominal)[None]
    for block in reversed(range(setting["layer"] + 1, jacobians.n_layers)):
        vector = jacobians.vjp(block, vector)
    return vector[0].double()


def identity(cache: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """Every direction costs the same."""
    del cache, setting
    return w


def covariance(cache: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """Sigma w: pushes are cheap where activations vary by themselves."""
    return within(cache.layer(setting)) @ w


def fisher(cache: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """(G + lambda I)^-1 w: pushes are cheap where the next token does not mind."""
    return cache.metric(setting["layer"]).solve(w, DAMPING)


def within(activations: LayerActivations) -> Float[Tensor, "d d"]:
    """The covariance within the classes, shrunk as by Ledoit and Wolf (2004)."""
    from sklearn.covariance import ledoit_wolf

    sides = [side.double() for side in (activations.desired, activations.undesired)]
    rows = torch.cat([side - side.mean(dim=0) for side in sides])
    return torch.from_numpy(ledoit_wolf(rows.numpy(), assume_centered=True)[0])


def push(readout: Readout, metric: Metric = identity) -> Make:
    """One step along M J' w; at strength 1 it is as long as a quarter of the usual activation."""

    def make(cache: FitCache, setting: Mapping[str, Any]) -> Additive:
        activations = cache.layer(setting)
        vector = metric(cache, setting, readout(cache, setting))
        scaled = (ANGLE * activations.median_length / vector.norm() * vector).float()
        site = Site(activations.layer, activations.kind)
        return Additive((site,), (scaled,), provenance=activations.provenance)

    return make


def turn(readout: Readout) -> Make:
    """The flow of h = w . a at constant |a|: ten steps, all on one great circle."""

    def make(cache: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
        activations, weight = cache.layer(setting), readout(cache, setting).float()
        place: dict[str, Any] = {"layer": activations.layer, "provenance": activations.provenance}
        barrier = LinearBarrier(weight, 0.0, **place)
        return ls.ODESteer(barrier, angle=ANGLE)

    return make


BASELINE = "CAA"
PUSHES: dict[str, tuple[Readout, Metric]] = {
    BASELINE: (difference, identity),
    "LDA readout": (lda, identity),
    "probe readout": (probe, identity),
    "last layer's readout": (last_difference, identity),
    "the same, pulled back": (pulled_difference, identity),
    "covariance metric": (difference, covariance),
    "Fisher metric": (difference, fisher),
    "LDA and covariance": (lda, covariance),
}
MEMBERS: dict[str, Make] = {
    **{name: push(*parts) for name, parts in PUSHES.items()},
    "ten steps, |a| kept": turn(difference),
}
# Each member and the one that it is compared with: CAA, or the one that differs by one switch.
COMPARED: tuple[tuple[str, str], ...] = (
    *((name, BASELINE) for name in MEMBERS if name != BASELINE),
    ("the same, pulled back", "last layer's readout"),
)
