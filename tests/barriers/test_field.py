"""Fields of barriers that were written down by hand, so that all about them is known."""

from dataclasses import fields
from math import inf, isnan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier, FourierBarrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.field import (
    BarrierCalibration,
    FieldReport,
    HeldOutRows,
    ShapeReport,
    trace,
)
from lens_steer.barriers.field.held_out import check_held_out
from lens_steer.sites import Kind
from tests.barrier_samples import drawn_barrier, drawn_rows
from tests.field_samples import (
    ROUNDING,
    D,
    Q,
    flowed,
    gap_of,
    linear_form,
    rise_of,
    rows,
    shape_of,
    sides,
    stacked,
    towards,
)
from tests.oracles_barriers import directions, planted, symmetric


@pytest.fixture(scope="module")
def bent() -> FieldReport:
    return trace(drawn_barrier(D, D), rows(), 0.8, training=rows(seed=9), seed=2)


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
    assert found.at_maximum.mean == 0.0
    assert found.median_entry == pytest.approx(float(expected[4:].sort().values[2]), abs=ROUNDING)


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


def test_a_gap_of_rounding_looks_like_none() -> None:
    figure = gap_of(LinearBarrier(Q, -0.2), rows(), 0.35).figure()
    gap, cosine, lost = (axes.get_ylim() for axes in figure.axes)
    assert gap == (0.0, 0.01)
    assert 0.98 < cosine[0] < 0.99
    assert 1.0 < cosine[1] < 1.001
    assert lost == (-0.01, 0.01)


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


# ---- the whole ----


def test_training_rows_are_not_held_out() -> None:
    with pytest.raises(ValueError, match="hold other pairs out"):
        trace(drawn_barrier(D, D), rows(), 0.3, training=rows())


def test_half_of_the_held_out_rows_may_not_be_training_rows() -> None:
    x, training = stacked(rows(6, 6)), stacked(rows(seed=9))
    check_held_out(torch.cat([x[:7], training[:6]]), training)
    with pytest.raises(ValueError, match="7 of 13 held-out activations are among"):
        check_held_out(torch.cat([x[:6], training[:7]]), training)


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
    sample = HeldOutRows.of(copies, groups, 0)
    tied = ShapeReport.fit(barrier, stacked(copies), sample)
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
    assert set(found.figures()) == {"rise", "gap", "calibration", "directions"}
    with pytest.raises(ValueError, match="expected one of rise, gap, calibration, directions"):
        found.figure("shape")
    assert bool((found.rise.h[1:] >= found.rise.h[:-1] - 1e-9).all())


def test_every_part_has_a_table_and_a_figure(bent: FieldReport) -> None:
    figures = bent.figures()
    assert set(figures) == {"rise", "gap", "shape", "calibration", "directions"}
    for name in figures:
        table: Any = getattr(bent, name).table()
        assert len(table) > 0
        ends = [c[:-4] for c in table.columns if c.endswith("_low")]
        assert ends or name == "shape"
        for end in ends:
            intervals = table[[end, f"{end}_low", f"{end}_high"]].dropna()
            assert (intervals[f"{end}_low"] <= intervals[end] + 1e-12).all()
            assert (intervals[end] <= intervals[f"{end}_high"] + 1e-12).all()


def test_the_figures_of_the_parts_draw_their_values(bent: FieldReport) -> None:
    figure: Any = bent.figure()
    rise, shares = figure.axes
    drawn_lines = {line.get_label(): line.get_ydata() for line in rise.lines}
    for side, among in bent.sample.by_class.items():
        expected = np.median(bent.rise.h[:, among].numpy(), axis=1)
        np.testing.assert_allclose(drawn_lines[f"{side} starts"], expected)
    assert shares.get_ylabel() == "share of undesired starts\n(95 % intervals)"
    arrived = (bent.rise.entry[~bent.sample.desired] <= bent.angle).double().mean()
    assert shares.lines[0].get_ydata()[-1] == pytest.approx(float(arrived))

    figure = bent.figure("gap")
    panels = figure.axes
    for axes, values in zip(panels, (bent.gap.gap, bent.gap.cosine, bent.gap.lost), strict=True):
        expected = values[:, bent.sample.desired].nanmean(dim=1)
        line = next(line for line in axes.lines if line.get_label() == "desired starts")
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert axes.get_xlabel() == "T / |a| (rad)"

    assert bent.shape is not None
    figure = bent.figure("shape")
    histogram, *_, spectrum, _, _ = figure.axes
    count = int((~bent.shape.alignment.isnan()).sum())
    assert sum(bar.get_height() for bar in histogram.patches) == count
    np.testing.assert_array_equal(spectrum.lines[0].get_ydata(), bent.shape.spectrum)

    assert bent.directions is not None
    figure = bent.figure("directions")
    panels = figure.axes
    titles = [axes.get_title().splitlines()[0] for axes in panels]
    assert titles == list(bent.directions.names)
    for axes, angles in zip(panels, bent.directions.angles, strict=True):
        line = next(line for line in axes.lines if line.get_label() == "desired")
        np.testing.assert_array_equal(line.get_ydata(), angles[bent.sample.desired])
    assert panels[0].get_ylabel() == "angle of the field to it (degrees)"


def test_the_summary_is_one_flat_row(bent: FieldReport) -> None:
    row = bent.summary()
    assert row["desired"] == 30
    assert row["undesired"] == 24
    assert row["gap"] == pytest.approx(bent.gap.at(0.8)["gap"].mean)
    assert row["slope_low"] <= row["slope"] <= row["slope_high"]
    table: Any = bent.table().set_index("statistic")
    assert table["value"]["median_entry"] == row["median_entry"]
    assert table["low"]["slope"] == row["slope_low"]


def test_without_training_rows_there_are_no_directions() -> None:
    found = trace(drawn_barrier(D, D), rows())
    assert found.angle == 0.5
    assert found.directions is None
    assert "to_CAA" not in found.summary()
    assert len(found.figure().axes) == 2


@pytest.mark.parametrize("angle", [0.0, -0.1, 7.0, float("nan"), inf])
def test_an_angle_is_a_turn(angle: float) -> None:
    with pytest.raises(ValueError, match="expected (above 0|an angle in rad)"):
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
    assert {f.name for f in fields(bent)} >= {"rise", "gap", "shape", "calibration"}
    assert isinstance(bent.calibration.raw, BarrierCalibration)
    assert ls.field.trace is trace
