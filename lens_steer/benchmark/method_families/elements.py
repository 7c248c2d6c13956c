"""Differences of means: on the residual stream, and as a choice of elements."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lens_steer.benchmark.method_families.contender import FitCache, Hyperparameters, MethodFamily
from lens_steer.benchmark.method_families.layer import LayerContender, activations_of
from lens_steer.steering import CAA, SADI

_DELTA = 4.0  # of SADI at strength 1


class CAAContender(LayerContender):
    """`CAA` at one layer."""

    name = "CAA"
    strengths = (0.1, 2.0)  # times the usual activation's length

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """Any layer and read position, pushing by 0.1 to 2 times the activation's length."""
        setting = super().draw(inputs, source)
        unit = activations_of(inputs, setting).relative_length
        return setting | {"strength": setting["strength"] / unit}

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> CAA:
        """The difference of class means read at `read`, added at `layer`."""
        return CAA.fit(activations_of(inputs, setting))


class SADIContender(MethodFamily):
    """`SADI` on the heads, neurons or MLP outputs of the largest mean difference, as published."""

    name = "SADI"

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Two numbers of elements for each kind, where there are so many, at each read position."""
        sizes = {"head": (2, 8), "neuron": (30, 300), "mlp_out": (8, 64)}
        return [
            {"kind": kind, "k": k, "read": read}
            for read in inputs.reads
            for kind, ks in sizes.items()
            for k in ks
            if k <= inputs.scores(read, kind).values.numel()
        ]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """Any kind and k, with a delta of 0.5 to 80, both evenly in the log."""
        kind = ("head", "neuron", "mlp_out")[int(source.integers(3))]
        read = inputs.reads[int(source.integers(len(inputs.reads)))]
        most = min(500, inputs.scores(read, kind).values.numel())
        k = round(float(np.exp(source.uniform(0, np.log(most)))))
        delta = float(np.exp(source.uniform(np.log(0.5), np.log(80.0))))
        return {"kind": kind, "k": k, "read": read, "strength": delta / _DELTA}

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> SADI:
        """The first k elements, scaled."""
        scores = inputs.scores(setting["read"], setting["kind"])
        method = SADI(scores.top(setting["k"]), _DELTA, provenance=scores.provenance)
        return method.with_strength(setting.get("strength", 1.0))
