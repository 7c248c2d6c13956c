"""The barrier of the paper at any degree, by its random features: a logistic or an SVM head.

Source: ODESteer (arXiv:2602.17560), whose kernel has degree 2 and a logistic head by default.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Count, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier, Values, Vectors
from lens_steer.barriers.fitting import LabelledRows
from lens_steer.barriers.logistic import LogisticFit, logistic_head
from lens_steer.barriers.sketch import CountSketch
from lens_steer.barriers.svm import svm_head


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SketchBarrier(Barrier):
    """h(a) = w . phi(x) + b with x = a / |a|, and phi a count sketch of (gamma x . y + coef0)^D.

    Its gradient is tangent to the sphere through a: h does not depend on |a|. At degree 2
    `PolynomialBarrier.fit_sketch` is the same function in closed form, which knows its largest
    value and is followed many times faster; degrees above 2 have this form alone.

    Attributes:
        weights: w; of a logistic head in nats, of an SVM in margins until `calibrated`.
        bias: b, in the same unit.
        sketch: phi.
    """

    weights: Float[Tensor, " component"]
    bias: Number
    sketch: CountSketch

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights.shape != (self.sketch.n_components,):
            shape = tuple(self.weights.shape)
            raise ValueError(f"weights of shape {shape}: expected ({self.sketch.n_components},)")
        if not isfinite(self.bias):
            raise ValueError(f"bias {self.bias}: expected a finite number")

    @classmethod
    def fit(
        cls,
        activations: LayerActivations,
        *,
        degree: Count = 3,
        n_components: Count = 8000,
        gamma: Number = 0.1,
        coef0: Number = 1.0,
        C: Number = 1.0,
        seed: Seed = 0,
    ) -> "SketchBarrier":
        """A logistic head, as the paper's own fit: h is its logit less the prior log odds.

        Args:
            degree: D of the kernel; 2 in the paper.
            n_components: Width of the sketch; its noise falls as 1 / sqrt(n_components), and grows
                with the degree.
            gamma: As `PolynomialBarrier.fit`.
            coef0: As `PolynomialBarrier.fit`.
            C: As `PolynomialBarrier.fit`.
            seed: Of the hashes.

        Raises:
            ValueError: If a setting is out of range, the activations have another shape than
                [n, d], one of them is 0, the classes do not differ, or the fit does not converge.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean")
            >>> barrier = ls.barriers.SketchBarrier.fit(resid.at(layer=3), degree=3, seed=0)
        """
        rows = LabelledRows.of(activations)
        sketch = _drawn(rows, degree, n_components, gamma, coef0, seed)
        head = logistic_head(sketch.features(rows.units), rows.desired, C)
        return cls._of_head(
            rows, sketch, head, head.intercept - rows.log_prior, C, seed, "logistic"
        )

    @classmethod
    def fit_svm(
        cls,
        activations: LayerActivations,
        *,
        degree: Count = 2,
        n_components: Count = 8000,
        gamma: Number = 0.1,
        coef0: Number = 1.0,
        C: Number = 1.0,
        seed: Seed = 0,
    ) -> "SketchBarrier":
        """A linear support vector machine on the sketch: the published code's other head.

        Its h has no probabilities: it is in margins, 1 being the edge of the margin, and 0 the
        boundary of classes of equal weight (what the code gets of classes of equal size). The
        field needs no more. A target in nats or a probability does: `calibrated` on held-out
        activations makes h a log-ratio, and `ODESteer.to_target(probability=...)` refuses without.

        Args:
            degree: As `fit`; 2 in the published code.
            n_components: As `fit`.
            gamma: As `fit`.
            coef0: As `fit`.
            C: > 0, of the squared hinge losses; large fits the data closer (1 in the published
                code).
            seed: Of the hashes, and of the order in which the solver takes rows.

        Raises:
            ValueError: As `fit`.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean").at(layer=3)
            >>> barrier = ls.barriers.SketchBarrier.fit_svm(resid, C=10.0, seed=0)
            >>> barrier.calibrated(dev.at(layer=3)).settings["temperature"]
        """
        rows = LabelledRows.of(activations)
        sketch = _drawn(rows, degree, n_components, gamma, coef0, seed)
        head = svm_head(sketch.features(rows.units), rows.desired, C, seed)
        return cls._of_head(rows, sketch, head, head.intercept, C, seed, "svm")

    @classmethod
    def _of_head(  # noqa: PLR0913 - what a fit is described by
        cls,
        rows: LabelledRows,
        sketch: CountSketch,
        head: LogisticFit,
        bias: float,
        C: float | int,
        seed: int,
        name: str,
    ) -> "SketchBarrier":
        numbers = {"degree": sketch.degree, "n_components": sketch.n_components}
        numbers |= {"gamma": float(sketch.gamma), "coef0": float(sketch.coef0)}
        settings: dict[str, Any] = {**numbers, "C": float(C), "seed": seed, "head": name}
        return cls(head.weights.to(rows.dtype), bias, sketch, **rows.origin(settings))

    @property
    @override
    def width(self) -> int:
        return self.sketch.width

    @override
    def scaled(self, factor: Number) -> "SketchBarrier":
        return replace(self, weights=factor * self.weights, bias=factor * self.bias)

    @override
    def _checked(self, x: Vectors) -> Vectors:
        work = super()._checked(x)
        if not bool((work.any(dim=-1) & work.isfinite().all(dim=-1)).all()):
            raise ValueError(
                "an activation is 0 or not finite: h is of directions, and it has none"
            )
        return work

    @override
    def unchecked_h(self, x: Vectors) -> Values:
        units = x / x.norm(dim=-1, keepdim=True)
        values = self.sketch.products(units.reshape(-1, self.width), self.weights)
        return values.reshape(x.shape[:-1]) + self.bias

    @override
    def unchecked_grad(self, x: Vectors) -> Vectors:
        size = x.norm(dim=-1, keepdim=True)
        units = x / size
        return _tangent(units, self._ambient(units)) / size

    @override
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        # The derivative of P u / |x| along v, in which n = x / |x| turns by P v / |x|, and
        # P = 1 - n n'.
        size = x.norm(dim=-1, keepdim=True)
        units = x / size
        ambient, turn = self._ambient(units), _tangent(units, v) / size
        flat = units.reshape(-1, self.width), turn.reshape(-1, self.width)
        bend = self.sketch.curvatures(*flat, self.weights).reshape(x.shape)
        change = _tangent(units, bend) - _dot(units, ambient) * turn - _dot(turn, ambient) * units
        return (change - _dot(units, v) * _tangent(units, ambient) / size) / size

    def _ambient(self, units: Vectors) -> Vectors:
        """The gradient of h by n, its part along n included."""
        flat = units.reshape(-1, self.width)
        return self.sketch.gradients(flat, self.weights).reshape(units.shape)


def _dot(x: Vectors, y: Vectors) -> Float[Tensor, "... 1"]:
    return (x * y).sum(dim=-1, keepdim=True)


def _tangent(units: Vectors, v: Vectors) -> Vectors:
    return v - units * _dot(units, v)


def _drawn(
    rows: LabelledRows,
    degree: int,
    n_components: int,
    gamma: float | int,
    coef0: float | int,
    seed: int,
) -> CountSketch:
    d = rows.values.shape[1]
    return CountSketch.draw(d, n_components, gamma=gamma, coef0=coef0, seed=seed, degree=degree)
