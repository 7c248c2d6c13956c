"""The two fits of a quadratic form: the kernel itself, and the paper's sketch of it."""

from typing import Any

from lens_steer.barriers.choosing import Folds, choose_kernel
from lens_steer.barriers.forms import Form
from lens_steer.barriers.kernel import dual_logistic
from lens_steer.barriers.logistic import logistic_head
from lens_steer.barriers.rows import Rows
from lens_steer.barriers.sketch import CountSketch

_NOTHING = 1e-12  # of the terms that h is a sum of: below it, their sum is rounding


def exact_form(
    rows: Rows, gamma: float | int | None, coef0: float, C: float | int | None, folds: Folds
) -> tuple[Form, dict[str, Any]]:
    """H of kernel logistic regression, and the settings used.

    sum_i w_i (gamma x_i . x + coef0)^2 = x' A x + 2 q . x + coef0^2 sum w, whose last term is 0,
    with A = gamma^2 sum_i w_i x_i x_i' and q = gamma coef0 sum_i w_i x_i.
    """
    units = rows.units
    cosines = units @ units.T
    settings: dict[str, Any] = choose_kernel(cosines, rows.desired, gamma, coef0, C, folds)
    own = settings["gamma"]
    fit = dual_logistic((own * cosines + coef0).square(), rows.desired, settings["C"])
    linear = own * coef0 * (units.T @ fit.weights)
    constant = fit.intercept - rows.log_prior
    form = Form.of_rows(units, own**2 * fit.weights, linear, constant)
    if form.size <= _NOTHING * own * (own + coef0) * float(fit.weights.abs().sum()):
        raise ValueError(
            "h is the same everywhere: both classes hold the same directions, or all are one"
        )
    return form, {**settings, "coef0": coef0}


def sketched_form(rows: Rows, sketch: CountSketch, C: float | int) -> Form:
    """H of a logistic head on a count sketch: one quadratic form, without loss."""
    head = logistic_head(sketch.features(rows.units), rows.desired, C)
    matrix, linear, constant = sketch.quadratic(head.weights)
    return Form.dense(matrix, linear, constant + head.intercept - rows.log_prior)
