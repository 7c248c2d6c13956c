"""Fields of barriers that were written down by hand, so that all about them is known."""

from dataclasses import fields, replace
from math import inf, isnan, pi
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.integrate import quad, solve_ivp
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import lens_steer.field
from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier, FourierBarrier, LinearBarrier, PolynomialBarrier
from lens_steer.field import (
    CalibrationPair,
    CalibrationReport,
    CrowdingReport,
    DirectionsReport,
    FieldReport,
    GapReport,
    Reading,
    RiseReport,
    Sample,
    ShapeReport,
    StabilityReport,
    TurningReport,
    slice_map,
    trace,
)
from lens_steer.field._cox import cox
from lens_steer.field._crowding import effective_rank, mean_cosine
from lens_steer.field._directions import reference_directions
from lens_steer.field._walks import Walks
from lens_steer.sites import Kind
from tests.barrier_samples import drawn_barrier, drawn_rows, field_of
from tests.oracles_barriers import directions, planted, symmetric

D = 6
ROUNDING = 1e-9  # of float64, along a flow


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
    walks = Walks.along(barrier, stacked(held), angle)
    return RiseReport.measure(barrier, walks, Sample.of(held, None, 0))


def gap_of(barrier: Barrier, held: LayerActivations, angle: float) -> GapReport:
    return GapReport.measure(Walks.along(barrier, stacked(held), angle), Sample.of(held, None, 0))


def shape_of(barrier: PolynomialBarrier, held: LayerActivations) -> ShapeReport:
    return ShapeReport.measure(barrier, stacked(held), Sample.of(held, None, 0))


def linear_form(q: Tensor, c: float = 0.0) -> PolynomialBarrier:
    """h = 2 q . x + c."""
    return PolynomialBarrier.of_quadratic(torch.zeros(len(q), len(q)).double(), q, c)


OTHERS = ("crowding", "convergence", "turning", "directions")


@pytest.fixture(scope="module")
def bent() -> FieldReport:
    return trace(drawn_barrier(D, D), rows(), 0.8, training=rows(seed=9), seed=2)


Q = torch.tensor([0.5, -1.0, 0.2, 0.0, 2.0, 0.3]).double()


# ---- h along the flow ----


def test_h_rises_as_along_a_great_circle() -> None:
    start = torch.linspace(0.3, 2.9, 9).double()
    x = towards(Q, start)
    barrier = linear_form(Q, -0.4)
    found = rise_of(barrier, sides(x[:4], x[4:]), 1.0)
    left = (start - found.angles[:, None]).clamp_min(0.0)  # at the maximum it stops
    torch.testing.assert_close(found.h, 2 * Q.norm() * left.cos() - 0.4, atol=1e-6, rtol=0)
    assert found.supremum == pytest.approx(2 * float(Q.norm()) - 0.4)
    assert found.desired_median == pytest.approx(float(found.h[0, :4].quantile(0.5)))


def test_entry_and_arrival_have_a_closed_form() -> None:
    start = torch.linspace(0.3, 2.9, 9).double()
    x, c = towards(Q, start), -0.4
    found = rise_of(linear_form(Q, c), sides(x[:4], x[4:]), 1.0)
    boundary = float(np.arccos(-c / (2 * float(Q.norm()))))
    expected = (start - boundary).clamp_min(0.0)
    expected = torch.where(expected > 1.0, inf, expected)
    torch.testing.assert_close(found.entry, expected, atol=ROUNDING, rtol=0)
    assert float(found.never.mean) == pytest.approx(float(expected[4:].isinf().double().mean()))
    arrived = torch.where(start < 1.0, start, inf)
    torch.testing.assert_close(found.arrival, arrived, atol=1e-5, rtol=0)
    assert found.arrived.mean == 0.0
    assert found.median_entry == float(expected[4:].sort().values[2])


def test_the_sum_is_out_of_reach_of_a_barrier_that_is_negative_everywhere() -> None:
    found = rise_of(linear_form(Q, -9.0), rows(), 0.7)
    assert found.supremum is not None
    assert found.supremum < 0
    assert found.never.mean == 1.0
    assert found.median_entry == inf


def test_h_never_falls_and_stays_below_its_supremum(bent: FieldReport) -> None:
    h, top = bent.rise.h, bent.rise.supremum
    assert top is not None
    assert bool((h[1:] >= h[:-1] - 1e-12).all())
    assert float(h.max()) <= top + 1e-9


# ---- one step ----


@pytest.mark.parametrize(
    "barrier", [linear_form(Q, 0.3), LinearBarrier(Q, -0.2)], ids=["on the sphere", "probe"]
)
def test_one_step_of_a_linear_barrier_is_the_flow(barrier: Barrier) -> None:
    found = gap_of(barrier, rows(), 0.35)
    assert float(found.gap.max()) < ROUNDING
    assert float(found.cosine.min()) > 1 - ROUNDING
    assert float(found.lost.abs().max()) < 1e-7
    at = found.at(0.2)
    assert at["gap"].mean == pytest.approx(0.0, abs=ROUNDING)
    assert at["cosine"].mean == pytest.approx(1.0)


def test_the_gap_is_that_of_a_rotation_by_hand() -> None:
    barrier, x, angle = drawn_barrier(D, D), stacked(rows())[:12], 0.3
    held = sides(x[:5], x[5:])
    rise, gap = rise_of(barrier, held, angle), gap_of(barrier, held, angle)
    there = rise.arrival.isinf()  # of the others scipy would never come to an end
    assert int(there.sum()) > 8
    end, own = flowed(barrier, x[there], angle), x[there]
    size = own.norm(dim=-1, keepdim=True)
    one = own * np.cos(angle) + size * barrier.field(own) * np.sin(angle)
    expected = (end - one).norm(dim=-1) / (angle * size[:, 0])
    torch.testing.assert_close(gap.gap[-1, there], expected, atol=1e-5, rtol=0)
    cosine = torch.nn.functional.cosine_similarity(end - own, one - own)
    torch.testing.assert_close(gap.cosine[-1, there], cosine, atol=1e-5, rtol=0)
    lost = barrier.h(end) - barrier.h(one)
    torch.testing.assert_close(gap.lost[-1, there], lost, atol=1e-5, rtol=0)
    torch.testing.assert_close(rise.h[-1, there], barrier.h(end), atol=1e-5, rtol=0)


def test_angles_between_states_are_interpolated(bent: FieldReport) -> None:
    gap, down = bent.gap, ~bent.sample.desired
    middle = float(gap.angles[3] + gap.angles[4]) / 2
    expected = (gap.gap[3] + gap.gap[4])[down].mean() / 2
    assert gap.at(middle)["gap"].mean == pytest.approx(float(expected))
    last = gap.at(0.8, bent.sample.desired)["lost"].mean
    assert last == pytest.approx(float(gap.lost[-1, ~down].mean()))
    with pytest.raises(ValueError, match="trace a larger angle"):
        gap.at(0.81)


# ---- shape ----


def test_no_curvature_is_all_linear() -> None:
    found = shape_of(linear_form(Q), rows())
    torch.testing.assert_close(found.alignment, torch.ones(54).double())
    torch.testing.assert_close(found.tangent, torch.ones(54).double())
    torch.testing.assert_close(found.curved, torch.zeros(54).double(), atol=ROUNDING, rtol=0)
    assert found.rank_for(0.999) == 0.0
    assert bool(found.cumulative.isnan().all())


def test_no_linear_part_is_all_curved() -> None:
    a = torch.from_numpy(symmetric(D, 3))
    barrier = PolynomialBarrier.of_quadratic(a, torch.zeros(D).double())
    found = shape_of(barrier, rows())
    assert bool(found.alignment.isnan().all())
    assert isnan(found.linearity.mean)
    torch.testing.assert_close(found.curved, torch.ones(54).double())
    assert found.fidelity[0].isnan().all()
    torch.testing.assert_close(found.fidelity[-1], torch.ones(54).double())


def test_parts_of_the_gradient_by_hand(bent: FieldReport) -> None:
    shape, activations, barrier = bent.shape, rows(), drawn_barrier(D, D)
    assert shape is not None
    a, q, _ = (x.numpy() if isinstance(x, Tensor) else x for x in barrier.quadratic())
    x = directions(stacked(activations).numpy())
    m = x.mean(axis=0)
    for i, unit in enumerate(x):
        p = np.eye(D) - np.outer(unit, unit)
        bend, straight, one = p @ a @ unit, p @ q, p @ (q + a @ m)
        whole = bend + straight
        cosine = whole @ straight / np.linalg.norm(whole) / np.linalg.norm(straight)
        tangent = whole @ one / np.linalg.norm(whole) / np.linalg.norm(one)
        share = np.linalg.norm(bend) / (np.linalg.norm(bend) + np.linalg.norm(straight))
        assert float(shape.alignment[i]) == pytest.approx(cosine)
        assert float(shape.tangent[i]) == pytest.approx(tangent)
        assert float(shape.curved[i]) == pytest.approx(share)
    values = np.linalg.eigvalsh(a)
    np.testing.assert_allclose(shape.spectrum, values - np.median(values), atol=1e-12)
    np.testing.assert_allclose(float(shape.linear), np.linalg.norm(q))


def test_adding_the_identity_to_the_matrix_changes_nothing() -> None:
    a, q = torch.from_numpy(symmetric(D, 3)), Q
    one = PolynomialBarrier.of_quadratic(a, q, 0.5)
    other = PolynomialBarrier.of_quadratic(a + 7 * torch.eye(D).double(), q, -6.5)
    first, second = (shape_of(barrier, rows()) for barrier in (one, other))
    for name in ("alignment", "tangent", "curved", "spectrum", "fidelity"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name))


def test_as_many_directions_as_were_planted() -> None:
    basis = torch.linalg.qr(drawn_rows(16, 3)).Q
    a = (basis * torch.tensor([5.0, -4.0, 3.0]).double()) @ basis.T
    barrier = PolynomialBarrier.of_quadratic(a, 0.1 * drawn_rows(16, norm=1.0))
    shape = shape_of(barrier, rows(d=16))
    assert shape.ranks == (0, 1, 2, 4, 8, 16)
    assert shape.rank_for(0.9999) == 4.0
    assert float(shape.cumulative[2]) == pytest.approx(1.0)
    table: Any = shape.rank_table()
    assert table["cumulative"].tolist()[:3] == pytest.approx([0.0, 5 / 12, 9 / 12])


# ---- calibration ----


def gaussians(up: int, down: int, seed: int, width: float = 1.0) -> LayerActivations:
    """Means +-(width / 2) along the first axis, identity covariance: h = width * a_0."""
    draw = torch.Generator().manual_seed(seed)
    shift = torch.zeros(D).double()
    shift[0] = width / 2
    x = torch.randn(up + down, D, generator=draw).double()
    return sides(x[:up] + shift, x[up:] - shift)


def ratio(width: float = 1.0) -> LinearBarrier:
    weight = torch.zeros(D).double()
    weight[0] = width
    return LinearBarrier(weight, 0.0)


def calibration(barrier: Barrier, activations: LayerActivations, seed: int = 0) -> CalibrationPair:
    sample = Sample.of(activations, None, seed)
    return CalibrationPair.measure(barrier, stacked(activations), sample)


def test_the_true_log_ratio_is_calibrated() -> None:
    found = calibration(ratio(), gaussians(900, 900, 0)).raw
    for each, true in (
        (found.slope, 1.0),
        (found.intercept, 0.0),
        (found.undesired_moment, 1.0),
        (found.desired_moment, 1.0),
        (found.divergence, 0.5),  # KL of unit Gaussians one apart
        (found.reverse_divergence, 0.5),
        (found.accuracy, float(norm.cdf(0.5))),
    ):
        assert each.low < true < each.high
        assert each.high - each.low < 0.5
    assert found.calibration_error.mean < 2 * found.chance_error


def test_moments_are_means_of_exponentials() -> None:
    found = calibration(ratio(), gaussians(40, 30, 1)).raw
    h = found.h.numpy()
    assert found.undesired_moment.mean == pytest.approx(np.exp(h[40:]).mean())
    assert found.desired_moment.mean == pytest.approx(np.exp(-h[:40]).mean())
    bound = h[:40].mean() - np.log(np.exp(h[40:]).mean())
    assert found.divergence.mean == pytest.approx(bound)
    back = -h[40:].mean() - np.log(np.exp(-h[:40]).mean())
    assert found.reverse_divergence.mean == pytest.approx(back)


def test_any_h_bounds_the_divergence_from_below() -> None:
    def expected(factor: float) -> float:
        """E+[k a] - log E-[e^(k a)] by quadrature, a ~ N(+-1/2, 1)."""
        first, _ = quad(lambda a: factor * a * norm.pdf(a, 0.5), -12, 12)
        second, _ = quad(lambda a: np.exp(factor * a) * norm.pdf(a, -0.5), -12, 12)
        return float(first - np.log(second))

    activations = gaussians(900, 900, 2)
    for factor in (0.5, 1.0, 1.5):
        found = calibration(ratio(factor), activations).raw.divergence
        assert found.low < expected(factor) < found.high
        assert expected(factor) <= 0.5 + 1e-9


@pytest.mark.parametrize(("up", "down"), [(800, 800), (900, 300)])
def test_twice_h_has_half_the_slope(up: int, down: int) -> None:
    activations = gaussians(up, down, 3)
    one, two = (calibration(ratio(w), activations).raw for w in (1.0, 2.0))
    assert two.log_odds == pytest.approx(np.log(up / down))
    assert two.slope.low < 0.5 < two.slope.high
    if up == down:
        assert two.slope.mean == pytest.approx(one.slope.mean / 2)
        assert two.intercept.mean == pytest.approx(one.intercept.mean)
        assert two.desired_moment.mean > 1.5


def test_one_number_mends_what_is_out_by_one_number() -> None:
    found = calibration(ratio(3.0), gaussians(700, 700, 4))
    assert found.scaled is not None
    assert found.raw.slope.high < 0.5
    assert found.scaled.slope.low < 1.0 < found.scaled.slope.high
    assert found.scaled.log_loss.mean < found.raw.log_loss.mean
    share = found.scaled.h / found.raw.h
    assert len(set(share.numpy().round(9).tolist())) == 2  # a number for either half
    assert float(share.mean()) == pytest.approx(1 / 3, abs=0.08)


def test_classes_that_a_threshold_parts_have_no_scale() -> None:
    x = drawn_rows(40, D).abs()
    x = torch.where(torch.arange(D) == 0, x, drawn_rows(40, D, seed=7))
    found = calibration(ratio(), sides(x[:20], -x[20:]))
    assert found.scaled is None
    assert "no scale" in found.why
    assert found.raw.slope.mean == inf
    assert isnan(found.raw.intercept.mean)
    assert isinstance(found.figure(), Figure)
    swapped = calibration(ratio(), sides(-x[:20], x[20:])).raw
    assert swapped.slope.mean == -inf


def test_slope_and_intercept_are_sklearns() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=80) * 4 + 3
    y = draw.random(80) < 1 / (1 + np.exp(-(0.7 * x - 2)))
    weights = draw.integers(0, 4, size=(5, 80)).astype(float)
    found = cox(x, y, weights)
    for (slope, intercept), w in zip(found, weights, strict=True):
        model: Any = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky")
        model.fit(x[:, None], y, sample_weight=w)
        assert slope == pytest.approx(model.coef_[0, 0], rel=1e-6)
        assert intercept == pytest.approx(model.intercept_[0], rel=1e-6)


def test_bins_hold_equally_many_rows_by_probability() -> None:
    report = calibration(ratio(), gaussians(60, 45, 5)).raw
    p, y, bins = report.probability.numpy(), report.sample.desired.numpy(), report.bins.numpy()
    order = np.argsort(p)
    parts = np.array_split(order, 10)
    assert sorted(np.bincount(bins).tolist()) == sorted(len(part) for part in parts)
    assert bool((np.diff(bins[order]) >= 0).all())
    gaps = [abs(p[bins == b].mean() - y[bins == b].mean()) * (bins == b).mean() for b in range(10)]
    assert report.calibration_error.mean == pytest.approx(sum(gaps))
    few = calibration(ratio(), gaussians(6, 5, 5)).raw
    assert int(few.bins.max()) == 0


def test_log_loss_by_hand() -> None:
    report = calibration(ratio(), gaussians(20, 50, 6)).raw
    p, y = report.probability.numpy(), report.sample.desired.numpy()
    assert float(p.mean()) != 0.5
    expected = -np.where(y, np.log(p), np.log1p(-p)).mean()
    assert report.log_loss.mean == pytest.approx(expected)


# ---- crowding ----


def test_effective_rank_of_known_clouds() -> None:
    corners = torch.cat([torch.eye(5), -torch.eye(5)]).double()
    assert effective_rank(corners) == pytest.approx(5.0)
    assert effective_rank(corners + 100.0) == pytest.approx(5.0)
    line = torch.linspace(-1, 2, 7).double()[:, None] * torch.ones(4).double()
    assert effective_rank(line) == pytest.approx(1.0)
    two = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]]).double()
    p = np.array([0.9, 0.1])
    assert effective_rank(two) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert isnan(effective_rank(torch.ones(4, 3).double()))
    wide = drawn_rows(5, 40)  # more entries than rows, and the other way round
    padded = torch.cat([wide, wide])
    values = np.linalg.eigvalsh(np.cov(wide.numpy().T)).clip(min=1e-300)
    share = values / values.sum()
    assert effective_rank(wide) == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    assert effective_rank(padded) == pytest.approx(effective_rank(wide))


def test_mean_cosine_is_that_of_all_pairs() -> None:
    x = drawn_rows(7, D)
    cosines = directions(x.numpy()) @ directions(x.numpy()).T
    assert mean_cosine(x) == pytest.approx(cosines[~np.eye(7, dtype=bool)].mean())
    assert isnan(mean_cosine(x[:1]))


def test_everything_ends_at_the_maximum() -> None:
    held = rows()
    walks = Walks.along(linear_form(Q), stacked(held), 2 * pi)
    found = CrowdingReport.measure(walks, Sample.of(held, None, 0), rows(seed=9))
    assert found.cosine[-1].mean == pytest.approx(1.0)
    assert found.cosine[0].mean < 0.5
    assert found.distance is not None
    assert found.distance[-1].mean > 0


def test_distances_are_to_the_nearest_training_row(bent: FieldReport) -> None:
    own, data = stacked(rows()).numpy(), stacked(rows(seed=9)).numpy()
    nearest = np.linalg.norm(own[:, None] - data, axis=-1).min(axis=1)
    unit = np.median(nearest)
    assert bent.crowding.distance is not None
    assert bent.crowding.own is not None
    assert bent.crowding.distance[0].mean == pytest.approx(nearest[30:].mean() / unit)
    assert bent.crowding.own.mean == pytest.approx(nearest[:30].mean() / unit)
    first = bent.crowding.rank[0]
    assert first.mean == pytest.approx(effective_rank(stacked(rows())[30:]))
    assert first.low < first.mean < first.high


def test_training_rows_are_not_held_out() -> None:
    with pytest.raises(ValueError, match="hold other pairs out"):
        trace(drawn_barrier(D, D), rows(), 0.3, training=rows())


# ---- turning ----


def turning_of(barrier: Barrier, x: Tensor, angle: float = 0.2) -> TurningReport:
    held = sides(x[:5], x[5:])
    return TurningReport.measure(
        barrier, Walks.along(barrier, stacked(held), angle), Sample.of(held, None, 0)
    )


@pytest.mark.parametrize("barrier", [linear_form(Q), LinearBarrier(Q, 0.0)])
def test_great_circles_do_not_turn(barrier: Barrier) -> None:
    found = turning_of(barrier, towards(Q, torch.linspace(0.5, 2.8, 12).double(), 50.0))
    torch.testing.assert_close(found.geodesic, torch.zeros(11, 12).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.ambient, torch.full((11, 12), 1 / 50).double())


@pytest.mark.parametrize("size", [1.0, 50.0])
def test_curvature_is_the_change_of_the_fields_direction(size: float) -> None:
    barrier = drawn_barrier(D, D)
    x = drawn_rows(12, D)
    x = size * x / x.norm(dim=-1, keepdim=True)
    field, eps = field_of(barrier), 1e-6 * size
    found = turning_of(barrier, x)
    for i, a in enumerate(x.numpy()):
        v = field(a)
        change = (field(a + eps * v) - field(a - eps * v)) / (2 * eps)  # dv/ds, s arc length
        assert float(found.ambient[0, i]) == pytest.approx(np.linalg.norm(change), rel=1e-5)
        across = change - a * (a @ change) / (a @ a)
        assert float(found.geodesic[0, i]) == pytest.approx(
            size * np.linalg.norm(across), rel=1e-4, abs=1e-8
        )


def test_units_of_curvature() -> None:
    """A turn of 0.883 per rad at |a| = 50 is a curvature of 0.0267, and not of 0.883."""
    x = 50.0 * torch.eye(12, D).double()[:6]
    sample = Sample.of(sides(x[:3], x[3:]), None, 0)
    turn = torch.full((1, 6), 0.883).double()
    found = TurningReport(torch.zeros(1).double(), turn, x.norm(dim=-1), sample)
    torch.testing.assert_close(
        found.ambient, torch.full((1, 6), 0.02668).double(), atol=1e-5, rtol=0
    )


def test_the_gap_begins_as_half_the_turning_times_the_angle() -> None:
    barrier, held, angle = drawn_barrier(D, D, linear=3.0), rows(), 0.02
    turning = turning_of(barrier, stacked(held), angle).geodesic[0]
    gap = gap_of(barrier, held, angle).gap[-1]
    torch.testing.assert_close(gap, turning * angle / 2, atol=3e-4, rtol=0.05)


def test_what_has_arrived_has_no_direction_to_turn() -> None:
    found = turning_of(linear_form(Q), towards(Q, torch.linspace(0.3, 2.9, 9).double()), 1.0)
    assert not bool(found.geodesic[0].isnan().any())
    assert bool(found.geodesic[-1, :2].isnan().all())
    assert bool(found.geodesic[-1, 4:].isfinite().all())


# ---- directions ----


def test_a_barrier_of_means_is_along_caa() -> None:
    training, held = planted(40, 40, d=D), planted(20, 15, d=D, seed=1)
    x, sample = stacked(held), Sample.of(held, None, 0)
    found = DirectionsReport.measure(LinearBarrier.fit_means(training), x, training, sample)
    assert found.names == ("CAA", "CAA of directions", "probe", "RepE")
    assert found.mean("CAA").mean == pytest.approx(0.0, abs=1e-6)
    probe = LinearBarrier.fit(training, C=1.0)
    along = DirectionsReport.measure(probe, x, training, sample)
    assert along.mean("probe").mean == pytest.approx(0.0, abs=1e-6)
    back = DirectionsReport.measure(probe.scaled(-1.0), x, training, sample)
    torch.testing.assert_close(back.angles, 180 - along.angles, atol=1e-5, rtol=0)
    uneven = sides(training.desired, training.undesired[:30], 3)
    few = DirectionsReport.measure(probe, x, uneven, sample)
    assert few.names == ("CAA", "CAA of directions", "probe")
    with pytest.raises(ValueError, match="expected one of CAA"):
        few.mean("RepE")


def test_directions_by_hand() -> None:
    training = planted(30, 30, d=D)
    found = reference_directions(training)
    up, down = training.desired.numpy(), training.undesired.numpy()
    np.testing.assert_allclose(found["CAA"], up.mean(axis=0) - down.mean(axis=0))
    units = directions(up).mean(axis=0) - directions(down).mean(axis=0)
    np.testing.assert_allclose(found["CAA of directions"], units)
    difference = up - down
    vectors = np.linalg.eigh(difference.T @ difference)[1][:, -1]
    sign = np.sign(vectors @ difference.mean(axis=0))
    np.testing.assert_allclose(found["RepE"], sign * vectors, atol=1e-10)


# ---- slices ----


def test_a_slice_holds_h_and_the_field_of_its_points() -> None:
    barrier, held = drawn_barrier(D, D), rows()
    found, x = slice_map(barrier, held, 0.4), stacked(held).numpy()
    axes, m = found.axes.numpy(), x.mean(axis=0)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    caa = x[:30].mean(axis=0) - x[30:].mean(axis=0)
    np.testing.assert_allclose(axes[0], caa / np.linalg.norm(caa))
    left = (x - m) @ (np.eye(D) - np.outer(axes[0], axes[0]))
    assert abs(np.linalg.svd(left)[2][0] @ axes[1]) == pytest.approx(1.0)
    np.testing.assert_allclose(found.rows, (x - m) @ axes.T)
    field = field_of(barrier)
    for i, j in ((0, 0), (7, 40), (60, 3)):
        point = m + float(found.s[j]) * axes[0] + float(found.t[i]) * axes[1]
        assert float(found.h[i, j]) == pytest.approx(float(barrier.h(torch.tensor(point))))
        np.testing.assert_allclose(found.field[i, j], axes @ field(point), atol=1e-10)
    assert float(found.share.max()) <= 1 + 1e-12
    np.testing.assert_allclose(found.ways[0, 0], (x[30] - m) @ axes.T, atol=1e-10)


def test_a_slice_is_blank_far_from_the_rows() -> None:
    held = rows()
    found = slice_map(drawn_barrier(D, D), held, 0.4)
    own = found.rows.numpy()
    centre, inverse = own.mean(axis=0), np.linalg.inv(np.cov(own.T, ddof=0))
    far = np.quantile([(r - centre) @ inverse @ (r - centre) for r in own], 0.99)
    for i, j in ((0, 0), (30, 30), (20, 45), (60, 60)):
        r = np.array([float(found.s[j]), float(found.t[i])]) - centre
        assert bool(found.near[i, j]) == bool(r @ inverse @ r <= far)
    assert not bool(found.near.all())
    assert bool(found.near.any())


def test_a_slice_says_when_the_field_leaves_it() -> None:
    held = planted(30, 30, d=D)
    e = torch.eye(D).double()
    out = LinearBarrier(e[4] + 0.05 * e[0], 0.0)
    away = replace(out, layer=held.layer)
    mean = held.desired.mean(dim=0) - held.undesired.mean(dim=0)
    flat = e[1] - mean * (mean @ e[1]) / (mean @ mean)
    found = slice_map(away, held, 0.2, second=flat)
    assert found.mean_share < 0.3
    assert "LEAVES THE PLANE" in found.figure().axes[0].get_title()
    inside = slice_map(replace(away, weight=mean), held, 0.2)
    assert inside.mean_share == pytest.approx(1.0)
    assert "LEAVES" not in inside.figure().axes[0].get_title()
    assert {"s", "t", "h", "share", "near"} <= set(inside.table().columns)
    with pytest.raises(ValueError, match="take another"):
        slice_map(away, held, 0.2, second=2 * mean)


# ---- seeds ----


def test_stability_is_the_cosine_of_fields() -> None:
    held, exact = rows(), drawn_barrier(D, D)
    some = {40: [drawn_barrier(D, D, seed=i) for i in (1, 2, 3)], 8: [exact, exact, exact]}
    found, x = StabilityReport.measure(exact, some, held), stacked(held)
    assert found.sizes == (8, 40)
    torch.testing.assert_close(found.between[0], torch.ones(54).double())
    torch.testing.assert_close(found.exact[0], torch.ones(54).double())
    one, two, three, whole = (each.field(x).numpy() for each in (*some[40], exact))
    pairs = np.mean([(u * v).sum(axis=1) for u, v in ((one, two), (one, three), (two, three))], 0)
    np.testing.assert_allclose(found.between[1], pairs)
    with_exact = np.mean([(u * whole).sum(axis=1) for u in (one, two, three)], 0)
    np.testing.assert_allclose(found.exact[1], with_exact)
    assert isinstance(found.figure(), Figure)
    table: Any = found.table()
    assert table["hashes"].tolist() == [3, 3]
    with pytest.raises(ValueError, match="at least 2"):
        StabilityReport.measure(exact, {8: [exact]}, held)


# ---- reading ----


def test_planted_directions_are_read_as_their_tokens() -> None:
    values = torch.tensor([5.0, 0.0, 0.0, 0.0, -3.0, 0.0]).double()
    barrier = PolynomialBarrier.of_quadratic(torch.diag(values), 2 * torch.eye(D).double()[2])
    unembedding = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    found = Reading.of(barrier, unembedding, directions=1, tokens=1)
    assert found.names == ("q", "eigenvector +1", "eigenvector -1")
    assert found.values.tolist() == pytest.approx([2.0, 5.0, -3.0])
    ends = [{int(up), int(down)} for up, down in zip(found.raised, found.lowered, strict=True)]
    assert ends == [{2, 8}, {0, 6}, {4, 10}]
    assert int(found.raised[0, 0]) == 2
    torch.testing.assert_close(found.logits.abs(), torch.ones(3, 2).double())
    table: Any = found.table([f"t{i}" for i in range(12)])
    assert table["raised"][0] == "t2"
    assert table["lowered"][0] == "t8"
    with pytest.raises(ValueError, match="expected one width"):
        Reading.of(barrier, unembedding[:5], directions=1, tokens=1)
    with pytest.raises(ValueError, match="at most so many tokens"):
        Reading.of(barrier, unembedding, directions=1, tokens=13)


# ---- convergence ----


def test_orders_are_those_of_the_schemes() -> None:
    found = trace(drawn_barrier(D, 3, linear=3.0), rows(), 0.35).convergence
    orders = {"Euler": 1, "Midpoint": 2, "RK4": 4, "GeodesicEuler": 1, "GeodesicMidpoint": 2}
    assert found.orders == pytest.approx(orders, abs=0.12)
    assert found.evaluations[0].tolist() == [n + 1 for n in found.steps]
    assert bool((found.evaluations[2] > 4 * torch.tensor(found.steps)).all())
    means = found.errors.nanmean(dim=-1)
    assert bool((means[:, 1:] < means[:, :-1]).all())


def test_great_circles_are_exact_on_a_linear_field() -> None:
    found = trace(linear_form(Q), rows(), 0.2).convergence
    exact = found.errors[found.names.index("GeodesicEuler")]
    assert float(exact.nan_to_num().max()) < 1e-7
    assert isnan(found.orders["GeodesicMidpoint"]) or found.orders["GeodesicMidpoint"] < 1


# ---- the whole ----


def test_results_depend_on_seed_and_data_alone(bent: FieldReport) -> None:
    before = [x.clone() for x in (rows().desired, rows().undesired)]
    held = rows()
    again = trace(drawn_barrier(D, D), held, 0.8, training=rows(seed=9), seed=2)
    assert again.summary() == pytest.approx(bent.summary(), nan_ok=True)
    assert all(
        torch.equal(a, b) for a, b in zip(before, (held.desired, held.undesired), strict=True)
    )


def test_scaling_the_activations_changes_no_angle(bent: FieldReport) -> None:
    held, training = rows(), rows(seed=9)
    larger = [sides(7 * x.desired, 7 * x.undesired) for x in (held, training)]
    again = trace(drawn_barrier(D, D), larger[0], 0.8, training=larger[1], seed=2)
    assert again.summary() == pytest.approx(bent.summary(), rel=1e-5, nan_ok=True)


def test_groups_widen_what_copies_would_narrow() -> None:
    once = rows(10, 8)
    copies = sides(once.desired.repeat(9, 1), once.undesired.repeat(9, 1))
    groups = [*(list(range(10)) * 9), *(list(range(10, 18)) * 9)]
    barrier = drawn_barrier(D, D)
    free, alone = shape_of(barrier, copies), shape_of(barrier, once)
    sample = Sample.of(copies, groups, 0)
    tied = ShapeReport.measure(barrier, stacked(copies), sample)
    widths = [s.linearity.high - s.linearity.low for s in (free, tied, alone)]
    assert widths[0] < 0.6 * widths[1]
    assert widths[1] == pytest.approx(widths[2], rel=0.2)
    assert "18 groups" in str(sample)


@pytest.mark.parametrize("kind", ["probe", "fourier"])
def test_other_barriers_lack_what_needs_a_quadratic_form(kind: str) -> None:
    def few(activations: LayerActivations) -> FourierBarrier:
        return FourierBarrier.fit(activations, n_components=64)

    data, held = planted(40, 30, d=D), planted(30, 24, d=D, seed=1)
    fitted = {"probe": LinearBarrier.fit_means, "fourier": few}[kind](data)
    found = trace(fitted, held, 0.3, training=data)
    assert found.shape is None
    assert found.rise.supremum is None
    assert "linearity" not in found.summary()
    assert set(found.figures()) == {"rise", "gap", "calibration", *OTHERS}
    assert bool((found.rise.h[1:] >= found.rise.h[:-1] - 1e-9).all())


def test_every_part_has_a_table_and_a_figure(bent: FieldReport) -> None:
    figures = bent.figures()
    assert set(figures) == {"rise", "gap", "shape", "calibration", *OTHERS}
    assert all(isinstance(each, Figure) for each in figures.values())
    for name in figures:
        table: Any = getattr(bent, name).table()
        assert len(table) > 0
        ends = [c[:-4] for c in table.columns if c.endswith("_low")]
        assert ends or name == "shape"
        for end in ends:
            known = table[[end, f"{end}_low", f"{end}_high"]].dropna()
            assert (known[f"{end}_low"] <= known[end] + 1e-12).all()
            assert (known[end] <= known[f"{end}_high"] + 1e-12).all()


def test_the_summary_is_one_flat_row(bent: FieldReport) -> None:
    row = bent.summary()
    assert row["desired"] == 30
    assert row["undesired"] == 24
    assert row["gap"] == pytest.approx(bent.gap.at(0.8)["gap"].mean)
    assert row["slope_low"] <= row["slope"] <= row["slope_high"]
    assert row["rank"] == bent.crowding.rank[-1].mean


def test_without_training_rows_there_is_no_distance() -> None:
    found = trace(drawn_barrier(D, D), rows())
    assert found.angle == 0.5
    assert found.crowding.distance is None
    assert "distance" not in found.summary()
    assert isinstance(found.crowding.figure(), Figure)


@pytest.mark.parametrize("angle", [0.0, -0.1, 7.0, float("nan"), inf])
def test_an_angle_is_a_turn(angle: float) -> None:
    with pytest.raises(ValueError, match="expected above 0"):
        trace(drawn_barrier(D, D), rows(), angle)


def test_activations_are_of_the_barriers_site() -> None:
    barrier, good = drawn_barrier(D, D), rows()
    with pytest.raises(ValueError, match="capture the same site"):
        trace(barrier, LayerActivations(good.desired, good.undesired, 1, Kind.RESID))
    with pytest.raises(ValueError, match="capture the same site"):
        trace(barrier, LayerActivations(good.desired, good.undesired, 0, Kind.MLP_OUT))
    with pytest.raises(ValueError, match=r"expected \[n, 6\]"):
        trace(barrier, rows(d=5))
    with pytest.raises(ValueError, match=r"expected \[n, 6\]"):
        trace(barrier, good, training=rows(d=5))
    with pytest.raises(ValueError, match="no undesired"):
        trace(barrier, sides(good.desired, good.undesired[:0]))
    with pytest.raises(ValueError, match="no direction"):
        trace(barrier, sides(good.desired, 0 * good.undesired))
    with pytest.raises(ValueError, match="expected one for each"):
        trace(barrier, good, groups=range(7))


def test_what_a_report_holds_is_frozen(bent: FieldReport) -> None:
    assert {f.name for f in fields(bent)} >= {"rise", "gap", "shape", "calibration", "crowding"}
    assert isinstance(bent.calibration.raw, CalibrationReport)
    assert lens_steer.field.trace is trace
