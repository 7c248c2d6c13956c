"""RepE: components of differences whose mean is kept, their sign and their scale."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.sites import Kind, Site

D = 12
FLOAT32: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Array = np.ndarray


def classes(n: int = 30, m: int = 30, *, seed: int = 0, gap: float = 1.0) -> tuple[Tensor, Tensor]:
    """Two clouds, float32, of different spreads along the axes."""
    draw = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.2, 1.0, D)
    shift = gap * torch.randn(D, generator=draw)
    d, u = (torch.randn(k, D, generator=draw) * scales for k in (n, m))
    return d + shift + 5, u + 5


def first_of(differences: Array, towards: Array) -> Array:
    """Top eigenvector of the second moment of differences, whatever their signs."""
    vector = np.linalg.eigh(differences.T @ differences)[1][:, -1]
    return vector * np.sign(vector @ towards)


def assert_fits(found: ls.RepE, d: Tensor, u: Tensor, differences: Array) -> None:
    up, down = d.double().numpy().mean(0), u.double().numpy().mean(0)
    direction = first_of(differences, up - down)
    np.testing.assert_allclose(found.direction.numpy(), direction, **FLOAT32)
    assert found.gap == pytest.approx(direction @ (up - down), rel=1e-5)
    assert found.centre == pytest.approx(direction @ (up + down) / 2, rel=1e-5)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (9, 25), (2, 2)])
def test_the_direction_is_the_component_of_every_difference(n: int, m: int) -> None:
    d, u = classes(n, m)
    each = (d.double().numpy()[:, None] - u.double().numpy()[None]).reshape(-1, D)
    assert_fits(ls.RepE.fit(d, u, layer=0), d, u, each)


def test_of_pairs_it_is_the_component_of_their_differences() -> None:
    d, u = classes()
    common = 4 * torch.randn(len(d), D, generator=torch.Generator().manual_seed(3))
    found = ls.RepE.fit_pairs(d + common, u + common, layer=0)
    own = (d + common).double().numpy() - (u + common).double().numpy()
    assert_fits(found, d + common, u + common, own)
    # What pairs have in common is in no difference of theirs, but in those of all.
    shift = (d - u).mean(0)
    cosines = [
        abs(float(x.direction @ shift / shift.norm()))
        for x in (found, ls.RepE.fit(d + common, u + common, layer=0))
    ]
    assert cosines[0] > cosines[1]


def test_randomly_signed_differences_have_that_component_on_average() -> None:
    """The paper draws signs, and centres."""
    from sklearn.decomposition import PCA

    d, u = classes(4000, 4000)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(4000, 1))
    components: Any = PCA(n_components=1).fit(signs * (d - u).double().numpy()).components_
    found = ls.RepE.fit_pairs(d, u, layer=0).direction.double().numpy()
    assert abs(components[0] @ found) > 0.999


def test_a_planted_direction_is_found_and_the_mean_is_not_centred_away() -> None:
    """All pairs differ by the same vector: centred differences would be noise alone."""
    draw = torch.Generator().manual_seed(1)
    planted = torch.randn(D, generator=draw)
    u = torch.randn(50, D, generator=draw)
    d = u + planted + 1e-3 * torch.randn(50, D, generator=draw)
    found = ls.RepE.fit_pairs(d, u, layer=0)
    torch.testing.assert_close(found.direction, planted / planted.norm(), rtol=1e-3, atol=1e-3)
    assert found.gap == pytest.approx(float(planted.norm()), rel=1e-3)


def test_desired_activations_score_higher_whatever_the_order_and_half_way_is_0() -> None:
    for seed in range(5):
        d, u = classes(seed=seed)
        found, back = ls.RepE.fit(d, u, layer=0), ls.RepE.fit(u, d, layer=0)
        assert found.scores(d).mean() > 0 > found.scores(u).mean()
        assert float(found.scores(d).mean()) == pytest.approx(found.gap / 2, rel=1e-4)
        torch.testing.assert_close(back.direction, -found.direction, **FLOAT32)
        assert found.scores(d[0]).shape == ()
        assert found.scores(d.reshape(5, 6, D)).shape == (5, 6)


def test_strength_1_closes_the_gap_and_the_coefficient_multiplies_it() -> None:
    d, u = classes()
    found = ls.RepE.fit(d, u, layer=0)
    moved = found.transform(u)
    assert float(found.scores(moved).mean()) == pytest.approx(found.gap / 2, rel=1e-4)
    push = found.vector_field(u)
    torch.testing.assert_close(push, (found.gap * found.direction).expand(u.shape), **FLOAT32)
    twice = ls.RepE.fit(d, u, layer=0, coefficient=2.0)
    torch.testing.assert_close(twice.transform(u), found.with_strength(2).transform(u), **FLOAT32)
    torch.testing.assert_close(found.transform(u), u + push, **FLOAT32)
    assert torch.equal(ls.RepE.fit(d, u, layer=0, coefficient=0).transform(u), u)


def test_order_of_rows_and_a_shift_of_everything_change_nothing() -> None:
    d, u = classes(20, 30)
    found = ls.RepE.fit(d, u, layer=0)
    other = ls.RepE.fit(d.flip(0) + 2.0, u.flip(0) + 2.0)
    torch.testing.assert_close(found.direction, other.direction, **FLOAT32)
    assert found.gap == pytest.approx(other.gap, rel=1e-4)


def test_captured_pairs_know_that_they_are(llama: Any, pairs: ls.ContrastivePairs) -> None:
    at = ls.capture(llama, pairs, layers=[2], progress=False).at(layer=2)
    own, of_pairs = ls.RepE.fit(at), ls.RepE.fit_pairs(at.desired, at.undesired, layer=2)
    assert torch.equal(own.direction, of_pairs.direction)
    loose = ls.ContrastivePairs(pairs.desired, pairs.undesired, paired=False)
    every = ls.RepE.fit(ls.capture(llama, loose, layers=[2], progress=False).at(layer=2))
    assert torch.equal(every.direction, ls.RepE.fit(at.desired, at.undesired, layer=2).direction)
    assert not torch.equal(every.direction, own.direction)


def test_heads_are_one_vector(llama: Any, pairs: ls.ContrastivePairs) -> None:
    at = ls.capture(llama, pairs, "head", layers=[1], progress=False).at(layer=1)
    found = ls.RepE.fit(at)
    assert found.sites == (Site(1, Kind.HEAD),)
    assert found.direction.shape == at.desired.shape[1:]
    flat = ls.RepE.fit_pairs(at.desired.flatten(1), at.undesired.flatten(1), layer=0)
    assert torch.equal(found.direction.flatten(), flat.direction)


@pytest.mark.parametrize("n", [1, 0])
def test_too_few_rows_are_refused(n: int) -> None:
    d, u = classes()
    with pytest.raises(ValueError, match="two or more|at least one|no desired"):
        ls.RepE.fit(d[:n], u, layer=0)


def test_pairs_come_in_equal_counts(untyped: None) -> None:
    d, u = classes(5, 6)
    with pytest.raises(ValueError, match=r"5 desired and 6 undesired.*expected pairs"):
        ls.RepE.fit_pairs(d, u, layer=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": torch.ones(4)}, "length 2: expected 1"),
        ({"direction": torch.full((4,), float("nan"))}, "length nan"),
        ({"gap": 0.0}, "a distance above 0"),
        ({"gap": float("inf")}, "finite"),
        ({"centre": float("nan")}, "finite"),
        ({"coefficient": float("nan")}, "coefficient=nan"),
        ({"strength": float("inf")}, "strength"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    own: dict[str, Any] = {"direction": torch.eye(4)[0], "gap": 1.0, "centre": 0.0}
    with pytest.raises(ValueError, match=message):
        ls.RepE(Site(0), **own | given)


def test_a_component_that_is_at_right_angles_to_the_class_difference_is_refused() -> None:
    draw = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(D, D, generator=draw)).Q
    size = torch.randn(20, generator=draw)
    difference = torch.zeros(40, D)
    difference[:, 0] = torch.cat([10 * size, -10 * size])  # the component, whose mean is 0
    difference[:, 1] = 0.1  # the class difference
    for rows in (difference, difference @ turn):
        with pytest.raises(ValueError, match="does not tell the class means apart"):
            ls.RepE.fit_pairs(rows, torch.zeros(40, D))
