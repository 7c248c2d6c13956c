"""Logistic regression of labels on a log-odds: slope and intercept, for many weightings at once."""

import numpy as np
from jaxtyping import Bool, Float

_STEPS, _ROUNDING = 100, 1e-15


def cox(
    logits: Float[np.ndarray, " n"],
    desired: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, "resample 2"]:
    """(slope, intercept) of the likeliest sigmoid(intercept + slope * logit), per weighting.

    Where a threshold tells the classes apart the likelihood has no maximum: the slope is then
    infinite (negative if they are the wrong way round) and the intercept NaN; both are NaN where a
    class has no weight. (Cox 1958.)
    """
    everything = np.ones(len(logits))
    start = _one(logits, desired, everything, (0.0, 0.0))
    if not np.isfinite(start).all():
        start = 0.0, 0.0
    parts = (w > 0 for w in weights)
    return np.array(
        [
            _one(logits[own], desired[own], w[own], start)
            for own, w in zip(parts, weights, strict=True)
        ]
    )


def _one(
    x: np.ndarray, desired: np.ndarray, weights: np.ndarray, start: tuple[float, float]
) -> tuple[float, float]:
    if desired.all() or not desired.any() or x.min() == x.max():
        return float("nan"), float("nan")
    if x[desired].min() >= x[~desired].max():
        return float("inf"), float("nan")
    if x[desired].max() <= x[~desired].min():
        return -float("inf"), float("nan")
    centre, width = x.mean(), x.std()
    at = np.array([start[0] * width, start[1] + start[0] * centre])
    slope, intercept = _newton((x - centre) / width, desired.astype(float), weights, at)
    return slope / width, intercept - slope * centre / width


def _newton(
    z: np.ndarray, y: np.ndarray, weights: np.ndarray, at: np.ndarray
) -> tuple[float, float]:
    """The loss is convex: a full step where it lowers the loss, else a half, and so on."""
    design = np.stack([z, np.ones_like(z)], axis=1)

    def loss(point: np.ndarray) -> float:
        logit = design @ point
        return float(weights @ (np.logaddexp(0.0, logit) - y * logit))

    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(design @ at / 2))
        slope = design.T @ (weights * (p - y))
        bend = (design.T * (weights * p * (1 - p))) @ design
        step, now = np.linalg.solve(bend, slope), loss(at)
        if slope @ step <= _ROUNDING * weights.sum():  # twice what the loss is above its least
            return float(at[0]), float(at[1])
        share = next((0.5**k for k in range(30) if loss(at - 0.5**k * step) <= now), 0.0)
        at = at - share * step
    raise ValueError("the calibration slope was not found: h is nearly separating; trace more rows")
