"""Transport from the undesired to the desired, and the push that is cheapest in nats."""

from collections.abc import Mapping
from typing import Any

from lens_steer.benchmark.method_families.contender import FitCache
from lens_steer.benchmark.method_families.layer import LayerContender, activations_of
from lens_steer.steering import FishBack, LinearAcT, MeanAcT, MiMiC


class MeanAcTContender(LayerContender):
    """`MeanAcT`."""

    name = "MeanAcT"
    strengths = (0.1, 3.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> MeanAcT:
        """At one layer."""
        return MeanAcT.fit(activations_of(inputs, setting))


class LinearAcTContender(LayerContender):
    """`LinearAcT`, which moves every value, as published."""

    name = "LinearAcT"
    strengths = (0.1, 3.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> LinearAcT:
        """At one layer."""
        return LinearAcT.fit(activations_of(inputs, setting))


class MiMiCContender(LayerContender):
    """`MiMiC`, its covariances shrunk where activations are few."""

    name = "MiMiC"
    strengths = (0.1, 3.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> MiMiC:
        """At one layer."""
        return MiMiC.fit(activations_of(inputs, setting))


class FishBackContender(LayerContender):
    """`FishBack` along the difference of class means."""

    name = "FishBack"
    strengths = (0.1, 3.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> FishBack:
        """At one layer."""
        own = activations_of(inputs, setting)
        return FishBack.from_metric(inputs.metric(setting["layer"]), own)
