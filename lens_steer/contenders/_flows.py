"""Flows along barriers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lens_steer.contenders._contender import Contender, Inputs, Setting
from lens_steer.steering.odesteer import ODESteer

_ANGLE = 0.25  # rad, of ODESteer at strength 1


class ODESteerContender(Contender):
    """`ODESteer` along the field of an exact polynomial barrier at one layer."""

    name = "ODESteer"

    def grid(self, inputs: Inputs) -> list[Setting]:
        """Every layer and read position at which the classes differ."""
        return [
            {"layer": layer, "read": read}
            for read in inputs.reads
            for layer in inputs.activations(read).layers
            if bool(inputs.activations(read).at(layer).direction.any())
        ]

    def draw(self, inputs: Inputs, source: np.random.Generator) -> Setting:
        """Any of those, by an angle of 0.05 to 1.5 rad, evenly in the log."""
        grid = self.grid(inputs)
        setting = grid[int(source.integers(len(grid)))]
        angle = float(np.exp(source.uniform(np.log(0.05), np.log(1.5))))
        return setting | {"strength": angle / _ANGLE}

    def make(self, inputs: Inputs, setting: Mapping[str, Any]) -> ODESteer:
        """Gamma and C by cross-validation on the training activations."""
        barrier = inputs.barrier(setting["read"], setting["layer"])
        method = ODESteer(barrier, setting["layer"], angle=_ANGLE, provenance=barrier.provenance)
        return method.with_strength(setting.get("strength", 1.0))
