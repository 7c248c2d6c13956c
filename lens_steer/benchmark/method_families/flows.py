"""Flows along barriers."""

from collections.abc import Mapping
from typing import Any

from lens_steer.benchmark.method_families.contender import FitCache
from lens_steer.benchmark.method_families.layer import LayerContender
from lens_steer.steering import ODESteer

_ANGLE = 0.25  # rad, of ODESteer at strength 1


class ODESteerContender(LayerContender):
    """`ODESteer` along the field of an exact polynomial barrier at one layer."""

    name = "ODESteer"
    strengths = (0.2, 6.0)  # 0.05 to 1.5 rad

    def of(self, inputs: FitCache, setting: Mapping[str, Any]) -> ODESteer:
        """Gamma and C by cross-validation on the training activations."""
        barrier = inputs.barrier(setting["read"], setting["layer"])
        return ODESteer(barrier, setting["layer"], angle=_ANGLE, provenance=barrier.provenance)
