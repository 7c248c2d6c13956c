"""Features against float64 numpy; where there is none, none is made of rounding."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from tests.conftest import LAYERS, WIDTH

DEPTH, SIZE = 3, 5
SINGLE = 1e-6  # float32


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_they_are_the_mean_differences_of_captured_activations(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(model, pairs, "resid", progress=False)
    found = ls.FeatureDirections.of(resid)
    assert resid.embedded_desired is not None
    assert resid.embedded_undesired is not None
    sides = []
    for below, rest in (
        (resid.embedded_desired, resid.desired),
        (resid.embedded_undesired, resid.undesired),
    ):
        sides.append(np.concatenate([below[:, None], rest], axis=1).astype(np.float64))
    assert found.directions.shape == (LAYERS + 1, WIDTH)
    means = [side.mean(axis=0) for side in sides]
    np.testing.assert_allclose(found.desired, means[0], rtol=SINGLE, atol=SINGLE)
    np.testing.assert_allclose(found.undesired, means[1], rtol=SINGLE, atol=SINGLE)
    sizes = np.linalg.norm(means[0] - means[1], axis=-1)
    np.testing.assert_allclose(found.sizes, sizes, rtol=1e-5, atol=1e-4)
    scaled = found.sizes[1:, None] * found.directions[1:]
    np.testing.assert_allclose(scaled, (means[0] - means[1])[1:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.directions[1:].norm(dim=-1), 1.0, rtol=SINGLE)


def test_one_last_token_has_no_feature_at_the_embedding(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    found = ls.FeatureDirections.of(ls.capture(llama, pairs, "resid", progress=False))
    assert found.present.tolist() == [False] + [True] * LAYERS
    assert float(found.sizes[0]) == 0.0
    assert float(found.directions[0].abs().max()) == 0.0


def test_rounding_is_no_feature_and_a_small_difference_is() -> None:
    offset = 100 + normal(1, DEPTH, SIZE, seed=0)
    desired = offset.expand(40, -1, -1).clone()
    undesired = desired.clone()
    undesired[:, 0] *= 1 + 1e-7  # some of it is rounded away
    undesired[:, 1] += 0.01 * torch.eye(SIZE)[2]
    found = ls.FeatureDirections.of_states(desired, undesired)
    assert found.present.tolist() == [False, True, False]
    assert float(found.directions[1, 2]) == pytest.approx(-1.0, abs=1e-3)
    assert float(found.sizes[1]) == pytest.approx(0.01, rel=1e-2)  # float32 at a hundred


def test_counts_may_differ_and_order_is_no_matter() -> None:
    desired, undesired = normal(7, DEPTH, SIZE, seed=1), normal(4, DEPTH, SIZE, seed=2)
    found = ls.FeatureDirections.of_states(desired, undesired)
    turned = ls.FeatureDirections.of_states(desired.flip(0), undesired.flip(0))
    torch.testing.assert_close(turned.directions, found.directions)
    back = ls.FeatureDirections.of_states(undesired, desired)
    assert torch.equal(back.directions, -found.directions)
    assert torch.equal(back.sizes, found.sizes)
    assert torch.equal(back.desired, found.undesired)


@given(st.floats(1e-3, 1e3), st.integers(0, 5))
def test_scaling_the_states_scales_the_sizes_alone(scale: float, seed: int) -> None:
    desired, undesired = normal(2, 6, DEPTH, SIZE, seed=seed)
    found = ls.FeatureDirections.of_states(desired, undesired)
    scaled = ls.FeatureDirections.of_states(scale * desired, scale * undesired)
    torch.testing.assert_close(scaled.directions, found.directions, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scaled.sizes, scale * found.sizes, atol=0, rtol=1e-5)


def test_float64_stays_float64() -> None:
    desired, undesired = normal(2, 6, DEPTH, SIZE, seed=3).double()
    found = ls.FeatureDirections.of_states(desired, undesired)
    for value in (found.directions, found.sizes, found.desired, found.undesired):
        assert value.dtype == torch.float64


def test_other_activations_are_refused(llama: Any, pairs: ls.ContrastivePairs) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    with pytest.raises(ValueError, match="residual stream with its embedding"):
        ls.FeatureDirections.of(ls.capture(llama, pairs, "mlp_out", progress=False))
    with pytest.raises(ValueError, match="residual stream with its embedding"):
        ls.FeatureDirections.of(replace(resid, embedded_desired=None, embedded_undesired=None))
    with pytest.raises(ValueError, match="every layer, from 0"):
        ls.FeatureDirections.of(ls.capture(llama, pairs, "resid", layers=[1, 2], progress=False))
