"""Regulators: features led to set-points at every layer."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from lens_steer.benchmark.method_families.contender import FitCache, Hyperparameters, MethodFamily
from lens_steer.steering import LQR, Intervention, LQRTracker


class RegulatorContender(MethodFamily):
    """A law of set-points that are so many class differences from the undesired mean.

    Attributes:
        setpoints: lambda of the grid; 1 is the desired mean.
    """

    setpoints: tuple[float, ...]

    @abstractmethod
    def law(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """At strength 1."""

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Three set-points at each read position at which some layer has a feature."""
        return [
            {"read": read, "setpoint": setpoint, "control_cost": 1.0}
            for read in inputs.reads
            if bool(inputs.activations(read).direction.any())
            for setpoint in self.setpoints
        ]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """A lambda of 0.5 to 8 and a control cost of 0.3 to 10, both evenly in the log."""
        reads = list(dict.fromkeys(each["read"] for each in self.grid(inputs)))
        return {
            "read": reads[int(source.integers(len(reads)))],
            "setpoint": float(np.exp(source.uniform(np.log(0.5), np.log(8.0)))),
            "control_cost": float(np.exp(source.uniform(np.log(0.3), np.log(10.0)))),
        }

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """The law; strength 1 if none was found yet."""
        return self.law(inputs, setting).with_strength(setting.get("strength", 1.0))


class LQRContender(RegulatorContender):
    """`LQR` with isotropic costs, as published, but for set-points from the undesired mean."""

    name = "LQR"
    setpoints = (3.0, 10.0, 30.0)  # it stops short of them: its gain is below 1, and a layer late

    def law(self, inputs: FitCache, setting: Mapping[str, Any]) -> LQR:
        """From matrices."""
        jacobians, resid = inputs.jacobians(dense=True), inputs.activations(setting["read"])
        return LQR.fit(jacobians, resid, **_costs(setting))


class TrackerContender(RegulatorContender):
    """`LQRTracker`, its pushes along directions in which activations vary by themselves."""

    name = "LQRTracker"
    setpoints = (1.0, 3.0, 10.0)

    def law(self, inputs: FitCache, setting: Mapping[str, Any]) -> LQRTracker:
        """From products."""
        jacobians, resid = inputs.jacobians(dense=False), inputs.activations(setting["read"])
        return LQRTracker.fit(jacobians, resid, covariance_effort=True, **_costs(setting))


def _costs(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {name: setting[name] for name in ("setpoint", "control_cost")}
