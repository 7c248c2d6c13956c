"""Directional ablation: what it takes out, what it leaves, and where."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.sites import Kind, Site
from tests.interventions import padded, rows_of, run, watched

D = 10
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def made(*, setpoint: float = 0.0) -> ls.Ablation:
    return ls.Ablation.from_direction(drawn(D, seed=9), [Site(2)], setpoint=setpoint)


def oracle(x: Tensor, r: Tensor, strength: float, setpoint: float) -> np.ndarray:
    """(I - s r r') x + s setpoint r, as matrices."""
    rows, unit = x.numpy(), r.numpy() / np.linalg.norm(r.numpy())
    keep = np.eye(len(unit)) - strength * np.outer(unit, unit)
    return rows @ keep.T + strength * setpoint * unit


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, -0.5, 2.0])
@pytest.mark.parametrize("setpoint", [0.0, -1.5])
def test_it_is_its_equation(strength: float, setpoint: float) -> None:
    x = drawn(3, 4, D)
    found = made(setpoint=setpoint).with_strength(strength).transform(x)
    expected = oracle(x, drawn(D, seed=9), strength, setpoint)
    np.testing.assert_allclose(found.numpy(), expected, **EXACT)


def test_strength_1_takes_the_direction_out_whole_and_twice_is_once() -> None:
    x, method = drawn(50, D), made()
    found = method.transform(x)
    torch.testing.assert_close(found @ method.direction, torch.zeros(50).double(), **EXACT)
    torch.testing.assert_close(method.transform(found), found, **EXACT)
    assert bool((found.norm(dim=-1) <= x.norm(dim=-1)).all())
    other = drawn(D, seed=3)
    other = other - (other @ method.direction) * method.direction
    torch.testing.assert_close(found @ other, x @ other, **EXACT)


def test_shares_compose() -> None:
    x, method = drawn(5, D), made(setpoint=0.7)
    for s, t in ((0.3, 0.5), (0.5, 0.5)):
        both = method.with_strength(t).transform(method.with_strength(s).transform(x))
        once = method.with_strength(1 - (1 - s) * (1 - t)).transform(x)
        torch.testing.assert_close(both, once, **EXACT)


def test_strength_2_mirrors_and_keeps_the_norm() -> None:
    x, method = drawn(5, D), made().with_strength(2)
    torch.testing.assert_close(method.transform(x).norm(dim=-1), x.norm(dim=-1), **EXACT)
    torch.testing.assert_close(method.transform(method.transform(x)), x, **EXACT)


def test_a_setpoint_is_where_every_projection_goes() -> None:
    x, method = drawn(5, D), made(setpoint=-2.5)
    reached = method.transform(x) @ method.direction
    torch.testing.assert_close(reached, torch.full((5,), -2.5).double(), **EXACT)


def test_the_direction_has_no_sign_and_no_length_where_nothing_is_aimed_at() -> None:
    x, r = drawn(5, D), drawn(D, seed=9)
    one, other = (ls.Ablation.from_direction(k * r, [Site(0)]).transform(x) for k in (1.0, -30.0))
    torch.testing.assert_close(one, other, **EXACT)


def test_a_fit_takes_one_layers_direction_everywhere(llama: Any, pairs: Any) -> None:
    at = ls.capture(llama, pairs, progress=False)
    method = ls.Ablation.fit(at, layer=2)
    assert method.sites == tuple(map(Site, range(4)))
    difference = at.desired.double().mean(0) - at.undesired.double().mean(0)
    unit = (difference[2] / difference[2].norm()).float()
    torch.testing.assert_close(method.direction, unit, rtol=1e-5, atol=1e-6)
    few = ls.Ablation.fit(at, layer=2, layers=[3, 1], setpoint=1.0)
    assert few.sites == (Site(1), Site(3))
    assert few.setpoint == 1.0
    assert ls.Ablation.fit(at.at(2)).sites == (Site(2),)
    batch = padded(llama, rows_of(llama), "left")
    with torch.no_grad(), ls.steered(llama, method, scope="all", sink=True):
        for site in method.sites:
            x = watched(llama, site, lambda: run(llama, batch.tokens, batch.mask))[batch.mask]
            seen = (x @ method.direction).abs() / x.norm(dim=-1)
            assert float(seen.max()) < 1e-5


def test_whole_layers_of_heads_are_one_vector(llama: Any, pairs: Any) -> None:
    at = ls.capture(llama, pairs, "head", layers=[1, 3], progress=False)
    method = ls.Ablation.fit(at, layer=1)
    assert method.sites == (Site(1, Kind.HEAD), Site(3, Kind.HEAD))
    found = method.transform(at.desired[:, 0], method.sites[0])
    assert float((found * method.direction).sum(dim=(1, 2)).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"at": ()}, "one or more, each once"),
        ({"at": (Site(0), Site(0))}, "each once"),
        ({"direction": 2 * torch.eye(4)[0]}, "length 2: expected 1"),
        ({"direction": torch.full((4,), float("inf"))}, "expected 1"),
        ({"setpoint": float("nan")}, "setpoint=nan"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    own: dict[str, Any] = {"at": (Site(0),), "direction": torch.eye(4)[0]}
    with pytest.raises(ValueError, match=message):
        ls.Ablation(**own | given)


def test_fits_without_a_direction_are_refused(llama: Any, pairs: Any) -> None:
    at = ls.capture(llama, pairs, layers=[1, 2], progress=False)
    for layer, message in ((None, "say whose direction"), (3, "was not captured")):
        with pytest.raises(ValueError, match=message):
            ls.Ablation.fit(at, layer=layer)
    for wrong in (torch.zeros(4), torch.full((4,), float("nan"))):
        with pytest.raises(ValueError, match="expected a direction"):
            ls.Ablation.from_direction(wrong, [Site(0)])
