"""Sketches of any degree, with a logistic and an SVM head: scikit-learn is the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import lens_steer as ls
from lens_steer.activations import LayerActivations
from lens_steer.barriers import CountSketch, PolynomialBarrier, SketchBarrier
from lens_steer.sites import Kind
from tests.oracles_barriers import directions, planted, stacked

D = 6
DEGREES = (1, 2, 3, 5)


def points(n: int = 7, seed: int = 5) -> torch.Tensor:
    return 4 + 5 * torch.randn(n, D, generator=torch.Generator().manual_seed(seed)).double()


def scikit_learns(sketch: CountSketch, x: np.ndarray) -> np.ndarray:
    """Its transform, with our draw of hashes; it scales and appends the bias itself."""
    theirs: Any = PolynomialCountSketch(
        degree=sketch.degree,
        gamma=float(sketch.gamma),
        coef0=float(sketch.coef0),
        n_components=sketch.n_components,
        random_state=0,
    ).fit(x)
    theirs.indexHash_, theirs.bitHash_ = sketch.buckets.numpy(), sketch.signs.numpy()
    return theirs.transform(x)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("n", [31, 400])
def test_features_are_scikit_learns(degree: int, n: int) -> None:
    sketch = CountSketch.draw(D, n, gamma=0.7, coef0=1.5, seed=4, degree=degree)
    x = directions(points().numpy())
    found = sketch.features(torch.from_numpy(x))
    np.testing.assert_allclose(found, scikit_learns(sketch, x), atol=1e-12)
    weights = torch.randn(n, generator=torch.Generator().manual_seed(1)).double()
    np.testing.assert_allclose(sketch.products(torch.from_numpy(x), weights), found @ weights)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("coef0", [0.0, 1.0])
def test_gradients_are_finite_differences(degree: int, coef0: float) -> None:
    if degree == 1 and coef0 == 0:
        coef0 = 0.5
    fitted = SketchBarrier.fit(planted(d=D), degree=degree, n_components=301, coef0=coef0, C=5.0)
    x, step = points(), 1e-4
    for i in range(D):
        away = step * torch.eye(D).double()[i]
        slope = (fitted.h(x + away) - fitted.h(x - away)) / (2 * step)
        torch.testing.assert_close(fitted.grad(x)[:, i], slope, atol=1e-9, rtol=1e-6)
    v = points(seed=6)
    change = (fitted.grad(x + step * v) - fitted.grad(x - step * v)) / (2 * step)
    torch.testing.assert_close(fitted.hessian_vector(x, v), change, atol=1e-8, rtol=1e-5)


def test_the_gradient_is_along_the_sphere_and_h_knows_directions_alone() -> None:
    fitted, x = SketchBarrier.fit(planted(d=D), n_components=200), points()
    torch.testing.assert_close((fitted.grad(x) * x).sum(dim=-1), torch.zeros(len(x)).double())
    torch.testing.assert_close(fitted.h(70 * x), fitted.h(x))
    with pytest.raises(ValueError, match="0 or not finite"):
        fitted.h(torch.zeros(2, D))


def test_a_logistic_head_is_scikit_learns_less_the_prior() -> None:
    data = planted(d=D)
    fitted = SketchBarrier.fit(data, degree=3, n_components=300, gamma=0.5, C=3.0, seed=9)
    x, labels = stacked(data)
    phi = scikit_learns(fitted.sketch, directions(x))
    head = LogisticRegression(C=3.0, max_iter=1000).fit(phi, labels)
    expected = head.decision_function(phi) - np.log(90 / 60)
    np.testing.assert_allclose(fitted.h(torch.from_numpy(x)), expected, atol=1e-5)
    numbers = {"degree": 3, "n_components": 300, "gamma": 0.5, "coef0": 1.0, "C": 3.0, "seed": 9}
    assert fitted.settings == {**numbers, "head": "logistic"}


def test_at_degree_2_it_is_the_quadratic_form() -> None:
    data, how = planted(d=D), {"n_components": 300, "gamma": 0.5, "C": 3.0, "seed": 2}
    sketch = SketchBarrier.fit(data, degree=2, **how)
    form, x = PolynomialBarrier.fit_sketch(data, **how), points()
    torch.testing.assert_close(sketch.h(x), form.h(x), atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(sketch.grad(x), form.grad(x), atol=1e-11, rtol=1e-8)


@pytest.mark.parametrize("degree", [2, 3])
def test_an_svm_head_is_scikit_learns(degree: int) -> None:
    data = planted(d=D)
    fitted = SketchBarrier.fit_svm(data, degree=degree, n_components=300, gamma=0.5, C=2.0, seed=3)
    x, labels = stacked(data)
    phi = scikit_learns(fitted.sketch, directions(x))
    head = LinearSVC(C=2.0, class_weight="balanced", max_iter=20_000, random_state=3)
    expected = head.fit(phi, labels).decision_function(phi)
    np.testing.assert_allclose(fitted.h(torch.from_numpy(x)), expected, atol=1e-6)
    assert fitted.settings["head"] == "svm"
    same = planted(60, 60, D)
    one = SketchBarrier.fit_svm(same, degree=degree, n_components=50, C=2.0)
    x, labels = stacked(same)
    phi = scikit_learns(one.sketch, directions(x))
    published = LinearSVC(C=2.0, max_iter=20_000, random_state=0).fit(phi, labels)
    found = one.h(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, published.decision_function(phi), atol=1e-3)


def odd(n: int, seed: int) -> LayerActivations:
    """The class is the sign of the product of three coordinates: no form of degree 2 has it."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()
    up = x.prod(dim=-1) > 0
    return LayerActivations(x[up], x[~up], 3, Kind.RESID)


def test_degree_3_tells_apart_what_degree_2_cannot() -> None:
    train, test = odd(250, 0), odd(300, 1)
    shares = {}
    for degree in (2, 3):
        for fit in (SketchBarrier.fit, SketchBarrier.fit_svm):
            h = fit(train, degree=degree, n_components=200, gamma=1.0, coef0=1.0, C=10.0)
            right = (h.h(test.desired) > 0).sum() + (h.h(test.undesired) < 0).sum()
            shares[degree, fit.__name__] = int(right) / 300
    assert max(v for (degree, _), v in shares.items() if degree == 2) < 0.65
    assert min(v for (degree, _), v in shares.items() if degree == 3) > 0.9


def test_a_probability_asks_for_a_calibrated_head() -> None:
    data, dev = planted(d=D), planted(40, 70, D, seed=1)
    margins = SketchBarrier.fit_svm(data, n_components=300, C=0.1)
    with pytest.raises(ValueError, match="expected activations that the barrier was not fitted on"):
        ls.ODESteer(margins, angle=1.5).to_target(probability=0.9)
    nats = margins.calibrated(dev)
    target = ls.ODESteer(nats, angle=1.5).to_target(probability=0.9)
    assert target.target == pytest.approx(np.log(9))
    held = ls.ODESteer(margins, angle=1.5).to_target(probability=0.9, activations=dev)
    x = dev.undesired[:8]
    torch.testing.assert_close(target.flow(x), held.flow(x), atol=1e-8, rtol=1e-8)
    reached = target.reach(x).reached
    assert bool(reached.any())
    torch.testing.assert_close(
        nats.h(target.flow(x))[reached], torch.full((int(reached.sum()),), np.log(9)).double()
    )


def test_a_flow_climbs_it_and_it_is_saved(tmp_path: Path) -> None:
    data = planted(d=D)
    for barrier in (
        SketchBarrier.fit(data, n_components=200),
        SketchBarrier.fit_svm(data, degree=3, n_components=200),
    ):
        method, x = ls.ODESteer(barrier, angle=0.3), data.undesired[:5]
        end = method.flow(x)
        assert bool((barrier.h(end) > barrier.h(x)).all())
        torch.testing.assert_close(end.norm(dim=-1), x.norm(dim=-1))
        assert torch.equal(method.with_strength(0).flow(x), x)
        ls.save(method, tmp_path / "method")
        again = ls.load(tmp_path / "method")
        assert torch.equal(again.flow(x), end)
        assert repr(again) == repr(method)
        assert "components of (" in repr(barrier.sketch)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"degree": 0}, "degree=0"),
        ({"n_components": 0}, "n_components=0"),
        ({"gamma": 0.0}, "gamma 0.0 and coef0"),
        ({"C": 0.0}, "C = 0.0: expected a finite number above 0"),
    ],
)
def test_settings_out_of_range_are_refused(options: Any, match: str) -> None:
    for fit in (SketchBarrier.fit, SketchBarrier.fit_svm):
        with pytest.raises(ValueError, match=match):
            fit(planted(d=D), **{"n_components": 50, **options})


def test_broken_parts_and_fits_without_an_end_are_refused(
    monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    data = planted(d=D)
    good = SketchBarrier.fit(data, n_components=50)
    with pytest.raises(ValueError, match=r"weights of shape \(49,\): expected \(50,\)"):
        SketchBarrier(good.weights[1:], 0.0, good.sketch)
    parts = good.sketch.buckets, good.sketch.signs
    with pytest.raises(ValueError, match="a bucket is none of 0 to 9"):
        CountSketch(*parts, 10, 1.0, 1.0)
    with pytest.raises(ValueError, match="vectors of 7 entries: expected 6"):
        good.sketch.features(torch.ones(2, D + 1))
    with pytest.raises(ValueError, match="buckets and signs of shapes"):
        CountSketch(parts[0][1:], parts[1], 50, 1.0, 1.0)
    with pytest.raises(ValueError, match="degree 3: expected 2, where it is a quadratic form"):
        good.sketch.quadratic(good.weights)
    same = LayerActivations(data.desired, data.desired.clone(), 3, Kind.RESID)
    for fit in (SketchBarrier.fit, SketchBarrier.fit_svm):
        with pytest.raises(ValueError, match="h is the same everywhere"):
            fit(same, n_components=50)
    monkeypatch.setattr("lens_steer.barriers.svm._MAX_ITERATIONS", 1)
    with pytest.raises(ValueError, match="vector machine did not converge at C = 100: take a sm"):
        SketchBarrier.fit_svm(data, n_components=50, C=100.0)
