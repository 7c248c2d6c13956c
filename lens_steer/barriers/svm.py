"""A linear support vector machine on explicit features, by scikit-learn."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.barriers.logistic import LogisticFit

_MAX_ITERATIONS = 20_000  # of scikit-learn's solver


def svm_head(
    features: Float[Tensor, "n feature"], desired: Bool[Tensor, " n"], C: float | int, seed: int
) -> LogisticFit:
    """Fit an L2-penalised squared hinge loss; classes weigh the same whatever their sizes.

    Args:
        features: float64.
        desired: The labels.
        C: > 0, weight of the losses; 1 is scikit-learn's default.
        seed: Of the order in which the solver takes rows.

    Returns:
        w and b of the decision function w . phi + b, in margins.

    Raises:
        ValueError: If C is not above 0, it does not converge, or the classes do not differ.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    if not 0 < C < float("inf"):
        raise ValueError(f"C = {C!r}: expected a finite number above 0; 1 is scikit-learn's")
    model: Any = LinearSVC(
        C=float(C), class_weight="balanced", max_iter=_MAX_ITERATIONS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features.cpu().numpy(), desired.cpu().numpy())
        except ConvergenceWarning as error:
            raise ValueError(
                f"the support vector machine did not converge at C = {C:g}: take a smaller C "
                f"({error})"
            ) from error
    weights = torch.from_numpy(model.coef_[0]).to(features)
    # As of a logistic head: w is a sum of losses' slopes times features.
    if float(weights.abs().max()) <= 1e-12 * C * float(features.abs().sum(dim=0).max()):
        raise ValueError("h is the same everywhere: both classes hold the same activations")
    return LogisticFit(weights, float(model.intercept_[0]))
