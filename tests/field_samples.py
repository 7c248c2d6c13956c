"""Rows, barriers written down by hand, and reports of them."""

from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier, PolynomialBarrier
from lens_steer.barriers.field import FlowPaths, GapReport, HeldOutRows, RiseReport, ShapeReport
from lens_steer.sites import Kind
from tests.barrier_samples import drawn_rows, field_of

D = 6
ROUNDING = 1e-9  # of float64, along a flow
Q = torch.tensor([0.5, -1.0, 0.2, 0.0, 2.0, 0.3]).double()


def sides(up: Tensor, down: Tensor, layer: int = 0) -> LayerActivations:
    return LayerActivations(up, down, layer, Kind.RESID)


def rows(up: int = 30, down: int = 24, d: int = D, seed: int = 1) -> LayerActivations:
    x = drawn_rows(up + down, d, seed=seed)
    return sides(x[:up], x[up:])


def stacked(activations: LayerActivations) -> Tensor:
    return torch.cat([activations.desired, activations.undesired])


def towards(q: Tensor, angle: Tensor, size: float = 3.0) -> Tensor:
    """Rows at an angle to q, in random directions."""
    other = drawn_rows(len(angle), len(q), seed=4)
    unit = q / q.norm()
    other = other - (other @ unit)[:, None] * unit
    other = other / other.norm(dim=-1, keepdim=True)
    return size * (angle.cos()[:, None] * unit + angle.sin()[:, None] * other)


def flowed(barrier: PolynomialBarrier, x: Tensor, angle: float) -> Tensor:
    """Where scipy's solver takes rows that meet no maximum."""
    field, ends = field_of(barrier), []
    for row in x.numpy():
        how: Any = {"rtol": 1e-10, "atol": 1e-10, "method": "DOP853"}
        span = (0.0, angle * float(np.linalg.norm(row)))
        ends.append(solve_ivp(lambda _, y: field(y), span, row, **how).y[:, -1])
    return torch.tensor(np.array(ends))


def rise_of(barrier: Barrier, held: LayerActivations, angle: float) -> RiseReport:
    paths = FlowPaths.of(barrier, stacked(held), angle)
    return RiseReport.of(barrier, paths, HeldOutRows.of(held, None, 0))


def gap_of(barrier: Barrier, held: LayerActivations, angle: float) -> GapReport:
    return GapReport.of(FlowPaths.of(barrier, stacked(held), angle), HeldOutRows.of(held, None, 0))


def shape_of(barrier: PolynomialBarrier, held: LayerActivations) -> ShapeReport:
    return ShapeReport.fit(barrier, stacked(held), HeldOutRows.of(held, None, 0))


def linear_form(q: Tensor, c: float = 0.0) -> PolynomialBarrier:
    """h = 2 q . x + c."""
    return PolynomialBarrier.of_quadratic(torch.zeros(len(q), len(q)).double(), q, c)
