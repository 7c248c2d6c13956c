"""Statistics of a log-odds and labels, for many weightings (resamples) of the rows at once."""

import numpy as np
from jaxtyping import Bool, Float, Int

_NEWTON_STEPS, _ROUNDING = 100, 1e-15


def cox_regression(
    logits: Float[np.ndarray, " n"],
    desired: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, "resample 2"]:
    """Slope and intercept of the likeliest sigmoid(intercept + slope * logit), by weighting.

    Where a threshold separates the classes the likelihood has no maximum: the slope is then
    infinite (negative if they are the wrong way round) and the intercept NaN. Both are NaN where a
    class has no weight. (Cox 1958.)
    """
    everything = np.ones(len(logits))
    start = _one(logits, desired, everything, (0.0, 0.0))
    if not np.isfinite(start).all():
        start = 0.0, 0.0
    parts = (w > 0 for w in weights)
    return np.array(
        [
            _one(logits[drawn], desired[drawn], w[drawn], start)
            for drawn, w in zip(parts, weights, strict=True)
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
    """Damped Newton steps on the convex loss: a full step where it lowers the loss, else halves."""
    design = np.stack([z, np.ones_like(z)], axis=1)

    def loss(point: np.ndarray) -> float:
        logit = design @ point
        return float(weights @ (np.logaddexp(0.0, logit) - y * logit))

    for _ in range(_NEWTON_STEPS):
        p = 0.5 * (1 + np.tanh(design @ at / 2))
        slope = design.T @ (weights * (p - y))
        bend = (design.T * (weights * p * (1 - p))) @ design
        step, now = np.linalg.solve(bend, slope), loss(at)
        if slope @ step <= _ROUNDING * weights.sum():  # twice what the loss is above its least
            return float(at[0]), float(at[1])
        share = next((0.5**k for k in range(30) if loss(at - 0.5**k * step) <= now), 0.0)
        at = at - share * step
    raise ValueError("the calibration slope was not found: h is nearly separating; trace more rows")


def calibration_errors(
    p: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    bins: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, " resample"]:
    """The expected calibration error of probabilities p of labels y, by weighting."""
    member = np.eye(int(bins.max()) + 1)[bins]
    return np.abs((weights * (p - y)) @ member).sum(axis=1) / weights.sum(axis=1)


def donsker_varadhan(
    h: Float[np.ndarray, " n"],
    above: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, " resample"]:
    """Mean of h over one class less log mean of e^h over the other, by weighting.

    It is NaN where a class has no weight.
    """
    from scipy.special import logsumexp

    up, down = weights * above, weights * ~above
    both = (up.sum(axis=1) > 0) & (down.sum(axis=1) > 0)
    up, down = up[both], down[both]
    bounds = np.full(len(weights), np.nan)
    log_mean = logsumexp(h, b=down, axis=1) - np.log(down.sum(axis=1))
    bounds[both] = up @ h / up.sum(axis=1) - log_mean
    return bounds
