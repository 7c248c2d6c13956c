"""Calibration of log-ratios that are known."""

from math import inf, isnan
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from lens_steer.activations import LayerActivations
from lens_steer.barriers import Barrier, LinearBarrier
from lens_steer.barriers.field import CalibrationPair, HeldOutRows
from lens_steer.barriers.field.calibration_statistics import cox_regression
from tests.barrier_samples import drawn_rows
from tests.field_samples import D, sides, stacked


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
    sample = HeldOutRows.of(activations, None, seed)
    return CalibrationPair.fit(barrier, stacked(activations), sample)


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
    figure: Any = found.figure()
    left, right = figure.axes
    moments = [line.lines[0].get_ydata()[0] for line in right.containers]
    parts = (found.raw, found.scaled)
    assert moments == [m.mean for p in parts for m in (p.undesired_moment, p.desired_moment)]
    labels = [text.get_text().split(":")[0] for text in left.get_legend().get_texts()]
    assert labels == ["as fitted", "times one number"]
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
    figure: Any = found.figure()
    left, right = figure.axes
    [points] = left.containers
    table: Any = found.raw.table()
    assert list(points.lines[0].get_xdata()) == table["probability"].tolist()
    assert list(points.lines[0].get_ydata()) == table["desired"].tolist()
    assert right.get_yscale() == "log"
    legend = [text.get_text() for text in right.get_legend().get_texts()]
    assert legend == ["as fitted: calibration slope infinite: a threshold separates them"]
    swapped = calibration(ratio(), sides(-x[:20], x[20:])).raw
    assert swapped.slope.mean == -inf


def test_slope_and_intercept_are_sklearns() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=80) * 4 + 3
    y = draw.random(80) < 1 / (1 + np.exp(-(0.7 * x - 2)))
    weights = draw.integers(0, 4, size=(5, 80)).astype(float)
    found = cox_regression(x, y, weights)
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
