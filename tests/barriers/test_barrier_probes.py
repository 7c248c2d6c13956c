"""Linear barriers and Fourier features against scikit-learn and closed forms."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from lens_steer.activations import LayerActivations
from lens_steer.barriers import FourierBarrier, LinearBarrier
from lens_steer.barriers.cross_validation import COSTS
from lens_steer.sites import Kind
from tests.oracles_barriers import logistic, planted, stacked

D = 6
PRIOR = np.log(90 / 60)


def test_the_probe_is_scikit_learns_on_scaled_activations() -> None:
    data = planted(d=D)
    x, labels = stacked(data)
    z = (x - x.mean(axis=0)) / (x - x.mean(axis=0)).std()
    for C in (0.01, 1.0, 100.0):
        barrier = LinearBarrier.fit(data, C=C)
        expected = logistic(C).fit(z, labels).decision_function(z) - PRIOR
        np.testing.assert_allclose(barrier.h(torch.from_numpy(x)), expected, atol=1e-3)
    losses = []
    for C in COSTS:
        p = np.empty(len(labels))
        for train, test in StratifiedKFold(5, shuffle=True, random_state=4).split(x, labels):
            p[test] = logistic(C).fit(z[train], labels[train]).predict_proba(z[test])[:, 1]
        losses.append(log_loss(labels, p))
    chosen = LinearBarrier.fit(data, seed=4)
    assert chosen.settings["C"] == COSTS[int(np.argmin(losses))]
    assert abs(float(chosen.settings["held_out_loss"]) - min(losses)) < 1e-4
    assert torch.equal(chosen.weight, LinearBarrier.fit(data, C=chosen.settings["C"]).weight)  # type: ignore[arg-type]


def test_entries_of_very_different_sizes_do_not_stop_the_fit() -> None:
    """Embeddings are such; scikit-learn's default solver gave up at C = 1000."""
    data = planted(d=40)
    sizes = torch.logspace(-3, 2, 40).double()
    uneven = LayerActivations.from_tensors(data.desired * sizes, data.undesired * sizes)
    barrier = LinearBarrier.fit(uneven, C=1000.0)
    x, labels = stacked(uneven)
    centre = x.mean(axis=0)
    size = (x - centre).std()
    logits = (
        barrier.h(torch.from_numpy(x)).numpy()
        + np.log(len(uneven.desired))
        - np.log(len(uneven.undesired))
    )
    wrong = labels - 1 / (1 + np.exp(-logits))
    slope = barrier.weight.numpy() * size - 1000.0 * wrong @ ((x - centre) / size)
    assert np.abs(slope).max() < 1e-3 * 1000.0


def test_a_probe_knows_no_units_and_no_offset() -> None:
    data = planted(d=D)
    moved = LayerActivations(50 * data.desired + 7, 50 * data.undesired + 7, 3, Kind.RESID)
    one, two = LinearBarrier.fit(data, C=1.0), LinearBarrier.fit(moved, C=1.0)
    torch.testing.assert_close(two.h(moved.desired), one.h(data.desired), atol=1e-3, rtol=1e-3)


def test_the_barrier_of_means_is_the_ratio_of_two_gaussians() -> None:
    data = planted(d=D)
    barrier = LinearBarrier.fit_means(data)
    x = data.undesired
    up, down = ((x - side.mean(dim=0)).square().sum(dim=-1) for side in (data.desired, x))
    torch.testing.assert_close(barrier.h(x), (down - up) / 2)
    torch.testing.assert_close(barrier.weight, data.desired.mean(dim=0) - x.mean(dim=0))


def test_fourier_features_are_the_gaussian_kernels_and_the_head_scikit_learns() -> None:
    data = planted(d=D)
    barrier = FourierBarrier.fit(data, n_components=50_000, seed=1)
    x, labels = stacked(data)
    gaps = np.linalg.norm(x[:, None] - x[None], axis=-1)
    sigma = np.median(gaps[np.triu_indices(len(x), 1)]) / 2**0.5
    assert abs(float(barrier.settings["spread"]) / sigma - 1) < 1e-3
    angles = x @ barrier.frequencies.numpy().T + barrier.phases.numpy()
    phi = (2 / 50_000) ** 0.5 * np.cos(angles)
    np.testing.assert_allclose(phi @ phi.T, np.exp(-(gaps**2) / (2 * sigma**2)), atol=0.03)
    expected = LogisticRegression(max_iter=1000).fit(phi, labels).decision_function(phi) - PRIOR
    np.testing.assert_allclose(barrier.h(torch.from_numpy(x)), expected, atol=1e-10)
