"""The paper's sketch against its definition, and the quadratic form that it is."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lens_steer.barriers import CountSketch, PolynomialBarrier
from tests.oracles_barriers import (
    directions,
    planted,
    sketch_by_convolution,
    stacked,
    value,
)

D = 8


def units(n: int = 12, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(directions(np.random.default_rng(seed).normal(size=(n, D))))


@pytest.mark.parametrize("coef0", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("n", [1, 31, 64])
def test_features_are_hashed_vectors_convolved(n: int, coef0: float) -> None:
    sketch = CountSketch.draw(D, n, gamma=0.7, coef0=coef0, seed=4)
    x = units(3)
    parts = sketch.buckets.numpy(), sketch.signs.numpy()
    for row, found in zip(x.numpy(), sketch.features(x).numpy(), strict=True):
        expected = sketch_by_convolution(row, *parts, n, 0.7, coef0)
        np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("coef0", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("n", [31, 500, 8000])
def test_a_head_on_a_sketch_is_one_quadratic_form(n: int, coef0: float) -> None:
    sketch = CountSketch.draw(D, n, gamma=0.7, coef0=coef0, seed=4)
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(n, generator=draw).double()
    x = units()
    a, q, c = sketch.quadratic(weights)
    expected = (sketch.features(x) @ weights).numpy()
    np.testing.assert_allclose(value(x.numpy(), a.numpy(), q.numpy(), c), expected, atol=1e-12)
    torch.testing.assert_close(a, a.T)


def test_the_sketch_approximates_the_kernel() -> None:
    x = units()
    kernel = (0.7 * x @ x.T + 1.5).square()
    products = []
    for seed in range(300):
        phi = CountSketch.draw(D, 64, gamma=0.7, coef0=1.5, seed=seed).features(x)
        products.append(phi @ phi.T)
    found = torch.stack(products)
    error = found.std(dim=0) / 300**0.5
    assert bool(((found.mean(dim=0) - kernel).abs() < 5 * error + 1e-12).all())


def test_the_fit_is_the_sketch_with_scikit_learns_head() -> None:
    data = planted(d=D)
    barrier = PolynomialBarrier.fit_sketch(data, n_components=400, gamma=0.5, C=3.0, seed=9)
    x, labels = stacked(data)
    sketch = CountSketch.draw(D, 400, gamma=0.5, coef0=1.0, seed=9)
    phi = sketch.features(torch.from_numpy(directions(x))).numpy()
    head = LogisticRegression(C=3.0, max_iter=1000).fit(phi, labels)
    expected = head.decision_function(phi) - np.log(90 / 60)
    np.testing.assert_allclose(barrier.h(torch.from_numpy(x)), expected, atol=1e-12)
    assert barrier.settings == {
        **{"n_components": 400, "gamma": 0.5, "coef0": 1.0},
        **{"C": 3.0, "seed": 9},
    }


def test_a_wide_sketch_is_near_the_exact_kernel() -> None:
    data = planted(d=D)
    exact = PolynomialBarrier.fit(data, gamma=1.0, C=1.0)
    x = data.undesired
    errors = []
    for n in (200, 3200):
        fits = [
            PolynomialBarrier.fit_sketch(data, n_components=n, gamma=1.0, seed=s) for s in range(5)
        ]
        errors.append(float(torch.stack([fit.h(x) - exact.h(x) for fit in fits]).square().mean()))
    assert errors[1] < errors[0] / 4


def test_the_seed_decides_and_the_global_state_does_not() -> None:
    data = planted(d=D)
    torch.manual_seed(1)
    first = PolynomialBarrier.fit_sketch(data, n_components=100, seed=1)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = PolynomialBarrier.fit_sketch(data, n_components=100, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.quadratic()[0], again.quadratic()[0])
    other = PolynomialBarrier.fit_sketch(data, n_components=100, seed=2)
    assert not torch.allclose(first.h(data.desired), other.h(data.desired))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"degree": 3}, "degree 3: expected 2"),
        ({"n_components": 0}, "n_components=0"),
        ({"gamma": 0.0}, "gamma 0.0 and coef0"),
        ({"gamma": float("inf")}, "gamma=inf"),
        ({"coef0": -1.0}, "coef0 -1.0"),
        ({"C": 0.0}, "C = 0.0: expected a finite number above 0"),
        ({"C": float("inf")}, "C=inf"),
    ],
)
def test_settings_out_of_range_are_refused(options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PolynomialBarrier.fit_sketch(planted(d=D), **{"n_components": 50, **options})


def test_a_head_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lens_steer.barriers.logistic._MAX_ITERATIONS", 2)
    with pytest.raises(ValueError, match="did not converge at C = 100: take a smaller C"):
        PolynomialBarrier.fit_sketch(planted(d=D), n_components=50, C=100.0)
