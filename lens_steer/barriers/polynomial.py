"""The barrier of the paper at degree 2: a quadratic form of the activation's direction."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Count, CountFromZero, Layer, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.barriers.barrier import Barrier, Values, Vectors
from lens_steer.barriers.cross_validation import Folds
from lens_steer.barriers.fitting import LabelledRows, exact_form, sketched_form
from lens_steer.barriers.forms import Extremum, Form, check_parts, highest
from lens_steer.sites import Kind


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PolynomialBarrier(Barrier):
    """h(a) = x' A x + 2 q . x + c with x = a / |a| and A = V diag(l) V'.

    Its gradient is tangent to the sphere through a: h does not depend on |a|.

    Attributes:
        basis: V, orthonormal columns; A is 0 outside of them.
        eigenvalues: l.
        linear: q.
        constant: c, nats.
    """

    basis: Float[Tensor, "d r"]
    eigenvalues: Float[Tensor, " r"]
    linear: Float[Tensor, " d"]
    constant: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parts(self.basis, self.eigenvalues, self.linear, self.constant)

    @classmethod
    def of_quadratic(
        cls,
        matrix: Float[Tensor, "d d"],
        linear: Float[Tensor, " d"],
        constant: Number = 0.0,
        *,
        layer: Layer = 0,
        kind: str = "resid",
    ) -> "PolynomialBarrier":
        """The barrier of a symmetric A, of q and of c, in coordinates of a / |a|.

        Raises:
            ValueError: If the matrix is not symmetric, or something is not finite.
        """
        skew, size = float((matrix - matrix.T).abs().max()), float(matrix.abs().max())
        if not skew <= 1e-5 * size < float("inf"):
            raise ValueError("the matrix is not symmetric, or not finite: take (A + A') / 2")
        form = Form.dense(matrix.double(), linear.double(), float(constant))
        origin = {"layer": layer, "kind": Kind.parse(kind)}
        return cls._of_form(form, torch.promote_types(matrix.dtype, torch.float32), origin)

    @classmethod
    def fit(
        cls,
        activations: LayerActivations,
        *,
        gamma: Number | None = None,
        coef0: Number = 1.0,
        C: Number | None = None,
        folds: Count = 5,
        seed: Seed = 0,
    ) -> "PolynomialBarrier":
        """Logistic regression with the kernel (gamma x . y + coef0)^2 of directions, exactly.

        It minimises 1/2 |w|^2 + C sum log(1 + exp(-y (w . phi(x) + b))) with b unpenalised, which
        the paper's random sketch of the kernel approximates. h is the logit less the prior log
        odds. Both classes may hold the same activation; several Gram matrices of 8 n^2 bytes are
        held in memory.

        Args:
            gamma: Dimensionless, > 0: small is a linear barrier (0.1 in the paper); None is
                cross-validated.
            coef0: Dimensionless, >= 0; 0 leaves out the linear part.
            C: > 0; large fits the data closer (1 in the paper); None is cross-validated.
            folds: Number of stratified folds of the cross-validation, which takes the least
                held-out log-loss. They split rows: activations do not say which prompt they are
                of, and rows of one prompt on both sides of a fold make the held-out loss too
                small and C at times too large. For an honest loss, measure on pairs that were
                split by group.
            seed: Of the folds; nothing else is drawn.

        Raises:
            ValueError: If a setting is out of range, the activations have another shape than
                [n, d], one of them is 0, a class has fewer than `folds` of them, the classes do
                not differ, or the fit does not converge.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean")
            >>> barrier = ls.PolynomialBarrier.fit(resid.at(layer=3), seed=0)
            >>> barrier.supremum().value  # nats: below 0, no activation counts as desired
        """
        rows = LabelledRows.of(activations)
        form, settings = exact_form(rows, gamma, float(coef0), C, Folds(folds, seed))
        return cls._of_form(form, rows.dtype, rows.origin(settings))

    @classmethod
    def fit_sketch(
        cls,
        activations: LayerActivations,
        *,
        n_components: Count = 8000,
        degree: Count = 2,
        gamma: Number = 0.1,
        coef0: Number = 1.0,
        C: Number = 1.0,
        seed: Seed = 0,
    ) -> "PolynomialBarrier":
        """The paper's own fit: a seeded count sketch of the kernel and a logistic head.

        At degree 2 sketch and head are one quadratic form, which is computed without loss.

        Args:
            n_components: Width of the sketch; its noise falls as 1 / sqrt(n_components).
            degree: 2: higher ones are no quadratic form (`SketchBarrier.fit`).
            gamma: As `fit`.
            coef0: As `fit`.
            C: As `fit`.
            seed: Of the hashes.

        Raises:
            ValueError: As `fit`, or if the degree is not 2.

        Example:
            >>> resid = ls.capture(model, train, "resid", read="mean")
            >>> barrier = ls.PolynomialBarrier.fit_sketch(resid.at(layer=3), seed=0)
        """
        rows = LabelledRows.of(activations)
        form, settings = sketched_form(rows, n_components, degree, gamma, coef0, C, seed)
        return cls._of_form(form, rows.dtype, rows.origin(settings))

    @classmethod
    def _of_form(
        cls, form: Form, dtype: torch.dtype, origin: dict[str, Any]
    ) -> "PolynomialBarrier":
        parts = (form.basis, form.eigenvalues, form.linear)
        basis, values, linear = (x.to(dtype).contiguous() for x in parts)
        return cls(basis, values, linear, form.constant, **origin)

    @property
    @override
    def width(self) -> int:
        return len(self.linear)

    @property
    def rank(self) -> int:
        """Number of eigenvectors kept."""
        return len(self.eigenvalues)

    @property
    def spectrum(self) -> Float[Tensor, " d"]:
        """All eigenvalues of A in ascending order, with median 0."""
        return self._form().gauged().spectrum

    @property
    def lipschitz(self) -> float:
        """Bound on the change of the gradient on the unit sphere: 2 (lmax - lmin) + 2 |q| per rad.

        A step of up to 2 |g| / lipschitz radians along the gradient g does not lower h.
        """
        return self._form().lipschitz

    def quadratic(self) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"], float]:
        """A, q and c, with the median eigenvalue of A at 0.

        A + t I and c - t are the same barrier.
        """
        form = self._form().gauged()
        return (form.basis * form.eigenvalues) @ form.basis.T, form.linear, form.constant

    def truncated(self, rank: CountFromZero) -> "PolynomialBarrier":
        """The barrier of the `rank` eigenvalues of largest size, where the median of all is 0.

        Rank 0 is the linear part, the width the same barrier.

        Raises:
            ValueError: If the rank is below 0 or above the width.
        """
        if not 0 <= rank <= self.width:
            raise ValueError(f"rank {rank}: expected 0 to {self.width}")
        form = self._form().truncated(rank)
        return replace(self, basis=form.basis, eigenvalues=form.eigenvalues, constant=form.constant)

    def supremum(self) -> Extremum:
        """The largest h of any activation, and a direction that has it.

        If it is below 0, no activation counts as desired, and none can be steered there.
        """
        return self._extremum(1.0)

    def infimum(self) -> Extremum:
        """The smallest h of any activation, and a direction that has it."""
        return self._extremum(-1.0)

    @override
    def scaled(self, factor: Number) -> "PolynomialBarrier":
        return replace(
            self,
            eigenvalues=factor * self.eigenvalues,
            linear=factor * self.linear,
            constant=factor * self.constant,
        )

    def _extremum(self, sign: float) -> Extremum:
        at = highest(self.basis, sign * self.eigenvalues, sign * self.linear)
        return Extremum(float(self.h(at)), at.to(self.linear))

    def _form(self) -> Form:
        return Form(self.basis, self.eigenvalues, self.linear, float(self.constant))

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
        return self._form().value(x)

    @override
    def unchecked_grad(self, x: Vectors) -> Vectors:
        return self._form().grad(x)

    @override
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        return self._form().hessian_vector(x, v)
