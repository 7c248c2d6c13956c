"""One family of pushes, M J' w at one layer, and what each of its members assumes.

w reads the behaviour, J carries a push to where w reads, M says which pushes are cheap. CAA is the
class difference with J = M = I; every other member here changes one of them, but for the two that
say so.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.odesteer.methods import ANGLE, Make, own_of
from lens_steer.activations import LayerActivations
from lens_steer.barriers import LinearBarrier
from lens_steer.benchmark import FitCache
from lens_steer.sites import Site
from lens_steer.steering import Additive

Vector = Float[Tensor, " d"]
Readout = Callable[[FitCache, Mapping[str, Any]], Vector]
Metric = Callable[[FitCache, Mapping[str, Any], Vector], Vector]
DAMPING = 0.1  # of the Fisher metric, in units of its mean eigenvalue; that of `FishBack`


def difference(inputs: FitCache, setting: Mapping[str, Any]) -> Vector:
    """Of the class means, where it is steered."""
    return own_of(inputs, setting).direction.double()


def lda(inputs: FitCache, setting: Mapping[str, Any]) -> Vector:
    """Sigma^-1 times that difference: the normal of linear discriminant analysis."""
    sigma = within(own_of(inputs, setting))
    return torch.linalg.solve(sigma, difference(inputs, setting))


def probe(inputs: FitCache, setting: Mapping[str, Any]) -> Vector:
    """The normal of a logistic probe, its C cross-validated."""
    return LinearBarrier.fit(own_of(inputs, setting)).weight.double()


def last_difference(inputs: FitCache, setting: Mapping[str, Any]) -> Vector:
    """Of the class means behind the last block, as if no block changed the stream."""
    known = inputs.activations(setting["read"])
    return known.at(known.layers[-1]).direction.double()


def pulled_difference(inputs: FitCache, setting: Mapping[str, Any]) -> Vector:
    """J' times that, J the product of the mean Jacobians of the blocks that follow.

    At the last token of the desired training texts, whichever token the classes are read at.
    """
    jacobians = inputs.jacobians(dense=False)
    found = last_difference(inputs, setting).to(jacobians.nominal)[None]
    for block in reversed(range(setting["layer"] + 1, jacobians.n_layers)):
        found = jacobians.vjp(block, found)
    return found[0].double()


def identity(inputs: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """Every direction costs the same."""
    del inputs, setting
    return w


def covariance(inputs: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """Sigma w: pushes are cheap where activations vary by themselves."""
    return within(own_of(inputs, setting)) @ w


def fisher(inputs: FitCache, setting: Mapping[str, Any], w: Vector) -> Vector:
    """(G + lambda I)^-1 w: pushes are cheap where the next token does not mind."""
    return inputs.metric(setting["layer"]).solve(w, DAMPING)


def within(own: LayerActivations) -> Float[Tensor, "d d"]:
    """Covariance within the classes, shrunk as Ledoit and Wolf 2004."""
    from sklearn.covariance import ledoit_wolf

    sides = [side.double() for side in (own.desired, own.undesired)]
    rows = torch.cat([side - side.mean(dim=0) for side in sides])
    return torch.from_numpy(ledoit_wolf(rows.numpy(), assume_centered=True)[0])


def push(readout: Readout, metric: Metric = identity) -> Make:
    """One step along M J' w; strength 1 is as long as a quarter of the usual activation."""

    def make(inputs: FitCache, setting: Mapping[str, Any]) -> Additive:
        own = own_of(inputs, setting)
        vector = metric(inputs, setting, readout(inputs, setting))
        usual = float(own.undesired.norm(dim=-1).median())
        scaled = (ANGLE * usual / vector.norm() * vector).float()
        return Additive((Site(own.layer, own.kind),), (scaled,), provenance=own.provenance)

    return make


def turn(readout: Readout) -> Make:
    """The flow of h = w . a at constant |a|: ten steps, all of them on one great circle."""

    def make(inputs: FitCache, setting: Mapping[str, Any]) -> ls.ODESteer:
        own = own_of(inputs, setting)
        weight = readout(inputs, setting).float()
        barrier = LinearBarrier(weight, 0.0, layer=own.layer, provenance=own.provenance)
        return ls.ODESteer(barrier, angle=ANGLE)

    return make


BASE = "CAA"
PUSHES: dict[str, tuple[Readout, Metric]] = {
    BASE: (difference, identity),
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
# What a member is compared with: CAA, and the one from which it differs by one switch.
AGAINST: tuple[tuple[str, str], ...] = (
    *((name, BASE) for name in MEMBERS if name != BASE),
    ("the same, pulled back", "last layer's readout"),
)
