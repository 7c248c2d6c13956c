"""Transport from the undesired to the desired, and the push that is cheapest in nats."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from lens_steer.contenders._contender import Contender, Inputs, Setting
from lens_steer.steering.base import Intervention
from lens_steer.steering.fishback import FishBack
from lens_steer.steering.transport import LinearAcT, MeanAcT, MiMiC

_MOST = 12  # settings of a grid


class LayerContender(Contender):
    """A method of one layer whose only settings are that layer and the read position."""

    @abstractmethod
    def fitted(self, inputs: Inputs, setting: Mapping[str, Any]) -> Intervention:
        """At strength 1."""

    def grid(self, inputs: Inputs) -> list[Setting]:
        """Layers and read positions at which the classes differ, twelve at most, evenly spaced."""
        known = self._settings(inputs)
        places = np.linspace(0, len(known) - 1, min(len(known), _MOST)).round().astype(int)
        return [known[i] for i in places.tolist()]

    def draw(self, inputs: Inputs, source: np.random.Generator) -> Setting:
        """Any of them, thinned or not, at a strength of 0.1 to 3, evenly in the log."""
        known = self._settings(inputs)
        setting = known[int(source.integers(len(known)))]
        return setting | {"strength": float(np.exp(source.uniform(np.log(0.1), np.log(3.0))))}

    def make(self, inputs: Inputs, setting: Mapping[str, Any]) -> Intervention:
        """The method; strength 1 if none was found yet."""
        return self.fitted(inputs, setting).with_strength(setting.get("strength", 1.0))

    def _settings(self, inputs: Inputs) -> list[Setting]:
        return [
            {"layer": layer, "read": read}
            for read in inputs.reads
            for layer in inputs.activations(read).layers
            if bool(inputs.activations(read).at(layer).direction.any())
        ]


class MeanAcTContender(LayerContender):
    """`MeanAcT`."""

    name = "MeanAcT"

    def fitted(self, inputs: Inputs, setting: Mapping[str, Any]) -> MeanAcT:
        """At one layer."""
        return MeanAcT.fit(inputs.activations(setting["read"]).at(setting["layer"]))


class LinearAcTContender(LayerContender):
    """`LinearAcT`, which moves every value, as published."""

    name = "LinearAcT"

    def fitted(self, inputs: Inputs, setting: Mapping[str, Any]) -> LinearAcT:
        """At one layer."""
        return LinearAcT.fit(inputs.activations(setting["read"]).at(setting["layer"]))


class MiMiCContender(LayerContender):
    """`MiMiC`, its covariances shrunk where activations are few."""

    name = "MiMiC"

    def fitted(self, inputs: Inputs, setting: Mapping[str, Any]) -> MiMiC:
        """At one layer."""
        return MiMiC.fit(inputs.activations(setting["read"]).at(setting["layer"]))


class FishBackContender(LayerContender):
    """`FishBack` along the difference of class means."""

    name = "FishBack"

    def fitted(self, inputs: Inputs, setting: Mapping[str, Any]) -> FishBack:
        """At one layer."""
        own = inputs.activations(setting["read"]).at(setting["layer"])
        return FishBack.of_metric(inputs.metric(setting["layer"]), own)
