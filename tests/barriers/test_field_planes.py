"""Directions beside the field, slices, and directions as tokens."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyArrowPatch

from lens_steer.barriers import LinearBarrier, PolynomialBarrier
from lens_steer.barriers.field import (
    DirectionsReport,
    DirectionTokens,
    HeldOutRows,
    slice_map,
)
from lens_steer.barriers.field.directions import reference_directions
from tests.barrier_samples import drawn_barrier, drawn_rows, field_of
from tests.field_samples import D, rows, stacked
from tests.oracles_barriers import directions, planted

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
