"""What a method family is, and the kinds of families that differ only in how they are fitted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lens_steer.activations import LayerActivations, ReadPosition
from lens_steer.arguments import Count
from lens_steer.benchmark.fit_cache import FitCache, Hyperparameters
from lens_steer.reports import short_repr
from lens_steer.steering import Intervention

Make = Callable[[FitCache, Mapping[str, Any]], Intervention]
Grid = Callable[[FitCache], list[Hyperparameters]]
Prior = Callable[[FitCache, np.random.Generator], Hyperparameters]

_GRID_SIZE = 12  # settings of the grid of a method of one layer, at most
NATS = (0.003, 1.0)  # local nats per token of a strength that is drawn, the least and the most


@dataclass(frozen=True)
class MethodFamily:
    """A kind of method that can be chosen on dev, searched and compared.

    Attributes:
        name: In tables and on the command line.
        make: Makes the method with a setting, which is plain JSON. The method then gets the
            strength of the setting, or strength 1 if the setting has none yet.
        grid: The settings to choose from on dev, without a strength, which is calibrated.
        prior: Draws a setting for random search, with a `strength` or with `nats`, the local nats
            per token that it is to cost, see `methods_of_draws`; None if there is no search.

    Example:
        >>> family = ls.benchmark.MethodFamily(
        ...     name="MeanAcT, layer 3",
        ...     make=lambda cache, setting: ls.MeanAcT.fit(cache.activations("mean").at(layer=3)),
        ...     grid=lambda cache: [{}],
        ... )
        >>> family.make(ls.benchmark.FitCache(model, train), {"strength": 0.5})
    """

    name: str
    make: Make
    grid: Grid
    prior: Prior | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "make", partial(_with_strength_of_setting, self.make))

    def draw(self, cache: FitCache, source: np.random.Generator) -> Hyperparameters:
        """A setting drawn from the prior, with a strength or with the nats that it is to cost.

        Raises:
            ValueError: If the family has no prior.
        """
        if self.prior is None:
            raise ValueError(f"{self.name} has no prior to draw from: expected prior= a function")
        return self.prior(cache, source)


def _with_strength_of_setting(
    make: Make, cache: FitCache, setting: Mapping[str, Any]
) -> Intervention:
    return make(cache, setting).with_strength(setting.get("strength", 1.0))


# Methods of one layer, whose only other knob is the strength.


@dataclass(frozen=True)
class LayerPrior:
    """Any layer and read position at which the classes differ, and what is done there.

    Attributes:
        strengths: The least and the largest, even in the logarithm: for methods whose strength is
            a share of the whole way. None draws local nats instead, from 0.003 to 1 per token.
    """

    strengths: tuple[float, float] | None = None

    def __call__(self, cache: FitCache, source: np.random.Generator) -> Hyperparameters:
        """A setting of one layer and read position, with a strength or nats."""
        settings = [s for read in cache.reads for s in _layers_that_differ(cache, read)]
        setting = settings[int(source.integers(len(settings)))]
        if self.strengths is None:
            return setting | drawn_nats(source)
        return setting | {"strength": log_uniform(source, *self.strengths)}


def layer_grid(cache: FitCache) -> list[Hyperparameters]:
    """Read positions and layers at which the classes differ: 12 at most, evenly spaced."""
    most = max(1, _GRID_SIZE // len(cache.reads))
    return [s for read in cache.reads for s in spaced(_layers_that_differ(cache, read), most)]


def one_layer(
    name: str, fit: Callable[[LayerActivations], Intervention], prior: LayerPrior
) -> MethodFamily:
    """The family of a method that is fitted on the activations of one layer.

    Example:
        >>> family = ls.benchmark.one_layer(
        ...     "MeanAcT", ls.MeanAcT.fit, ls.benchmark.LayerPrior()
        ... )
    """
    return MethodFamily(name, lambda cache, setting: fit(cache.layer(setting)), layer_grid, prior)


def thinned(family: MethodFamily, n: Count) -> MethodFamily:
    """The same family with at most `n` settings: the middle ones of as many parts of its grid.

    Example:
        >>> few = [ls.benchmark.thinned(family, 4) for family in ls.benchmark.families("all")]
    """

    def grid(cache: FitCache) -> list[Hyperparameters]:
        settings = family.grid(cache)
        kept = min(n, len(settings))
        return [settings[int((i + 0.5) * len(settings) / kept)] for i in range(kept)]

    return replace(family, grid=grid)


def spaced(settings: list[Hyperparameters], n: int) -> list[Hyperparameters]:
    """At most `n` settings, evenly spaced, the first and the last among them."""
    if len(settings) <= n:
        return settings
    return [settings[int(i)] for i in np.linspace(0, len(settings) - 1, n).round()]


def _layers_that_differ(cache: FitCache, read: ReadPosition) -> list[Hyperparameters]:
    activations = cache.activations(read)
    differ = activations.direction.flatten(1).any(dim=1).tolist()
    layers = zip(activations.layers, differ, strict=True)
    return [{"layer": layer, "read": read} for layer, differs in layers if differs]


def log_uniform(source: np.random.Generator, low: float | int, high: float | int) -> float:
    """A number between two others, drawn evenly in the logarithm."""
    return float(np.exp(source.uniform(np.log(low), np.log(high))))


def drawn_nats(source: np.random.Generator) -> Hyperparameters:
    """Local nats per token, 0.003 to 1, evenly in the logarithm: a unit for any method."""
    return {"nats": log_uniform(source, *NATS)}


# Regulators: set-points that are so many class differences from the undesired mean.


def regulator(name: str, make: Make, setpoints: Sequence[float]) -> MethodFamily:
    """The family of a regulator whose settings are `read`, `setpoint` and `control_cost`.

    Args:
        make: Makes the regulator of a setting; `regulator_weights(setting)` are its keywords.
        setpoints: Those of the grid, at each read position at which some layer has a feature; 1 is
            the desired mean. The prior draws a set-point of 0.5 to 8, a control cost of 0.3 to 10
            and local nats, all evenly in the logarithm.
    """

    def reads(cache: FitCache) -> list[ReadPosition]:
        return [read for read in cache.reads if bool(cache.activations(read).direction.any())]

    def grid(cache: FitCache) -> list[Hyperparameters]:
        return [
            {"read": read, "setpoint": setpoint, "control_cost": 1.0}
            for read in reads(cache)
            for setpoint in setpoints
        ]

    def prior(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
        choices = reads(cache)
        return {
            "read": choices[int(source.integers(len(choices)))],
            "setpoint": log_uniform(source, 0.5, 8.0),
            "control_cost": log_uniform(source, 0.3, 10.0),
        } | drawn_nats(source)

    return MethodFamily(name, make, grid, prior)


def regulator_weights(setting: Mapping[str, Any]) -> dict[str, Any]:
    """The set-point and the control cost of a setting, as keywords of a regulator's `fit`."""
    return {name: setting[name] for name in ("setpoint", "control_cost")}
