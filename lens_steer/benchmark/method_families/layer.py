"""Methods of one layer, chosen with the read position, whose only other knob is the strength."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from lens_steer.activations import LayerActivations
from lens_steer.benchmark.method_families.contender import FitCache, Hyperparameters, MethodFamily
from lens_steer.steering import Intervention

MOST = 12  # settings of a grid


class LayerContender(MethodFamily):
    """A method of one layer's activations, whose only other knob is the strength.

    Attributes:
        strengths: Least and largest of the prior, which is even in the log.
    """

    strengths: tuple[float, float]

    @abstractmethod
    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """At strength 1."""

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Read positions and layers at which the classes differ: 12 at most, evenly spaced."""
        most = max(1, MOST // len(inputs.reads))
        return [s for read in inputs.reads for s in spaced(self._layers(inputs, read), most)]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """Any layer and read position at which the classes differ."""
        there = [each for read in inputs.reads for each in self._layers(inputs, read)]
        setting = there[int(source.integers(len(there)))]
        low, high = np.log(self.strengths)
        return setting | {"strength": float(np.exp(source.uniform(low, high)))}

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """Of the activations read at `read` at `layer`; strength 1 if none was found yet."""
        return self.of(inputs, setting).with_strength(setting.get("strength", 1.0))

    def _layers(self, inputs: FitCache, read: Any) -> list[Hyperparameters]:
        known = inputs.activations(read)
        present = known.direction.flatten(1).any(dim=1).tolist()
        there = zip(known.layers, present, strict=True)
        return [{"layer": layer, "read": read} for layer, differs in there if differs]


def spaced(settings: list[Hyperparameters], most: int) -> list[Hyperparameters]:
    """At most so many, evenly spaced, the first and the last among them."""
    if len(settings) <= most:
        return settings
    return [settings[int(i)] for i in np.linspace(0, len(settings) - 1, most).round()]


def activations_of(inputs: FitCache, setting: Mapping[str, Any]) -> LayerActivations:
    """Of the layer and read position that were chosen."""
    return inputs.activations(setting["read"]).at(setting["layer"])
