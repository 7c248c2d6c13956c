"""What method families are made of: activations, scores, Jacobians and barriers, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lens_steer.activations import Activations, LayerActivations, ReadPosition, capture
from lens_steer.arguments import Count, Layer
from lens_steer.attribution import ElementScores, contrast
from lens_steer.barriers import PolynomialBarrier
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import LayerJacobians, PullbackFisher, linearize, pullback_fisher
from lens_steer.models import SteerableModel
from lens_steer.reports import short_repr
from lens_steer.steering import head_accuracies

FOLDS = 5  # of pairs, at most, to judge probes of heads by
LINEARISED = 48  # texts whose Jacobians are averaged: the paper's number
FEW = 10  # activations of a class, two for each fold of a cross-validation
Hyperparameters = dict[str, Any]  # of a method, as plain JSON: layer, read position, its own knobs


@dataclass(frozen=True, eq=False)
class FitCache:
    """A model and training pairs, with everything that several method families are fitted on.

    Each quantity is computed when it is first asked for, and kept.

    Attributes:
        model: The model to be steered.
        train: The pairs to fit on.
        reads: The read positions that may be chosen from.
        linearised: How many training texts Jacobians and metrics are averaged over, at most.

    Example:
        >>> cache = ls.benchmark.FitCache(model, train)
        >>> cache.activations("mean").at(layer=3)
    """

    model: SteerableModel
    train: ContrastivePairs
    reads: tuple[ReadPosition, ...] = ("mean", "last")
    linearised: Count = LINEARISED
    _activations: dict[Any, Activations] = field(default_factory=dict, init=False, repr=False)
    _scores: dict[Any, ElementScores] = field(default_factory=dict, init=False, repr=False)
    _accuracies: dict[Any, ElementScores] = field(default_factory=dict, init=False, repr=False)
    _jacobians: dict[bool, LayerJacobians] = field(default_factory=dict, init=False, repr=False)
    _metrics: dict[int, PullbackFisher] = field(default_factory=dict, init=False, repr=False)
    _barriers: dict[Any, PolynomialBarrier] = field(default_factory=dict, init=False, repr=False)

    __repr__ = short_repr

    def activations(self, read: ReadPosition, kind: str = "resid") -> Activations:
        """The activations of the training pairs at every layer.

        Raises:
            ValueError: As `capture`.
        """
        if (read, kind) not in self._activations:
            self._activations[read, kind] = capture(
                self.model, self.train, kind, read=read, progress=False
            )
        return self._activations[read, kind]

    def layer(self, setting: Mapping[str, Any]) -> LayerActivations:
        """The residual stream at the `layer` and read position `read` of a setting.

        Raises:
            ValueError: As `capture`.
        """
        return self.activations(setting["read"]).at(setting["layer"])

    def scores(self, read: ReadPosition, kind: str) -> ElementScores:
        """The mean difference of each element, at every layer.

        Raises:
            ValueError: As `capture`.
        """
        if (read, kind) not in self._scores:
            self._scores[read, kind] = contrast(self.activations(read, kind))
        return self._scores[read, kind]

    def head_accuracies(self, read: ReadPosition) -> ElementScores:
        """The held-out accuracy of a probe of each head; at most five folds of whole groups.

        Raises:
            ValueError: As `head_accuracies`, if there are fewer than two groups.
        """
        if read not in self._accuracies:
            by_example, n = self.train.example_groups, len(self.train.desired)
            fewest = min(len(set(by_example[:n])), len(set(by_example[n:])))
            groups = self.train.groups if self.train.paired else by_example
            folds = max(2, min(FOLDS, fewest))
            heads = self.activations(read, "head")
            self._accuracies[read] = head_accuracies(heads, groups=groups, folds=folds, seed=0)
        return self._accuracies[read]

    def jacobians(self, *, dense: bool) -> LayerJacobians:
        """Mean Jacobians at the last token of the first desired training texts.

        Raises:
            ValueError: As `linearize`.
        """
        kept = self._jacobians.get(True, self._jacobians.get(dense))
        if kept is not None:
            return kept
        texts = self.train.first(self.linearised)
        self._jacobians[dense] = linearize(self.model, texts, dense=dense, progress=False)
        return self._jacobians[dense]

    def metric(self, layer: Layer) -> PullbackFisher:
        """The Fisher metric of pushes behind a block, at the first desired training texts.

        Raises:
            ValueError: As `pullback_fisher`.
        """
        if layer not in self._metrics:
            texts = self.train.first(self.linearised)
            self._metrics[layer] = pullback_fisher(
                self.model, texts, layer, samples=16, seed=0, progress=False
            )
        return self._metrics[layer]

    def barrier(self, read: ReadPosition, layer: Layer) -> PolynomialBarrier:
        """The barrier of the residual stream at one layer, gamma and C cross-validated.

        With fewer than ten activations of a class no cross-validation is possible: the barrier
        then has the paper's gamma and C.

        Raises:
            ValueError: As `PolynomialBarrier.fit`.
        """
        if (read, layer) not in self._barriers:
            activations = self.activations(read).at(layer)
            few = min(len(activations.desired), len(activations.undesired)) < FEW
            settings: Hyperparameters = {"gamma": 0.1, "C": 1.0} if few else {}
            self._barriers[read, layer] = PolynomialBarrier.fit(activations, **settings)
        return self._barriers[read, layer]
