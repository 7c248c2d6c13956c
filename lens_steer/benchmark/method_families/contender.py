"""What methods are made of, and what a kind of method has to say to be compared."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lens_steer.activations import Activations, ReadPosition, capture
from lens_steer.attribution import ElementScores, contrast
from lens_steer.barriers import PolynomialBarrier
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import LayerJacobians, PullbackFisher, linearize, pullback_fisher
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, head_accuracies

SHARES = (0.4, 0.25, 0.35)  # of the pairs: train, dev, test
KL = 0.1  # nats per token to which methods are calibrated where nothing else is asked for
FOLDS = 5  # of pairs, at most, to judge probes of heads by
LINEARISED = 48  # texts whose Jacobians are averaged
FEW = 10  # activations of a class, two for each fold of a cross-validation
Hyperparameters = dict[str, Any]  # of a method, as plain JSON: layer, read position, its own knobs


@dataclass(frozen=True, eq=False)
class FitCache:
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
    _probed: dict[Any, ElementScores] = field(default_factory=dict, init=False, repr=False)
    _jacobians: dict[bool, LayerJacobians] = field(default_factory=dict, init=False, repr=False)
    _metrics: dict[int, PullbackFisher] = field(default_factory=dict, init=False, repr=False)
    _barriers: dict[Any, PolynomialBarrier] = field(default_factory=dict, init=False, repr=False)

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

    def head_accuracies(self, read: ReadPosition) -> ElementScores:
        """Held-out accuracy of a probe of each head, at every layer; five folds of whole groups.

        Raises:
            ValueError: As `head_accuracies`, if there are fewer than two groups.
        """
        if read not in self._probed:
            groups, n = self.train.example_groups, len(self.train.desired)
            fewest = min(len(set(groups[:n])), len(set(groups[n:])))
            folds = max(2, min(FOLDS, fewest))
            heads = self.activations(read, "head")
            own = self.train.groups if self.train.paired else groups
            self._probed[read] = head_accuracies(heads, groups=own, folds=folds, seed=0)
        return self._probed[read]

    def jacobians(self, *, dense: bool) -> LayerJacobians:
        """Of the first desired training texts, at their last token: the paper's choice and number.

        Raises:
            ValueError: As `linearize`.
        """
        known = self._jacobians.get(True, self._jacobians.get(dense))
        if known is None:
            some = self.train.first(LINEARISED)
            known = linearize(self.model, some, dense=dense, progress=False)
            self._jacobians[dense] = known
        return known

    def metric(self, layer: int) -> PullbackFisher:
        """Of pushes behind a block, at as many desired training texts as Jacobians.

        Raises:
            ValueError: As `pullback_fisher`.
        """
        if layer not in self._metrics:
            some = self.train.first(LINEARISED)
            how: Hyperparameters = {"samples": 16, "seed": 0, "progress": False}
            self._metrics[layer] = pullback_fisher(self.model, some, layer, **how)
        return self._metrics[layer]

    def barrier(self, read: ReadPosition, layer: int) -> PolynomialBarrier:
        """Of the residual stream at one layer, cross-validated.

        With fewer than ten activations of a class nothing can be: it then has the paper's gamma
        and C.

        Raises:
            ValueError: As `PolynomialBarrier.fit`.
        """
        if (read, layer) not in self._barriers:
            own = self.activations(read).at(layer)
            few = min(len(own.desired), len(own.undesired)) < FEW
            settings: Hyperparameters = {"gamma": 0.1, "C": 1.0} if few else {}
            self._barriers[read, layer] = PolynomialBarrier.fit(own, **settings)
        return self._barriers[read, layer]


class MethodFamily(ABC):
    """One kind of method.

    Attributes:
        name: In tables and on the command line.
    """

    name: str

    @abstractmethod
    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """Settings to choose from on dev, without a strength: that is calibrated."""

    @abstractmethod
    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """A setting drawn from the method's prior, strength included: for random search."""

    @abstractmethod
    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """The method with these settings.

        Raises:
            ValueError: If they do not fit the model.
        """
