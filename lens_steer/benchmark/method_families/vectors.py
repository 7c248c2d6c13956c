"""Baselines at one layer, or of a few heads: directions that are added, taken out or turned to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lens_steer.activations import LayerActivations
from lens_steer.benchmark.method_families.contender import FitCache, Hyperparameters, MethodFamily
from lens_steer.benchmark.method_families.layer import LayerContender, activations_of
from lens_steer.steering import ITI, Ablation, Angular, RepE, ResidualITI

_SIZE = 0.25  # of a push at strength 1, in lengths of the usual undesired activation
_ALPHA = 15.0  # standard deviations, of ITI at strength 1: the paper's


class RepEContender(LayerContender):
    """`RepE`, of pairs where there are pairs."""

    name = "RepE"
    strengths = (0.4, 8.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> RepE:
        """As long as a quarter of the usual activation."""
        own = activations_of(inputs, setting)
        method = RepE.fit(own)
        return replace(method, coefficient=_SIZE * _usual(own) / method.gap)


class ResidualITIContender(LayerContender):
    """`ResidualITI`."""

    name = "ResidualITI"
    strengths = (0.4, 8.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> ResidualITI:
        """As long as a quarter of the usual activation."""
        own = activations_of(inputs, setting)
        return ResidualITI.fit(own, length=_SIZE * _usual(own))


class AblationContender(LayerContender):
    """`Ablation`, one layer's direction taken out at every layer, as published."""

    name = "Ablation"
    strengths = (0.1, 1.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> Ablation:
        """Whole."""
        return Ablation.fit(inputs.activations(setting["read"]), layer=setting["layer"])


class AngularContender(LayerContender):
    """`Angular`, every activation led to the class difference in its plane."""

    name = "Angular"
    strengths = (0.1, 1.0)

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> Angular:
        """All the way."""
        return Angular.fit(activations_of(inputs, setting), to_angle=0.0)


class ITIContender(MethodFamily):
    """`ITI` along differences of means, in the heads of the best probes."""

    name = "ITI"

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Up to four numbers of heads, where there are so many, at each read position."""
        return [
            {"k": k, "read": read}
            for read in inputs.reads
            for k in (2, 6, 18, 48)
            if k <= inputs.head_accuracies(read).values.numel()
        ]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """Any k up to half of all heads, with an alpha of 0.03 to 30, both evenly in the log."""
        read = inputs.reads[int(source.integers(len(inputs.reads)))]
        most = max(2, inputs.head_accuracies(read).values.numel() // 2)
        k = round(float(np.exp(source.uniform(0, np.log(most)))))
        alpha = float(np.exp(source.uniform(np.log(0.03), np.log(30.0))))
        return {"k": k, "read": read, "strength": alpha / _ALPHA}

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> ITI:
        """The k heads of the highest held-out accuracy."""
        read = setting["read"]
        heads, scores = inputs.activations(read, "head"), inputs.head_accuracies(read)
        method = ITI.fit(heads, scores, k=setting["k"], alpha=_ALPHA)
        return method.with_strength(setting.get("strength", 1.0))


def _usual(own: LayerActivations) -> float:
    """Median length of an undesired activation."""
    return float(own.undesired.flatten(1).norm(dim=-1).median())
