"""The methods that `lens-steer compare` and the demo run: how each is made, chosen and searched.

A new method is one more entry in `CONTENDERS`; no command changes.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lens_steer.activations import Activations, ReadPosition, capture
from lens_steer.attribution import contrast
from lens_steer.elements import ElementScores
from lens_steer.evaluation import Judge, Terms, calibrate, evaluate_each
from lens_steer.models import SteerableModel
from lens_steer.pairs import ContrastivePairs
from lens_steer.steering.additive import CAA
from lens_steer.steering.base import Intervention
from lens_steer.steering.sadi import SADI

KL = 0.1  # nats per token to which methods are calibrated where nothing else is asked for
SHARES = (0.4, 0.25, 0.35)  # of the pairs: train, dev, test
Setting = dict[str, Any]  # of a method, as plain JSON: layer, read position, its own knobs


@dataclass(frozen=True, eq=False)
class Inputs:
    """What methods are made of: a model and training pairs, read once for all of them.

    Attributes:
        model: To be steered.
        train: Pairs to fit on.
        reads: Read positions that may be chosen from.
    """

    model: SteerableModel
    train: ContrastivePairs
    reads: tuple[ReadPosition, ...] = ("mean", "last")
    _known: dict[Any, Activations] = field(default_factory=dict, init=False, repr=False)
    _scores: dict[Any, ElementScores] = field(default_factory=dict, init=False, repr=False)

    def activations(self, read: ReadPosition, kind: str = "resid") -> Activations:
        """Of the training pairs, at every layer.

        Raises:
            ValueError: As `capture`.
        """
        if (read, kind) not in self._known:
            self._known[read, kind] = capture(
                self.model, self.train, kind, read=read, progress=False
            )
        return self._known[read, kind]

    def scores(self, read: ReadPosition, kind: str) -> ElementScores:
        """Mean difference of each element, at every layer.

        Raises:
            ValueError: As `capture`.
        """
        if (read, kind) not in self._scores:
            self._scores[read, kind] = contrast(self.activations(read, kind))
        return self._scores[read, kind]


class Contender(ABC):
    """One kind of method.

    Attributes:
        name: In tables and on the command line.
    """

    name: str

    @abstractmethod
    def grid(self, inputs: Inputs) -> list[Setting]:
        """Settings to choose from on dev, without a strength: that is calibrated."""

    @abstractmethod
    def draw(self, inputs: Inputs, source: np.random.Generator) -> Setting:
        """A setting drawn from the method's prior, strength included: for random search."""

    @abstractmethod
    def make(self, inputs: Inputs, setting: Mapping[str, Any]) -> Intervention:
        """The method with these settings.

        Raises:
            ValueError: If they do not fit the model.
        """


class CAAContender(Contender):
    """`CAA` at one layer."""

    name = "CAA"

    def grid(self, inputs: Inputs) -> list[Setting]:
        """Every layer and read position at which the classes differ."""
        return [
            {"layer": layer, "read": read}
            for read in inputs.reads
            for layer in inputs.activations(read).layers
            if bool(inputs.activations(read).at(layer).direction.any())
        ]

    def draw(self, inputs: Inputs, source: np.random.Generator) -> Setting:
        """Any of those, pushing by 0.1 to 2 times the activation's length, evenly in the log."""
        grid = self.grid(inputs)
        setting = grid[int(source.integers(len(grid)))]
        size = float(np.exp(source.uniform(np.log(0.1), np.log(2.0))))
        unit = inputs.activations(setting["read"]).at(setting["layer"]).relative_length
        return setting | {"strength": size / unit}

    def make(self, inputs: Inputs, setting: Mapping[str, Any]) -> CAA:
        """The difference of class means read at `read`, added at `layer`."""
        method = CAA.fit(inputs.activations(setting["read"]).at(setting["layer"]))
        return method.with_strength(setting.get("strength", 1.0))


class SADIContender(Contender):
    """`SADI` on the heads, neurons or MLP outputs of the largest mean difference, as published."""

    name = "SADI"

    def grid(self, inputs: Inputs) -> list[Setting]:
        """Two numbers of elements for each kind, where there are so many, at each read position."""
        sizes = {"head": (2, 8), "neuron": (30, 300), "mlp_out": (8, 64)}
        return [
            {"kind": kind, "k": k, "read": read}
            for read in inputs.reads
            for kind, ks in sizes.items()
            for k in ks
            if k <= inputs.scores(read, kind).values.numel()
        ]

    def draw(self, inputs: Inputs, source: np.random.Generator) -> Setting:
        """Any kind and k, with a delta of 0.5 to 80, both evenly in the log."""
        kind = ("head", "neuron", "mlp_out")[int(source.integers(3))]
        read = inputs.reads[int(source.integers(len(inputs.reads)))]
        most = min(500, inputs.scores(read, kind).values.numel())
        k = round(float(np.exp(source.uniform(0, np.log(most)))))
        delta = float(np.exp(source.uniform(np.log(0.5), np.log(80.0))))
        return {"kind": kind, "k": k, "read": read, "strength": delta / _DELTA}

    def make(self, inputs: Inputs, setting: Mapping[str, Any]) -> SADI:
        """The first k elements, scaled."""
        scores = inputs.scores(setting["read"], setting["kind"])
        method = SADI(scores.top(setting["k"]), _DELTA, provenance=scores.provenance)
        return method.with_strength(setting.get("strength", 1.0))


_DELTA = 4.0  # of SADI at strength 1
CONTENDERS: dict[str, Contender] = {each.name: each for each in (CAAContender(), SADIContender())}


def contenders(names: str | None = None) -> list[Contender]:
    """Some by their names, separated by commas; None is all.

    Raises:
        ValueError: If there is no such method; the message lists them.
    """
    chosen = list(CONTENDERS) if names is None else [n.strip() for n in names.split(",")]
    unknown = [name for name in chosen if name not in CONTENDERS]
    if unknown or not chosen:
        raise ValueError(f"unknown methods {unknown}: expected some of {', '.join(CONTENDERS)}")
    return [CONTENDERS[name] for name in chosen]


def stored(model: str, pairs: str, method: str, terms: Terms) -> Setting | None:
    """The setting kept in the package, found on dev by `python -m analyses.calibrated`.

    None for other models, pairs and methods, and for another split or other texts than those it was
    found on.
    """
    place = files("lens_steer").joinpath("calibrated.json")
    known = json.loads(place.read_text(encoding="utf-8"))
    same = all(getattr(terms, name) == value for name, value in known["terms"].items())
    return known["settings"].get(pairs, {}).get(method) if same and model == "organism" else None


def calibrated_best(
    contender: Contender,
    inputs: Inputs,
    dev: ContrastivePairs,
    judge: Judge | None,
    *,
    kl: float,
    terms: Terms,
) -> Setting:
    """Of the grid, each setting calibrated to one cost on dev, the one that does most there.

    Args:
        kl: Nats per token, see `calibrate`.

    Raises:
        ValueError: If no setting reaches the cost.
    """
    how = terms.decoding
    ready: list[Intervention] = []
    settings: list[Setting] = []
    refused = ""
    for setting in tqdm(contender.grid(inputs), desc=f"calibrate {contender.name}"):
        method = contender.make(inputs, setting)
        try:
            ready.append(calibrate(inputs.model, method, dev, kl=kl, progress=False, **how))
        except ValueError as error:
            refused = str(error)
            continue
        settings.append(setting | {"strength": ready[-1].strength})
    if not ready:
        raise ValueError(f"{contender.name} cannot be calibrated on {dev!r}: {refused}")
    trials = evaluate_each(inputs.model, dev, ready, judge=judge, **how)
    return settings[max(range(len(ready)), key=lambda i: trials[i].share)]
