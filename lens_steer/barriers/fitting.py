"""From activations to a barrier: rows with labels, two fits of a quadratic form, and a scale."""

from dataclasses import dataclass
from math import log
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers.cross_validation import Folds, choose_kernel
from lens_steer.barriers.forms import Form
from lens_steer.barriers.logistic import dual_logistic, logistic_head
from lens_steer.barriers.sketch import CountSketch

_ROUNDING = 1e-12  # of the terms that h is a sum of: below it, their sum is rounding


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The activations of both classes in float64, the desired first.

    Attributes:
        values: The activations.
        desired: Whether a row is of the desired class.
        source: What they were made of.
    """

    values: Float[Tensor, "n d"]
    desired: Bool[Tensor, " n"]
    source: LayerActivations

    @classmethod
    def of(cls, activations: LayerActivations) -> "LabelledRows":
        """The rows of activations of shape [n, d] with d > 1.

        Raises:
            ValueError: If they have more axes (heads), or one entry each.
        """
        sides = activations.desired, activations.undesired
        if sides[0].ndim != 2 or sides[0].shape[1] < 2:
            raise ValueError(
                f"got activations of shape {tuple(sides[0].shape)}: expected [n, d] with d > 1; a "
                "barrier is of one vector per example, so take one head, or the residual stream"
            )
        values = torch.cat([side.detach().double() for side in sides])
        desired = torch.arange(len(values), device=values.device) < len(sides[0])
        return cls(values, desired, activations)

    @property
    def log_prior(self) -> float:
        """log(desired / undesired) rows: what is to be subtracted from a logit for a log-ratio."""
        n = int(self.desired.sum())
        return float(torch.tensor(n / (len(self.desired) - n), dtype=torch.double).log())

    @property
    def units(self) -> Float[Tensor, "n d"]:
        """The rows divided by their lengths.

        Raises:
            ValueError: If a row is 0, or all have one direction.
        """
        lengths = self.values.norm(dim=-1, keepdim=True)
        zero = int((lengths == 0).sum())
        if zero:
            raise ValueError(
                f"{zero} of {len(lengths)} activations are 0 and have no direction: leave them out"
            )
        units = self.values / lengths
        if bool((units == units[0]).all()):
            raise ValueError("all activations have one direction: nothing tells the classes apart")
        return units

    @property
    def dtype(self) -> torch.dtype:
        """The type that a fit is stored in."""
        return torch.promote_types(self.source.desired.dtype, torch.float32)

    def origin(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The fields that every barrier has."""
        source = self.source
        return {
            "layer": source.layer,
            "kind": source.kind,
            "provenance": source.provenance,
            "settings": settings,
        }


def exact_form(
    rows: LabelledRows, gamma: float | int | None, coef0: float, C: float | int | None, folds: Folds
) -> tuple[Form, dict[str, Any]]:
    """Fit h by kernel logistic regression; returns the form and the settings used.

    sum_i w_i (gamma x_i . x + coef0)^2 = x' A x + 2 q . x + coef0^2 sum w, whose last term is 0,
    with A = gamma^2 sum_i w_i x_i x_i' and q = gamma coef0 sum_i w_i x_i.
    """
    units = rows.units
    cosines = units @ units.T
    settings: dict[str, Any] = choose_kernel(cosines, rows.desired, gamma, coef0, C, folds)
    scale = settings["gamma"]
    fit = dual_logistic((scale * cosines + coef0).square(), rows.desired, settings["C"])
    linear = scale * coef0 * (units.T @ fit.weights)
    constant = fit.intercept - rows.log_prior
    form = Form.of_rows(units, scale**2 * fit.weights, linear, constant)
    if form.size <= _ROUNDING * scale * (scale + coef0) * float(fit.weights.abs().sum()):
        raise ValueError(
            "h is the same everywhere: both classes hold the same directions, or all are one"
        )
    return form, {**settings, "coef0": coef0}


def sketched_form(
    rows: LabelledRows,
    n_components: int,
    degree: int,
    gamma: float | int,
    coef0: float | int,
    C: float | int,
    seed: int,
) -> tuple[Form, dict[str, Any]]:
    """Fit h by a logistic head on a count sketch: together they are exactly one quadratic form.

    Returns the form and the settings used.
    """
    if degree != 2:
        raise ValueError(
            f"degree {degree}: expected 2, where the sketch is a quadratic form; "
            "SketchBarrier.fit has any degree"
        )
    d = rows.values.shape[1]
    sketch = CountSketch.draw(d, n_components, gamma=gamma, coef0=coef0, seed=seed)
    head = logistic_head(sketch.features(rows.units), rows.desired, C)
    matrix, linear, constant = sketch.quadratic(head.weights)
    settings = {"n_components": n_components, "gamma": float(gamma), "coef0": float(coef0)}
    settings |= {"C": float(C), "seed": seed}
    return Form.dense(matrix, linear, constant + head.intercept - rows.log_prior), settings


def likeliest_scale(desired: Float[Tensor, " n"], undesired: Float[Tensor, " m"]) -> float:
    """The s > 0 at which sigmoid(s h + log(n / m)) is likeliest.

    Args:
        desired: h of n desired examples, nats.
        undesired: h of m undesired examples, nats.

    Raises:
        ValueError: If there is no such number: the likelihood falls from s = 0 on, or never falls.
    """
    from scipy.optimize import brentq

    up, down = desired.double(), undesired.double()
    offset = log(len(up) / len(down))

    def slope(s: float) -> float:
        missing = torch.sigmoid(-s * up - offset) @ up
        return float(missing - torch.sigmoid(s * down + offset) @ down)

    if not slope(0.0) > 0:
        raise ValueError(
            "h does not rise from the undesired to the desired examples: no positive scale fits; "
            "fit the barrier on more data, or on another layer"
        )
    if bool((up >= 0).all()) and bool((down <= 0).all()):
        raise ValueError(
            "the sign of h is right at every example, so that no scale is the likeliest: "
            "calibrate on more examples, or on harder ones"
        )
    upper = 1.0
    while slope(upper) > 0:
        upper *= 2
    return float(brentq(slope, 0.0, upper, xtol=1e-300, rtol=1e-14))  # type: ignore[arg-type]
