"""Logistic regression: on explicit features by scikit-learn, and in the dual on a Gram matrix.

The dual is solved by Newton's method with Cholesky factors, in float64.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

_MAX_ITERATIONS = 1000  # of scikit-learn's solver
_NEWTON_STEPS = 100
_SETTLED = 1e-5  # nats: the last step's change of a logit; what is left is of its square's size
_LARGE_CHANGE = 0.1  # nats: after a step that long the next one has to point the way, no more
_WELL_CONDITIONED = 1e4  # condition number up to which float32 does that


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A logistic regression: logit = w . phi + b, or logit(x) = sum_i w_i k(x_i, x) + b.

    Attributes:
        weights: w, of features phi or of the rows x_i of a kernel k; the latter are between -C and
            C.
        intercept: b.
    """

    weights: Float[Tensor, " term"]
    intercept: float


def logistic_head(
    features: Float[Tensor, "n feature"],
    desired: Bool[Tensor, " n"],
    C: float | int,
    *,
    tolerance: float = 1e-4,
    solver: str = "lbfgs",
) -> LogisticFit:
    """Fit an L2-penalised logistic regression with an unpenalised intercept.

    Args:
        features: float64.
        desired: The labels.
        C: > 0, weight of the log-losses; 1 is scikit-learn's default.
        tolerance: Largest entry of the gradient at the end.
        solver: Of scikit-learn: `newton-cholesky` converges where lbfgs does not (large C,
            entries of very different sizes), but needs a matrix of feature by feature.

    Raises:
        ValueError: If C is not above 0, it does not converge, or the classes do not differ.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not 0 < C < float("inf"):
        raise ValueError(f"C = {C!r}: expected a finite number above 0; 1 is scikit-learn's")
    model: Any = LogisticRegression(
        C=float(C), max_iter=_MAX_ITERATIONS, tol=tolerance, solver=solver
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features.cpu().numpy(), desired.cpu().numpy())
        except ConvergenceWarning as error:
            raise ValueError(
                f"the logistic regression did not converge at C = {C:g}: take a smaller C ({error})"
            ) from error
    weights = torch.from_numpy(model.coef_[0]).to(features)
    # w = C sum (t - p) phi: a w below the rounding of that sum is 0.
    if float(weights.abs().max()) <= 1e-12 * C * float(features.abs().sum(dim=0).max()):
        raise ValueError("h is the same everywhere: both classes hold the same activations")
    return LogisticFit(weights, float(model.intercept_[0]))


def dual_logistic(
    gram: Float[Tensor, "n n"],
    desired: Bool[Tensor, " n"],
    C: float | int,
    start: LogisticFit | None = None,
) -> LogisticFit:
    """Find the minimum of 1/2 w' K w + C sum log(1 + exp(-y (K w + b))), y = 1 or -1.

    At the optimum w = C (t - p) and sum w = 0, with t in {0, 1} and p the fitted probability.

    Raises:
        ValueError: If C is not above 0, so large that rounding spoils the fit, or 100 steps do
            not reach the optimum.
    """
    if not 0 < C < float("inf"):
        raise ValueError(f"C = {C!r}: expected a finite number above 0; 1 is scikit-learn's")
    signs = torch.where(desired, 1.0, -1.0).to(gram)
    now = _Iterate.of(gram, signs, float(C), start or LogisticFit(torch.zeros_like(signs), 0.0))
    change = float("inf")
    for _ in range(_NEWTON_STEPS):
        coarse = change > _LARGE_CHANGE and now.stiffness < _WELL_CONDITIONED
        target = now.newton(gram, torch.float if coarse else torch.double)
        after = _damped(now, target)
        change = after.largest_change(now)
        if after is target and change <= _SETTLED and not coarse:
            return LogisticFit(after.weights, after.intercept)
        now = after
    raise ValueError(
        f"the logistic regression did not converge in {_NEWTON_STEPS} Newton steps at C = {C:g}: "
        "take a smaller C"
    )


@dataclass(frozen=True, eq=False)
class _Iterate:
    """One iterate; it holds `signal` = K w, so that a point between two needs no product."""

    weights: Float[Tensor, " n"]
    intercept: float
    signal: Float[Tensor, " n"]
    signs: Float[Tensor, " n"]
    C: float
    largest: float  # entry of K

    @classmethod
    def of(
        cls, gram: Float[Tensor, "n n"], signs: Float[Tensor, " n"], C: float, dual: LogisticFit
    ) -> "_Iterate":
        largest = float(gram.diagonal().max())
        return cls(dual.weights, dual.intercept, gram @ dual.weights, signs, C, largest)

    @property
    def margins(self) -> Float[Tensor, " n"]:
        return self.signs * (self.signal + self.intercept)

    @property
    def objective(self) -> float:
        loss = float(softplus(-self.margins).sum())
        return 0.5 * float(self.weights @ self.signal) + self.C * loss

    @property
    def rounding(self) -> float:
        """Rounding error of the signal, nats: where C is large, its large terms cancel."""
        return torch.finfo(torch.double).eps * self.largest * float(self.weights.abs().sum())

    def largest_change(self, before: "_Iterate") -> float:
        """Largest change of a logit, nats.

        The gradient would not do: K is so stiff that the gradient's rounding is never small.
        """
        return float((self.margins - before.margins).abs().max())

    @property
    def stiffness(self) -> float:
        """An upper bound on the condition number of the systems that `newton` solves."""
        return 1 + self.C / 4 * self.largest * len(self.weights)

    def newton(self, gram: Float[Tensor, "n n"], dtype: torch.dtype) -> "_Iterate":
        """The end of a full Newton step, with the linear system factored in a dtype.

        The step solves (K + W^-1) w + b = z and sum w = 0, where W = C p (1 - p) and
        z = logit + W^-1 C (t - p), by I + W^1/2 K W^1/2, whose eigenvalues are at least 1.
        """
        margins = self.margins
        half = (self.C * torch.sigmoid(margins) * torch.sigmoid(-margins)).sqrt()
        reach = self.signs * (half * margins + self.C**0.5 * torch.exp(-margins / 2))  # W^1/2 z
        root = half.to(dtype)
        inner = (gram.to(dtype) * root).mul_(root[:, None])
        inner.diagonal().add_(1)
        factor, failed = torch.linalg.cholesky_ex(inner)
        if int(failed):
            raise ValueError(
                f"at C = {self.C:g} rounding spoils the logistic regression: take a smaller C"
            )
        # Two triangular solves: 8 times faster than cholesky_solve for a few columns.
        sides = torch.stack([reach, half], dim=1).to(dtype)
        middle = torch.linalg.solve_triangular(factor, sides, upper=False)
        solved = torch.linalg.solve_triangular(factor.T, middle, upper=True).to(gram)
        upper, lower = half @ solved
        intercept = float(upper / lower)
        weights = half * (solved[:, 0] - intercept * solved[:, 1])
        signal = gram @ weights
        return replace(self, weights=weights, intercept=intercept, signal=signal)

    def towards(self, other: "_Iterate", share: float) -> "_Iterate":
        def between(a: Tensor, b: Tensor) -> Tensor:
            return a + share * (b - a)

        return replace(
            self,
            weights=between(self.weights, other.weights),
            intercept=self.intercept + share * (other.intercept - self.intercept),
            signal=between(self.signal, other.signal),
        )


def _damped(now: _Iterate, target: _Iterate) -> _Iterate:
    """The target, or a point before it at which the objective is not above the present one."""
    slack = (now.rounding + 1e-15) * float(now.weights.abs().sum())
    bound, share, point = now.objective * (1 + 1e-12) + slack, 1.0, target
    while not point.objective <= bound:
        share /= 2
        if share < 1e-10:
            raise ValueError(
                f"the logistic regression did not converge at C = {now.C:g}: no Newton step lowers "
                "its objective; take a smaller C"
            )
        point = now.towards(target, share)
    return point
