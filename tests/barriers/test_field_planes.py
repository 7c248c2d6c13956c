"""Turning, directions beside the field, slices, hash seeds, and directions as tokens."""

from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.field import (
    DirectionsReport,
    DirectionTokens,
    FieldStability,
    HeldOutRows,
    TurningReport,
    slice_map,
)
from lens_steer.barriers.field.directions import reference_directions
from lens_steer.barriers.field.walks import FlowPaths
from tests.barrier_samples import drawn_barrier, drawn_rows, field_of
from tests.field_samples import D, Q, gap_of, linear_form, rows, sides, stacked, towards
from tests.oracles_barriers import directions, planted

# ---- turning ----


def turning_of(barrier: Barrier, x: Tensor, angle: float = 0.2) -> TurningReport:
    held = sides(x[:5], x[5:])
    return TurningReport.fit(
        barrier, FlowPaths.of(barrier, stacked(held), angle), HeldOutRows.of(held, None, 0)
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
    sample = HeldOutRows.of(sides(x[:3], x[3:]), None, 0)
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


def test_turning_is_drawn_as_the_median_of_rows_that_move() -> None:
    angles, turn = torch.tensor([0.0, 0.5]).double(), torch.tensor([1.0, 2, 900, 1, 1, 3]).double()
    left = torch.stack([turn, torch.where(torch.arange(6) < 3, float("nan"), turn)])
    sample = HeldOutRows.of(sides(torch.eye(3, D), torch.eye(3, D)), None, 0)
    found = TurningReport(angles, left, torch.ones(6).double(), sample)
    table: Any = found.table().set_index(["angle", "start"])
    assert table["median"][0.0, "desired"] == 2.0
    assert table["q75"][0.0, "undesired"] == 2.0
    assert isnan(table["median"][0.5, "desired"])
    [axes] = found.figure().axes
    assert axes.get_ylim()[1] < 900
    drawn = [np.asarray(line.get_ydata())[1] for line in axes.get_lines()]
    assert drawn == [1.0, pytest.approx(float("nan"), nan_ok=True)]
    few = replace(found, geodesic=torch.where(torch.arange(6) < 5, float("nan"), left))
    lines = few.figure().axes[0].get_lines()
    assert all(isnan(np.asarray(line.get_ydata())[0]) for line in lines)


def test_what_has_arrived_has_no_direction_to_turn() -> None:
    found = turning_of(linear_form(Q), towards(Q, torch.linspace(0.3, 2.9, 9).double()), 1.0)
    assert not bool(found.geodesic[0].isnan().any())
    assert bool(found.geodesic[-1, :2].isnan().all())
    assert bool(found.geodesic[-1, 4:].isfinite().all())


# ---- directions ----


def test_a_barrier_of_means_is_along_caa() -> None:
    training = replace(planted(40, 40, d=D), paired=True)
    held = planted(20, 15, d=D, seed=1)
    x, sample = stacked(held), HeldOutRows.of(held, None, 0)
    found = DirectionsReport.fit(LinearBarrier.fit_means(training), x, training, sample)
    assert found.names == ("CAA", "CAA of directions", "probe", "RepE")
    assert found.mean("CAA").mean == pytest.approx(0.0, abs=1e-6)
    probe = LinearBarrier.fit(training)
    along = DirectionsReport.fit(probe, x, training, sample)
    assert along.mean("probe").mean == pytest.approx(0.0, abs=1e-6)
    back = DirectionsReport.fit(probe.scaled(-1.0), x, training, sample)
    torch.testing.assert_close(back.angles, 180 - along.angles, atol=1e-5, rtol=0)
    few = DirectionsReport.fit(probe, x, replace(training, paired=False), sample)
    assert few.names == ("CAA", "CAA of directions", "probe")
    with pytest.raises(ValueError, match="expected one of CAA"):
        few.mean("RepE")


def test_directions_by_hand() -> None:
    training = replace(planted(30, 30, d=D), paired=True)
    found = reference_directions(training)
    up, down = training.desired.numpy(), training.undesired.numpy()
    np.testing.assert_allclose(found["CAA"], up.mean(axis=0) - down.mean(axis=0))
    units = directions(up).mean(axis=0) - directions(down).mean(axis=0)
    np.testing.assert_allclose(found["CAA of directions"], units)
    difference = up - down
    vectors = np.linalg.eigh(difference.T @ difference)[1][:, -1]
    sign = np.sign(vectors @ difference.mean(axis=0))
    np.testing.assert_allclose(found["RepE"], sign * vectors, atol=1e-10)


def test_the_probe_beside_the_field_is_the_one_that_is_fitted() -> None:
    training = planted(30, 30, d=D)
    for seed in (0, 3):
        own = LinearBarrier.fit(training, seed=seed).weight.double()
        assert torch.equal(reference_directions(training, seed)["probe"], own)


def test_a_probe_needs_a_row_of_each_class_in_every_fold() -> None:
    few = planted(30, 4, d=D)
    with pytest.raises(ValueError, match="trace without `training`"):
        reference_directions(few)
    reference_directions(planted(5, 5, d=D))


def test_directions_show_every_row_of_a_field_along_one_of_them() -> None:
    training, held = planted(30, 30, d=D), planted(20, 15, d=D, seed=1)
    x, sample = stacked(held), HeldOutRows.of(held, None, 0)
    found = DirectionsReport.fit(LinearBarrier.fit(training), x, training, sample)
    low, high = found.figure().axes[2].get_ylim()
    assert low < 0 < 90 < high


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
    by_t, by_s = np.gradient(found.h.numpy(), found.t.numpy(), found.s.numpy())
    rise = np.stack([by_t, by_s], axis=-1)
    own = found.field.numpy()[..., ::-1]  # t before s, as in `rise`
    sizes = np.linalg.norm(rise, axis=-1) * np.linalg.norm(own, axis=-1)
    cosines = ((rise * own).sum(axis=-1) / sizes)[1:-1, 1:-1]
    assert np.quantile(cosines, 0.02) > 0.99  # streamlines are at right angles to contours
    assert found.figure().axes[0].get_aspect() == 1.0
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


def test_arrows_have_the_colour_of_their_lines() -> None:
    held = planted(30, 30, d=D)
    mean = held.desired.mean(dim=0) - held.undesired.mean(dim=0)
    flat = LinearBarrier(mean, 0.0, layer=held.layer)
    figure = slice_map(flat, held, 0.2).figure()  # the whole field lies in the plane: yellow
    [axes, _] = figure.axes
    [lines] = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert lines.get_clim() == (0.0, 1.0)
    arrows = [p for p in axes.patches if isinstance(p, FancyArrowPatch)]
    assert arrows
    for arrow in arrows:
        own: Any = arrow.get_facecolor()
        np.testing.assert_allclose(own, lines.to_rgba(np.ones(1))[0], atol=0.01)


def test_a_slice_says_what_it_shows() -> None:
    held, second = rows(), drawn_rows(1, D)[0]
    one, two = (slice_map(drawn_barrier(D, D), held, 0.4, second=s) for s in (None, second))
    told = [found.figure().axes[0].get_ylabel() for found in (one, two)]
    assert "first PC" in told[0]
    assert "given" in told[1]
    [legend] = one.figure().legends
    assert "flows to 0.4 rad, projected" in [each.get_text() for each in legend.get_texts()]


# ---- seeds ----


def test_stability_is_the_cosine_of_fields() -> None:
    held, exact = rows(), drawn_barrier(D, D)
    some = {40: [drawn_barrier(D, D, seed=i) for i in (1, 2, 3)], 8: [exact, exact, exact]}
    found, x = FieldStability.of(exact, some, held), stacked(held)
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
    tied = FieldStability.of(exact, some, held, groups=[i % 9 for i in range(54)])
    assert "9 groups" in str(tied.sample)
    with pytest.raises(ValueError, match="at least 2"):
        FieldStability.of(exact, {8: [exact]}, held)


# ---- reading ----


def test_planted_directions_are_read_as_their_tokens() -> None:
    values = torch.tensor([5.0, 0.0, 0.0, 0.0, -3.0, 0.0]).double()
    barrier = PolynomialBarrier.of_quadratic(torch.diag(values), 2 * torch.eye(D).double()[2])
    unembedding = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    found = DirectionTokens.of(barrier, unembedding, directions=1, tokens=1)
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
        DirectionTokens.of(barrier, unembedding[:5], directions=1, tokens=1)
    with pytest.raises(ValueError, match="at most so many tokens"):
        DirectionTokens.of(barrier, unembedding, directions=1, tokens=13)
