"""Logistic regression on explicit features, by scikit-learn."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_STEPS = 1000


@dataclass(frozen=True, eq=False)
class Head:
    """logit = w . phi + b.

    Attributes:
        weights: w.
        intercept: b.
    """

    weights: Float[Tensor, " feature"]
    intercept: float


def logistic_head(
    features: Float[Tensor, "n feature"],
    desired: Bool[Tensor, " n"],
    C: float | int,
    *,
    tolerance: float = 1e-4,
    solver: str = "lbfgs",
) -> Head:
    """L2-penalised, with an unpenalised intercept.

    Args:
        features: float64.
        desired: Labels.
        C: > 0, weight of the log-losses; 1 is scikit-learn's.
        tolerance: Of the gradient; scikit-learn's.
        solver: scikit-learn's: `newton-cholesky` ends where lbfgs does not (large C, entries of
            very different sizes), but takes a matrix of all features.

    Raises:
        ValueError: If C is not above 0, it does not converge, or the classes do not differ.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not 0 < C < float("inf"):
        raise ValueError(f"C = {C!r}: expected a finite number above 0; 1 is scikit-learn's")
    model: Any = LogisticRegression(C=float(C), max_iter=_STEPS, tol=tolerance, solver=solver)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features.cpu().numpy(), desired.cpu().numpy())
        except ConvergenceWarning as error:
            raise ValueError(
                f"the logistic regression did not converge at C = {C:g}: take a smaller C ({error})"
            ) from error
    weights = torch.from_numpy(model.coef_[0]).to(features)
    # w = C sum (t - p) phi: below the rounding of that sum there is nothing.
    if float(weights.abs().max()) <= 1e-12 * C * float(features.abs().sum(dim=0).max()):
        raise ValueError("h is the same everywhere: both classes hold the same activations")
    return Head(weights, float(model.intercept_[0]))
