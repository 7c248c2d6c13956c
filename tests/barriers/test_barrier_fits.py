"""Exact kernel fits against scikit-learn on explicit features; what every fit refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from lens_steer.activations import LayerActivations
from lens_steer.barriers import FourierBarrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.cross_validation import COSTS, GAMMAS
from lens_steer.barriers.logistic import dual_logistic
from lens_steer.sites import Kind
from tests.oracles_barriers import directions, logistic, monomials, planted, stacked

D = 6
PRIOR = np.log(90 / 60)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(("gamma", "coef0"), [(0.1, 1.0), (1.0, 0.3), (3.0, 0.0)])
def test_the_kernel_fit_is_logistic_regression_on_monomials(
    gamma: float, coef0: float, C: float
) -> None:
    data, new = planted(d=D), planted(d=D, seed=1)
    x, labels = stacked(data)
    head = logistic(C).fit(monomials(directions(x), gamma, coef0), labels)
    barrier = PolynomialBarrier.fit(data, gamma=gamma, coef0=coef0, C=C)
    for rows in (data, new):
        at, _ = stacked(rows)
        expected = head.decision_function(monomials(directions(at), gamma, coef0)) - PRIOR
        np.testing.assert_allclose(barrier.h(torch.from_numpy(at)), expected, atol=1e-6)
    assert barrier.settings == {"gamma": gamma, "C": C, "coef0": coef0}


def test_the_dual_weights_meet_their_conditions() -> None:
    data = planted(d=D)
    x, labels = stacked(data)
    unit = torch.from_numpy(directions(x))
    gram = (unit @ unit.T + 1).square()
    for C in (1e-3, 1.0, 1e5):
        found = dual_logistic(gram, torch.from_numpy(labels == 1), C)
        weights = found.weights.numpy()
        p = expit(gram.numpy() @ weights + found.intercept)
        np.testing.assert_allclose(weights, C * (labels - p), atol=1e-7 * C)
        assert abs(weights.sum()) < 1e-6 * C


@pytest.mark.parametrize("fit", [PolynomialBarrier.fit, PolynomialBarrier.fit_sketch])
def test_shares_of_the_classes_say_nothing(fit: Any) -> None:
    """Held to no slope at all, the logit is that of the prior, and h is 0."""
    data = planted(d=D)
    h = fit(data, gamma=1.0, C=1e-7).h(data.undesired)
    assert float(h.abs().max()) < 1e-4


def brute(data: LayerActivations, gammas: Any, costs: Any, seed: int) -> dict[Any, float]:
    """Held-out log-loss in every cell: scikit-learn's own fits, on explicit features."""
    x, labels = stacked(data)
    unit, found = directions(x), {}
    for gamma in gammas:
        phi = monomials(unit, gamma, 1.0)
        for C in costs:
            p = np.empty(len(labels))
            for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, labels):
                p[test] = logistic(C).fit(phi[train], labels[train]).predict_proba(phi[test])[:, 1]
            found[gamma, C] = float(log_loss(labels, p))
    return found


@pytest.mark.parametrize("seed", [0, 3])
def test_cross_validation_on_one_gram_matrix_is_the_brute_force_one(seed: int) -> None:
    data = planted(50, 40, D, seed=seed)
    losses = brute(data, GAMMAS, COSTS, seed)
    best, knobs = (0.0, 0.0), ({}, {"gamma": 0.1}, {"C": 10.0})
    for given in knobs:
        cells = {
            (g, c): loss
            for (g, c), loss in losses.items()
            if given.get("gamma", g) == g and given.get("C", c) == c
        }
        best = min(cells, key=lambda cell: cells[cell])
        settings = PolynomialBarrier.fit(data, seed=seed, **given).settings  # type: ignore[arg-type]
        assert (settings["gamma"], settings["C"]) == best
        assert abs(float(settings["held_out_loss"]) - cells[best]) < 1e-6
    same = PolynomialBarrier.fit(data, gamma=best[0], C=best[1])
    chosen = PolynomialBarrier.fit(data, C=best[1], seed=seed)
    assert torch.equal(same.h(data.desired), chosen.h(data.desired))


def numpy_state() -> np.ndarray:
    state: Any = np.random.get_state()  # noqa: NPY002
    return np.array(state[1])


def test_the_same_seed_gives_the_same_bytes() -> None:
    data = planted(d=D)
    state = torch.get_rng_state(), np.array(numpy_state())
    fits = [kind.fit(data, seed=2) for kind in (PolynomialBarrier, LinearBarrier, FourierBarrier)]
    again = [kind.fit(data, seed=2) for kind in (PolynomialBarrier, LinearBarrier, FourierBarrier)]
    for one, two in zip(fits, again, strict=True):
        assert one.settings == two.settings
        assert torch.equal(one.h(data.desired), two.h(data.desired))
    assert torch.equal(state[0], torch.get_rng_state())
    np.testing.assert_array_equal(state[1], numpy_state())


def test_float32_activations_give_float32_barriers() -> None:
    data = planted(d=D)
    single = LayerActivations.from_tensors(data.desired, data.undesired, layer=3)
    for kind in (PolynomialBarrier, LinearBarrier, FourierBarrier):
        barrier, exact = kind.fit(single, C=1.0), kind.fit(data, C=1.0)
        assert barrier.h(single.desired).dtype == torch.float32
        torch.testing.assert_close(
            barrier.h(single.desired).double(), exact.h(data.desired), atol=2e-3, rtol=1e-3
        )


def test_rows_of_both_classes_alike_are_fitted() -> None:
    """A singular Gram matrix, and labels that no h can tell apart there: p = 1/2 is right."""
    data = planted(d=D)
    both = torch.cat([data.desired, data.undesired[:30]])
    doubled = LayerActivations(both, torch.cat([data.undesired, data.undesired[:1]]), 3, Kind.RESID)
    x, labels = stacked(doubled)
    head = logistic(10.0).fit(monomials(directions(x), 1.0, 1.0), labels)
    h = PolynomialBarrier.fit(doubled, gamma=1.0, C=10.0).h(torch.from_numpy(x))
    expected = head.decision_function(monomials(directions(x), 1.0, 1.0)) - np.log(120 / 61)
    np.testing.assert_allclose(h, expected, atol=1e-6)


def of(desired: torch.Tensor, undesired: torch.Tensor) -> LayerActivations:
    return LayerActivations.from_tensors(desired, undesired)


DRAW = torch.randn(40, D, generator=torch.Generator().manual_seed(0)) + 1
SAME = torch.ones(40, D)
BOTH = ("exact", "sketch")
EVERY = ("exact", "sketch", "probe", "means", "fourier")
FITS: dict[str, Any] = {
    "exact": PolynomialBarrier.fit,
    "sketch": lambda a: PolynomialBarrier.fit_sketch(a, n_components=50),
    "probe": LinearBarrier.fit,
    "means": LinearBarrier.fit_means,
    "fourier": lambda a: FourierBarrier.fit(a, n_components=50),
}
BAD: list[tuple[tuple[str, ...], Any, str]] = [
    (EVERY, lambda: of(DRAW[:, None], DRAW[:, None]), r"shape \(40, 1, 6\): expected \[n, d\]"),
    (EVERY, lambda: of(DRAW[:, :1], DRAW[:, :1]), r"expected \[n, d\] with d > 1"),
    (EVERY, lambda: of(DRAW[:0], DRAW), "no desired activations"),
    (EVERY, lambda: of(DRAW, DRAW[:0]), "no undesired activations"),
    (EVERY, lambda: of(DRAW, DRAW * torch.nan), "not finite"),
    (BOTH, lambda: of(torch.cat([DRAW, torch.zeros(2, D)]), -DRAW), "2 of 82 activations are 0"),
    (BOTH, lambda: of(SAME, 2 * SAME), "all activations have one direction"),
    (("exact", "sketch", "fourier"), lambda: of(DRAW, DRAW), "h is the same everywhere"),
    (("probe",), lambda: of(DRAW, DRAW), "h is the same everywhere"),
    (("exact", "probe"), lambda: of(DRAW, -DRAW[:3]), "5 folds and 3 activations in the smaller"),
    (("probe",), lambda: of(SAME, SAME), "all activations are the same"),
    (("means",), lambda: of(SAME, SAME[:3]), "the weight is 0"),
    (("fourier",), lambda: of(SAME, SAME), "half of the distances"),
]


@pytest.mark.parametrize(
    ("fit", "data", "match"), [(fit, data, match) for fits, data, match in BAD for fit in fits]
)
def test_activations_that_cannot_be_fitted_are_refused(fit: str, data: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        FITS[fit](data())


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        (PolynomialBarrier, {"gamma": 0.0}, r"gamma = 0.0: expected a finite number above 0"),
        (PolynomialBarrier, {"gamma": -1.0, "C": 1.0}, "gamma = -1.0"),
        (PolynomialBarrier, {"gamma": float("nan"), "C": 1.0}, "gamma=nan"),
        (PolynomialBarrier, {"coef0": -0.1}, "coef0 = -0.1"),
        (PolynomialBarrier, {"C": 0.0}, "C = 0.0"),
        (PolynomialBarrier, {"C": float("inf")}, "C=inf"),
        (PolynomialBarrier, {"folds": 1}, "1 folds"),
        (LinearBarrier, {"C": -1.0}, "C = -1.0"),
        (LinearBarrier, {"folds": 61}, "61 folds and 60"),
        (FourierBarrier, {"C": 0.0}, "C = 0.0"),
        (FourierBarrier, {"n_components": 0}, "n_components=0"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        kind.fit(planted(d=D), **options)


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lens_steer.barriers.logistic._NEWTON_STEPS", 2)
    with pytest.raises(ValueError, match="did not converge in 2 Newton steps at C = 100"):
        PolynomialBarrier.fit(planted(d=D), gamma=1.0, C=100.0)


def test_a_stiff_fit_is_still_scikit_learns() -> None:
    """More examples than monomials, classes that overlap, and hardly a penalty."""
    data = planted(300, 300, 8, seed=3, shift=0.2)
    x, labels = stacked(data)
    phi = monomials(directions(x), 10.0, 1.0)
    expected = logistic(1000.0).fit(phi, labels).decision_function(phi)
    h = PolynomialBarrier.fit(data, gamma=10.0, C=1000.0).h(torch.from_numpy(x))
    np.testing.assert_allclose(h, expected, atol=1e-6)


@pytest.mark.parametrize(("gamma", "C"), [(10.0, 1e6), (1000.0, 1e3)])
def test_newton_steps_that_overshoot_are_shortened(gamma: float, C: float) -> None:
    x, labels = stacked(planted(3, 30, 5))
    unit = torch.from_numpy(directions(x))
    gram = (gamma * unit @ unit.T + 1).square()
    found = dual_logistic(gram, torch.from_numpy(labels == 1), C)
    p = expit(gram.numpy() @ found.weights.numpy() + found.intercept)
    np.testing.assert_allclose(found.weights, C * (labels - p), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("d", "C"), [(2, 1e6), (5, 1e9)])
def test_a_penalty_too_small_for_float64_is_an_error(d: int, C: float) -> None:
    with pytest.raises(ValueError, match=r"C = 1e\+0[69].*take a smaller C"):
        PolynomialBarrier.fit(planted(100, 100, d, shift=0.1), gamma=1e4, C=C)
