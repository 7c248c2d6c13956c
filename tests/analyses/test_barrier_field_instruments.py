"""Crowding, convergence, turning and hash seeds of fields that were written down by hand."""

from dataclasses import replace
from math import isnan, pi
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from analyses.barrier_field_instruments import (
    ConvergenceReport,
    CrowdingReport,
    FieldStability,
    FlowReport,
    TurningReport,
)
from analyses.barrier_field_instruments.crowding import effective_rank, mean_cosine
from lens_steer.barriers import Barrier, LinearBarrier
from lens_steer.barriers.field import FlowPaths, HeldOutRows
from tests.barrier_samples import drawn_barrier, drawn_rows, field_of
from tests.field_samples import D, Q, gap_of, linear_form, rows, sides, stacked, towards
from tests.oracles_barriers import directions


@pytest.fixture(scope="module")
def bent() -> FlowReport:
    return FlowReport.fit(drawn_barrier(D, D), rows(), 0.8, training=rows(seed=9), seed=2)


def convergence_of(barrier: Barrier, angle: float) -> ConvergenceReport:
    held = rows()
    return ConvergenceReport.fit(barrier, stacked(held), angle, HeldOutRows.of(held, None, 0))


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
    paths = FlowPaths.of(linear_form(Q), stacked(held), 2 * pi)
    found = CrowdingReport.of(paths, HeldOutRows.of(held, None, 0), rows(seed=9))
    assert found.cosine[-1].mean == pytest.approx(1.0)
    assert found.cosine[0].mean < 0.5
    assert found.distance is not None
    assert found.distance[-1].mean > 0


def test_distances_are_to_the_nearest_training_row(bent: FlowReport) -> None:
    own, data = stacked(rows()).numpy(), stacked(rows(seed=9)).numpy()
    nearest = np.linalg.norm(own[:, None] - data, axis=-1).min(axis=1)
    unit = np.median(nearest)
    assert bent.crowding.distance is not None
    assert bent.crowding.desired_distance is not None
    assert bent.crowding.distance[0].mean == pytest.approx(nearest[30:].mean() / unit)
    assert bent.crowding.desired_distance.mean == pytest.approx(nearest[:30].mean() / unit)
    first = bent.crowding.rank[0]
    assert first.mean == pytest.approx(effective_rank(stacked(rows())[30:]))
    assert first.low < first.mean < first.high


# ---- convergence ----


def test_orders_are_those_of_the_schemes() -> None:
    found = convergence_of(drawn_barrier(D, 3, linear=3.0), 0.35)
    orders = {"Euler": 1, "Midpoint": 2, "RK4": 4, "GeodesicEuler": 1, "GeodesicMidpoint": 2}
    assert found.orders == pytest.approx(orders, abs=0.12)
    assert found.evaluations[0].tolist() == [n + 1 for n in found.steps]
    assert bool((found.evaluations[2] > 4 * torch.tensor(found.steps)).all())
    means = found.errors.nanmean(dim=-1)
    assert bool((means[:, 1:] < means[:, :-1]).all())


def test_great_circles_are_exact_on_a_linear_field() -> None:
    found = convergence_of(linear_form(Q), 0.2)
    exact = found.errors[found.names.index("GeodesicEuler")]
    assert float(exact.nan_to_num().max()) < 1e-7
    assert isnan(found.orders["GeodesicMidpoint"]) or found.orders["GeodesicMidpoint"] < 1
    probe = convergence_of(LinearBarrier(Q, 0.0), 0.2)
    legend = probe.figure().axes[0].get_legend()
    assert legend is not None
    told = [each.get_text() for each in legend.get_texts()]
    assert "GeodesicEuler: one step is exact" in told


# ---- turning ----


def turning_of(barrier: Barrier, x: Tensor, angle: float = 0.2) -> TurningReport:
    held = sides(x[:5], x[5:])
    return TurningReport.of(
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
    lines: Any = found.figure().axes[0].lines
    for line, cosines in zip(lines, (found.between, found.exact), strict=True):
        assert line.get_xdata().tolist() == [8, 40]
        np.testing.assert_allclose(line.get_ydata(), cosines.mean(dim=1))
    table: Any = found.table()
    assert table["hashes"].tolist() == [3, 3]
    tied = FieldStability.of(exact, some, held, groups=[i % 9 for i in range(54)])
    assert "9 groups" in str(tied.sample)
    with pytest.raises(ValueError, match="at least 2"):
        FieldStability.of(exact, {8: [exact]}, held)


# ---- all of them ----


def test_every_part_has_a_table_with_intervals(bent: FlowReport) -> None:
    assert set(bent.parts) == {"crowding", "convergence", "turning"}
    for part in bent.parts.values():
        table: Any = part.table()
        assert len(table) > 0
        ends = [c[:-4] for c in table.columns if c.endswith("_low")]
        assert ends
        for end in ends:
            known = table[[end, f"{end}_low", f"{end}_high"]].dropna()
            assert (known[f"{end}_low"] <= known[end] + 1e-12).all()
            assert (known[end] <= known[f"{end}_high"] + 1e-12).all()


def test_figures_draw_what_their_tables_hold(bent: FlowReport) -> None:
    table: Any = bent.crowding.table()
    panels: Any = bent.crowding.figure().axes
    for axes, name in zip(panels, ("cosine", "rank", "distance"), strict=True):
        np.testing.assert_allclose(axes.lines[0].get_xydata(), table[["angle", name]])
    table = bent.convergence.table()
    errors: Any = bent.convergence.figure().axes[0].containers
    for name, bars in zip(bent.convergence.names, errors, strict=True):
        rows_of_scheme = table[table["scheme"] == name]
        points = rows_of_scheme[["evaluations", "error"]]
        np.testing.assert_allclose(bars.lines[0].get_xydata(), points)
    table = bent.turning.table()
    middles: Any = bent.turning.figure().axes[0].lines
    for line in middles:
        side = line.get_label().removesuffix(" starts")
        medians = table[table["start"] == side]["median"].to_numpy()
        drawn = np.isfinite(line.get_ydata())
        assert drawn[0]
        np.testing.assert_allclose(line.get_ydata()[drawn], medians[drawn])


def test_the_summary_is_of_the_largest_angle(bent: FlowReport) -> None:
    row = bent.summary()
    assert row["rank"] == bent.crowding.rank[-1].mean
    assert bent.crowding.distance is not None
    assert row["distance"] == bent.crowding.distance[-1].mean
    assert row["turning_low"] <= row["turning"] <= row["turning_high"]


def test_scaling_the_activations_changes_no_angle(bent: FlowReport) -> None:
    held, training = (sides(7 * x.desired, 7 * x.undesired) for x in (rows(), rows(seed=9)))
    larger = FlowReport.fit(drawn_barrier(D, D), held, 0.8, training=training, seed=2)
    assert larger.summary() == pytest.approx(bent.summary(), rel=1e-5, nan_ok=True)


def test_without_training_rows_there_is_no_distance(bent: FlowReport) -> None:
    held = rows()
    paths = FlowPaths.of(drawn_barrier(D, D), stacked(held), 0.5)
    found = CrowdingReport.of(paths, HeldOutRows.of(held, None, 0), None)
    assert found.distance is None
    assert len(found.figure().axes) == 2  # no empty panel for it
    assert "distance" not in replace(bent, crowding=found).summary()


def test_distances_are_to_other_rows() -> None:
    with pytest.raises(ValueError, match="hold other pairs out"):
        FlowReport.fit(drawn_barrier(D, D), rows(), 0.3, training=rows())
