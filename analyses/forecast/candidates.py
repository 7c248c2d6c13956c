"""What is forecast in each cell: CAA at many layers, and a few settings of other families."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import lens_steer as ls
from lens_steer.benchmark import FAMILIES, FitCache
from lens_steer.steering import Intervention

CAA = "CAA"
RANDOM = "random"
_LAYERS = 10  # of CAA, at most, at each read position
_RANDOMS = 2


@dataclass(frozen=True, eq=False)
class Candidate:
    """A method at strength 1.

    Attributes:
        name: In tables.
        family: Its kind.
        setting: Its layer, read position and knobs.
        method: The method.
    """

    name: str
    family: str
    setting: Mapping[str, Any]
    method: Intervention


def layers(n_layers: int, most: int = _LAYERS) -> list[int]:
    """Blocks spread over the model, the middle one among them."""
    if most == 1:
        return [n_layers // 2]
    spread = torch.linspace(0, n_layers - 1, min(most, n_layers)).round().int().tolist()
    return sorted({*spread, n_layers // 2})


def candidates(cache: FitCache, *, seed: int) -> list[Candidate]:
    """Every candidate of a cell, fitted.

    Raises:
        ValueError: As the families.
    """
    n_layers = int(cache.model.cfg.n_layers)
    heads = cache.scores("mean", "head").values.numel()
    few = [{"layer": layer, "read": "mean"} for layer in layers(n_layers, 3)]
    settings: list[tuple[str, dict[str, Any]]] = [
        *((CAA, {"layer": i, "read": read}) for read in cache.reads for i in layers(n_layers)),
        *((name, setting) for name in ("LinearAcT", "ODESteer") for setting in few),
        *(("ITI", {"k": min(k, heads), "read": "mean"}) for k in (6, 18)),
        ("SADI", {"kind": "head", "k": min(8, heads), "read": "mean"}),
        ("SADI", {"kind": "mlp_out", "k": 64, "read": "mean"}),
        ("LQR", {"read": "mean", "setpoint": 10.0, "control_cost": 1.0}),
    ]
    made = [
        Candidate(_name(family, setting), family, setting, FAMILIES[family].make(cache, setting))
        for family, setting in settings
    ]
    middle = next(c for c in made if c.setting == {"layer": n_layers // 2, "read": "mean"})
    for i in range(_RANDOMS):
        method = ls.Random.like(middle.method, seed=seed + i)
        made.append(Candidate(f"{RANDOM} {i}", RANDOM, {"layer": n_layers // 2}, method))
    return made


def _name(family: str, setting: Mapping[str, Any]) -> str:
    return ", ".join([family, *(f"{knob} {value}" for knob, value in setting.items())])
