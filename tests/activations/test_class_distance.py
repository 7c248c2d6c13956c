"""d' by hand, areas as scikit-learn has them, and how often chance passes its own 95 %."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lens_steer.activations.class_distance import ClassDistance, areas, d_prime, swaps

HALF = torch.tensor([True, True, False, False])


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_d_prime_is_the_gap_over_the_common_deviation() -> None:
    scores = torch.tensor([[3.0, 1.0], [5.0, 1.0], [0.0, 1.0], [2.0, 5.0]])
    found = d_prime(scores, HALF[None], torch.ones(1, 4).double())
    # Means 4 and 1, both deviations 1; means 1 and 3, deviations 0 and 2, whose rms is sqrt 2.
    np.testing.assert_allclose(found, [[3.0, -2 / 2**0.5]], atol=1e-12)
    repeated, classes = scores.repeat_interleave(2, 0), HALF.repeat_interleave(2)
    twice = d_prime(repeated, classes[None], torch.ones(1, 8).double())
    weighted = d_prime(scores, HALF[None], torch.full((1, 4), 2.0).double())
    np.testing.assert_allclose(twice, found, atol=1e-12)
    np.testing.assert_allclose(weighted, found, atol=1e-12)


def test_d_prime_grows_where_the_area_is_1_already() -> None:
    near = torch.tensor([[1.0], [1.1], [0.0], [0.1]])
    far = near + 10 * HALF[:, None]
    once = torch.ones(1, 4).double()
    assert areas(near, HALF[None]).tolist() == areas(far, HALF[None]).tolist() == [[1.0]]
    assert float(d_prime(far, HALF[None], once)) > 10 * float(d_prime(near, HALF[None], once))


def test_areas_are_those_of_scikit_learn_ties_included() -> None:
    scores = normal(20, 3, seed=0).mul(2).round()
    classes = torch.stack([normal(20, seed=i) > 0 for i in range(4)])
    found = areas(scores, classes)
    for row, own in zip(found, classes, strict=True):
        expected = [roc_auc_score(own.numpy(), scores[:, i].numpy()) for i in range(3)]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_pairs_are_swapped_as_pairs_and_single_examples_exchanged() -> None:
    draw = np.random.default_rng(0)
    paired = swaps(HALF, (0, 1, 0, 1), draw)
    assert bool((paired[:, :2] ^ paired[:, 2:]).all())  # one of each pair is desired
    assert len(paired.unique(dim=0)) == 4
    single = swaps(HALF, range(4), draw)
    assert set(single.sum(dim=1).tolist()) == {2}  # as many of either class as there were
    assert len(single.unique(dim=0)) == 6
    whole = swaps(HALF, ("a", "a", "b", "b"), draw)
    assert len(whole.unique(dim=0)) == 2  # groups of one class are exchanged whole


def test_chance_is_passed_by_chance_in_about_one_of_twenty() -> None:
    passed, runs = 0, 100
    desired = torch.arange(40) < 20
    for seed in range(runs):
        x = normal(40, 8, seed=seed)
        draw = np.random.default_rng(seed)
        found = ClassDistance.of(x, desired, (*range(20), *range(20)), [torch.ones(40)], draw)
        largest = (areas(x, desired[None]) - 0.5).abs().max()
        passed += float(largest) > found.chance_auc
    assert 1 <= passed <= 12  # 5 expected, standard deviation 2.2


def test_a_planted_difference_lies_far_outside_of_a_narrow_band() -> None:
    desired = torch.arange(80) < 40
    x = normal(80, 30, seed=0)
    x[:40, 17] += 2.0
    draw = np.random.default_rng(0)
    found = ClassDistance.of(x, desired, (*range(40), *range(40)), [torch.ones(80)] * 2, draw)
    assert found.chance_auc < 0.25
    assert int(found.d_prime.argmax()) == 17
    assert float(found.d_prime[17]) > 2 * found.chance_d_prime
