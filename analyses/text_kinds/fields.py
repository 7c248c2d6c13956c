"""The field of the barrier between the classes of one kind of text, block by block."""

from typing import Any

import lens_steer as ls
from analyses.text_kinds.measures import KindParts
from lens_steer.activations import LayerActivations
from lens_steer.barriers import PolynomialBarrier, field

LINE = 0.95  # the cosine from which a field is called a line here


def field_rows(
    model: ls.SteerableModel, kind: str, parts: KindParts, seed: int
) -> list[dict[str, Any]]:
    """A row for each block: how linear the field behind it is on test, and how often h is right.

    The barrier is the exact kernel, gamma and C cross-validated on the fit part; activations are
    means over the continuation, as in `analyses.barrier_field`.
    """
    fit, test = (
        ls.capture(model, each, "resid", read="mean", progress=False)
        for each in (parts.fit, parts.test)
    )
    groups = parts.test.example_groups
    return [
        {"kind": kind, "layer": layer} | field_row(fit.at(layer), test.at(layer), groups, seed)
        for layer in fit.layers
    ]


def field_row(
    fit: LayerActivations, test: LayerActivations, groups: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Settings of the barrier, and with intervals: cosines of its field on test, and accuracy.

    `linearity` is the cosine of the field and its linear part, `mean_linearity` that with the
    quadratic part at the mean row added to the linear one.
    """
    barrier = PolynomialBarrier.fit(fit, seed=seed)
    sample = field.HeldOutRows.of(test, groups, seed)
    rows = field.stacked_rows(barrier, test).double()
    exact = barrier.to(device=rows.device, dtype=rows.dtype)
    shape = field.ShapeReport.fit(exact, rows, sample)
    right = (exact.h(rows) >= 0) == sample.desired
    row: dict[str, Any] = {name: barrier.settings.get(name) for name in ("gamma", "C")}
    row |= shape.linearity.columns("linearity")
    row |= shape.mean_linearity.columns("mean_linearity")
    return row | sample.share(right).columns("accuracy")
