"""Barriers that are linear in the activation: a probe, and the difference of means."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Count, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier, Values, Vectors
from lens_steer.barriers.cross_validation import Folds, choose_cost
from lens_steer.barriers.fitting import LabelledRows
from lens_steer.barriers.logistic import logistic_head

# With scikit-learn's own tolerance of 1e-4 the direction is visibly off.
_SOLVER: Any = {"tolerance": 1e-6, "solver": "newton-cholesky"}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LinearBarrier(Barrier):
    """h(a) = w . a + b: one direction everywhere.

    Attributes:
        weight: w.
        bias: b, nats.
    """

    weight: Float[Tensor, " d"]
    bias: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isfinite(self.bias):
            raise ValueError(f"bias {self.bias}: expected a finite number")
        if not bool(self.weight.any()):
            raise ValueError("the weight is 0: the classes do not differ, and h has no direction")

    @classmethod
    def fit(
        cls,
        activations: LayerActivations,
        *,
        C: Number | None = None,
        folds: Count = 5,
        seed: Seed = 0,
    ) -> "LinearBarrier":
        """A logistic probe of centred activations, all entries divided by one number.

        That number is the root mean square of all entries: the penalty then does not depend on
        units, and the probe's direction is left as it is.

        Args:
            C: > 0; large fits the data closer; None is cross-validated.
            folds: As `PolynomialBarrier.fit`.
            seed: Of the folds; nothing else is drawn.

        Raises:
            ValueError: If C or the folds are out of range, the activations have another shape than
                [n, d] or are all the same, or the fit does not converge.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean")
            >>> barrier = ls.LinearBarrier.fit(resid.at(layer=3), seed=0)
            >>> barrier.settings["C"]  # chosen by cross-validation
        """
        rows = LabelledRows.of(activations)
        centre = rows.values.mean(dim=0)
        size = float((rows.values - centre).square().mean().sqrt())
        if size == 0:
            raise ValueError("all activations are the same: nothing tells the classes apart")
        inputs = (rows.values - centre) / size
        settings = choose_cost(inputs, rows.desired, C, Folds(folds, seed), **_SOLVER)
        head = logistic_head(inputs, rows.desired, settings["C"], **_SOLVER)
        weight = head.weights / size
        bias = head.intercept - float(weight @ centre) - rows.log_prior
        return cls(weight.to(rows.dtype), bias, **rows.origin(settings))

    @classmethod
    def fit_means(cls, activations: LayerActivations) -> "LinearBarrier":
        """The difference of means, with h = 0 half-way between them: its gradient is what CAA adds.

        This is the log-ratio of two Gaussians of variance 1 in every direction; `calibrated` sets
        its scale.

        Raises:
            ValueError: If the activations have another shape than [n, d], or equal means.

        Example:
            >>> caa = ls.LinearBarrier.fit_means(train.at(layer=3)).calibrated(dev.at(layer=3))
        """
        rows = LabelledRows.of(activations)
        up, down = rows.values[rows.desired].mean(dim=0), rows.values[~rows.desired].mean(dim=0)
        weight = up - down
        bias = -float(weight @ (up + down)) / 2
        return cls(weight.to(rows.dtype), bias, **rows.origin({}))

    @property
    @override
    def width(self) -> int:
        return len(self.weight)

    @override
    def scaled(self, factor: Number) -> "LinearBarrier":
        changed: Any = {"weight": factor * self.weight, "bias": factor * self.bias}
        return replace(self, **changed)

    @override
    def unchecked_h(self, x: Vectors) -> Values:
        return x @ self.weight.to(x) + self.bias

    @override
    def unchecked_grad(self, x: Vectors) -> Vectors:
        return self.weight.to(x).expand_as(x).clone()

    @override
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        del x
        return torch.zeros_like(v)
