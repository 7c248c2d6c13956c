"""Transport maps against float64 numpy, POT, planted answers, and on every architecture."""

from pathlib import Path
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.models import encode
from lens_steer.steering import CAA, Displacement, LinearAcT, MeanAcT, MiMiC
from tests.interventions import PROMPTS, drawn, run, watched

Array = np.ndarray
METHODS: tuple[Any, ...] = (MeanAcT, LinearAcT, MiMiC)
D = 5
# Parameters and products in float32 against float64, of entries of order 1 to 10.
ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-5}


def classes(n: int = 40, m: int = 30, d: int = D, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated Gaussians of different means and covariances."""
    mix = drawn((d, d), seed=seed + 1, size=0.5) + torch.eye(d)
    desired = drawn((n, d), seed=seed + 2) @ mix + 2 * drawn((d,), seed=seed + 3)
    return desired, drawn((m, d), seed=seed + 4) * (1 + torch.arange(d)) - 1.0


def moved(method: Displacement, x: Tensor) -> Array:
    return method.transform(x).double().numpy()


# ---- oracles ----


def linear_oracle(desired: Tensor, undesired: Tensor, x: Tensor) -> Array:
    """omega x + beta of each coordinate: numpy's own fit of the sorted samples."""
    up, down, at = (np.asarray(t.double()) for t in (desired, undesired, x))
    n = max(len(up), len(down))
    levels = np.linspace(0, 1, n)
    found = np.empty_like(at)
    for i in range(at.shape[1]):
        a = np.quantile(down[:, i], levels)
        b = np.quantile(up[:, i], levels)
        omega = np.polyfit(a, b, 1)[0] if np.ptp(down[:, i]) else 1.0
        found[:, i] = up[:, i].mean() + omega * (at[:, i] - down[:, i].mean())
    return found


@pytest.mark.parametrize(("n", "m"), [(30, 30), (40, 30), (7, 30), (2, 3)])
@pytest.mark.parametrize("strength", [1.0, 0.3, -1.0, 2.0])
def test_linear_act_is_least_squares_of_the_quantiles(n: int, m: int, strength: float) -> None:
    desired, undesired = classes(n, m)
    x = 3 * drawn((20, D), seed=9)
    method = LinearAcT.fit(desired, undesired, layer=2).with_strength(strength)
    image, at = linear_oracle(desired, undesired, x), x.double().numpy()
    np.testing.assert_allclose(moved(method, x), at + strength * (image - at), **ROUNDING)
    field = method.vector_field(x).double().numpy()
    np.testing.assert_allclose(field, image - at, **ROUNDING)


def test_linear_act_matches_the_samples_themselves() -> None:
    """An affine class: each activation goes to the one of its rank."""
    undesired = drawn((25, D))
    desired = (torch.arange(D) + 0.5) * undesired + torch.arange(D)
    method = LinearAcT.fit(desired[torch.arange(25).flip(0)], undesired, layer=0)
    np.testing.assert_allclose(moved(method, undesired), desired.double().numpy(), **ROUNDING)


def mimic_oracle(desired: Tensor, undesired: Tensor, x: Tensor, s: float) -> Array:
    """POT's map between the Gaussians, the covariances shrunk by hand."""
    up, down, at = (np.asarray(t.double()) for t in (desired, undesired, x))
    d = at.shape[1]
    shrunk = []
    for each in (down, up):
        covariance = np.cov(each.T, bias=True)
        shrunk.append((1 - s) * covariance + s * np.trace(covariance) / d * np.eye(d))
    means = down.mean(axis=0), up.mean(axis=0)
    found: Any = ot.gaussian.bures_wasserstein_mapping(*means, *shrunk)
    A, b = found
    return at @ A + b


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("strength", [1.0, 0.3, -1.0])
def test_mimic_is_pots_map(shrinkage: float, strength: float) -> None:
    desired, undesired = classes()
    x = 3 * drawn((20, D), seed=9)
    method = MiMiC.fit(desired, undesired, layer=2, shrinkage=shrinkage).with_strength(strength)
    image, at = mimic_oracle(desired, undesired, x, shrinkage), x.double().numpy()
    np.testing.assert_allclose(moved(method, x), at + strength * (image - at), **ROUNDING)
    np.testing.assert_allclose(method.vector_field(x).double().numpy(), image - at, **ROUNDING)


def test_mimic_carries_mean_and_covariance_over() -> None:
    desired, undesired = classes()
    method = MiMiC.fit(desired, undesired, layer=0)
    found, wanted = moved(method, undesired), desired.double().numpy()
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), **ROUNDING)
    np.testing.assert_allclose(
        np.cov(found.T, bias=True), np.cov(wanted.T, bias=True), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(method.matrix, method.matrix.T, rtol=0, atol=0)
    assert bool((torch.linalg.eigvalsh(method.matrix) > 0).all())


def test_few_activations_are_regularised_as_ledoit_and_wolf_and_it_is_said() -> None:
    from sklearn.covariance import LedoitWolf

    desired, undesired = classes(n=60, m=8, d=12)
    method = MiMiC.fit(desired, undesired, layer=0)
    s, t = method.shrinkage
    assert s == pytest.approx(LedoitWolf().fit(undesired.double().numpy()).shrinkage_)
    assert 0 < s <= 1
    assert t == 0
    assert "regularised" in repr(method)
    assert f"{s:.2g}" in repr(method)
    assert "regularised" not in repr(MiMiC.fit(*classes(), layer=0))


def test_equal_covariances_make_all_three_the_mean_shift() -> None:
    undesired = drawn((30, D))
    desired = undesired + torch.arange(D)
    x = drawn((10, D), seed=5)
    wanted = x + torch.arange(D)
    for method in METHODS:
        torch.testing.assert_close(
            method.fit(desired, undesired, layer=0).transform(x), wanted, **ROUNDING
        )


def test_mean_act_is_caa_at_one_layer(llama: Any, pairs: ls.ContrastivePairs) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False).at(1)
    tokens = torch.tensor([[1, 5, 9, 20]])
    found = []
    for method in (MeanAcT.fit(resid), CAA.fit(resid)):
        with ls.steered(llama, method.with_strength(0.7)):
            found.append(run(llama, tokens, None))
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


# ---- support ----


@pytest.mark.parametrize("support", [1, 0.8, 0.5])
def test_outside_the_support_coordinates_are_left_alone(support: float) -> None:
    desired, undesired = classes()
    x = 6 * drawn((200, D), seed=9)
    free = LinearAcT.fit(desired, undesired, layer=0)
    method = LinearAcT.fit(desired, undesired, layer=0, support=support)
    ends = np.quantile(undesired.double().numpy(), [(1 - support) / 2, (1 + support) / 2], axis=0)
    at = x.double().numpy()
    inside = torch.from_numpy((ends[0] <= at) & (at <= ends[1]))
    assert 0 < int(inside.sum()) < inside.numel()
    assert torch.equal(method.transform(x), torch.where(inside, free.transform(x), x))
    assert not bool(method.vector_field(x)[~inside].any())
    assert "support" in repr(method)


def test_coordinates_without_variance_are_shifted_and_counted() -> None:
    desired, undesired = classes()
    undesired[:, 1], undesired[:, 3] = 2.0, -1e4 / 3
    method = LinearAcT.fit(desired, undesired, layer=0)
    assert method.unscaled == 2
    assert f"2 of {D} coordinates shifted only" in repr(method)
    assert method.scale[[1, 3]].tolist() == [1.0, 1.0]
    x = drawn((4, D))
    wanted = linear_oracle(desired, undesired, x)
    np.testing.assert_allclose(moved(method, x)[:, [1, 3]], wanted[:, [1, 3]], rtol=1e-5)


# ---- properties ----


@given(st.integers(0, 50), st.sampled_from([0.25, 1.0, -2.0]), st.integers(1, 4))
def test_order_of_examples_and_shape_of_the_batch_do_not_matter(
    seed: int, strength: float, rows: int
) -> None:
    desired, undesired = classes(12, 9, seed=seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    x = drawn((rows, 3, D), seed=seed)
    for method in METHODS:
        made = method.fit(desired, undesired, layer=0).with_strength(strength)
        again = method.fit(desired[order], undesired.flip(0), layer=0).with_strength(strength)
        torch.testing.assert_close(made.transform(x), again.transform(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            made.transform(x).flatten(0, 1), made.transform(x.flatten(0, 1)), **ROUNDING
        )
        step = made.transform(x) - x
        torch.testing.assert_close(step, strength * made.vector_field(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_strength_0_is_the_input_and_nothing_is_written_to(method: Any) -> None:
    desired, undesired = classes()
    before = desired.clone(), undesired.clone()
    made = method.fit(desired, undesired, layer=1)
    x = drawn((4, D)).bfloat16()
    kept = x.clone()
    assert torch.equal(made.with_strength(0).transform(x), x)
    assert made.transform(x).dtype == x.dtype
    assert made.vector_field(x).dtype == x.dtype
    assert torch.equal(x, kept)
    assert torch.equal(desired, before[0])
    assert torch.equal(undesired, before[1])


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_it_is_the_same(method: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"support": 0.9} if method is LinearAcT else {}
    made = method.fit(*classes(), layer=3, **options).with_strength(0.4)
    ls.save(made, tmp_path / "method.safetensors")
    back = ls.load(tmp_path / "method.safetensors")
    x = 3 * drawn((6, D))
    assert repr(back) == repr(made)
    assert torch.equal(back.transform(x), made.transform(x))


@pytest.mark.parametrize("method", [MeanAcT, LinearAcT])
def test_heads_are_moved_entry_by_entry(method: Any) -> None:
    desired, undesired = drawn((9, 2, 3)) + 1, drawn((7, 2, 3), seed=1)
    own = ls.LayerActivations.from_tensors(desired, undesired, 1, "head")
    flat = method.fit(desired.flatten(1), undesired.flatten(1), layer=1)
    x = drawn((5, 2, 3), seed=2)
    torch.testing.assert_close(
        method.fit(own).transform(x).flatten(1), flat.transform(x.flatten(1)), **ROUNDING
    )


# ---- on models ----


@pytest.mark.parametrize("method", METHODS)
def test_texts_are_the_same_with_and_without_a_cache_and_batch(
    model: Any, pairs: ls.ContrastivePairs, method: Any
) -> None:
    resid = ls.capture(model, pairs, "resid", progress=False).at(1)
    options: dict[str, Any] = {"support": 0.9} if method is LinearAcT else {}
    made = method.fit(resid, **options).with_strength(1.5)
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    texts = ls.generate(model, PROMPTS, made, **how)
    assert texts == [ls.generate(model, [p], made, **how)[0] for p in PROMPTS]
    assert texts == ls.generate(model, PROMPTS, made, use_cache=False, **how)
    tokens = torch.tensor([[5, 9, 20, 31]])
    clean = run(model, tokens, None)
    with ls.steered(model, made.with_strength(0)):
        assert torch.equal(run(model, tokens, None), clean)
    with ls.steered(model, made):
        assert not torch.equal(run(model, tokens, None), clean)
    assert torch.equal(run(model, tokens, None), clean)


# ---- layer by layer ----


def last_tokens(model: Any, examples: Any, layer: int, maps: dict[int, Any]) -> Tensor:
    """A layer at the last token of each example, read alone, by hooks of TransformerLens' own."""
    rows = []
    for example in examples:
        ids = encode(model, example.prompt, example.continuation).ids
        hooks = [(ls.Site(at).hook_name, hook) for at, hook in maps.items()]
        with torch.no_grad(), model.hooks(fwd_hooks=hooks):
            x = watched(
                model, ls.Site(layer), lambda ids=ids: run(model, torch.tensor([ids]), None)
            )
        rows.append(x[0, -1])
    return torch.stack(rows)


@pytest.mark.parametrize("method", [MeanAcT, LinearAcT])
def test_layers_are_fitted_in_order_each_behind_the_maps_of_the_earlier(
    llama: Any, pairs: ls.ContrastivePairs, method: Any
) -> None:
    layers, maps, apart = [2, 0, 3], {}, []
    every = ls.steering.WithSinks("all")  # the maps of the oracle act at every position
    fitted = method.fit_layers(llama, pairs, layers, scope=every, progress=False)
    assert [made.sites for made in fitted] == [(ls.Site(layer),) for layer in sorted(layers)]
    for made in fitted:
        layer = made.at.layer
        up = last_tokens(llama, pairs.desired, layer, {})
        down = last_tokens(llama, pairs.undesired, layer, maps)

        def image(x: Tensor, hook: Any, up: Tensor = up, down: Tensor = down) -> Tensor:
            flat = x.reshape(-1, x.shape[-1])
            if method is LinearAcT:
                found = torch.tensor(linear_oracle(up, down, flat)).reshape(x.shape)
            else:
                found = x.double() + up.double().mean(dim=0) - down.double().mean(dim=0)
            return found.to(x.dtype)

        x = drawn((7, up.shape[1]), seed=9)
        np.testing.assert_allclose(moved(made, x), image(x, None).numpy(), rtol=1e-3, atol=1e-3)
        alone = method.fit(ls.capture(llama, pairs, progress=False).at(layer))
        apart.append(float((made.transform(x) - alone.transform(x)).abs().max()))
        maps[layer] = image
    assert apart[0] == 0  # one layer: today's fit, to the bit
    assert min(apart[1:]) > 1e-2
    with pytest.raises(ValueError, match="each once"):
        method.fit_layers(llama, pairs, [1, 1], progress=False)


# ---- what is refused ----


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_fitted_is_refused(method: Any) -> None:
    desired, undesired = classes()
    with pytest.raises(ValueError, match="no undesired"):
        method.fit(desired, undesired[:0], layer=0)
    with pytest.raises(ValueError, match="no desired"):
        method.fit(desired[:0], undesired, layer=0)
    with pytest.raises(ValueError, match=r"equal|same"):
        method.fit(desired, desired, layer=0)
    with pytest.raises(ValueError, match="finite"):
        method.fit(desired * torch.nan, undesired, layer=0)
    with pytest.raises(ValueError, match="two tensors"):
        method.fit(desired, layer=0)
    gate = ls.LayerActivations.from_tensors(desired, undesired, 0, "gate")
    with pytest.raises(ValueError, match="read but not edited"):
        method.fit(gate)
    made = method.fit(desired, undesired, layer=0)
    for call in (made.transform, made.vector_field):
        with pytest.raises(ValueError, match="expected"):
            call(drawn((3, D + 1)))


@pytest.mark.parametrize("method", [LinearAcT, MiMiC])
def test_a_spread_needs_two_activations(method: Any) -> None:
    desired, undesired = classes()
    for sides in ((desired[:1], undesired), (desired, undesired[:1])):
        with pytest.raises(ValueError, match="at least 2 of each"):
            method.fit(*sides, layer=0)


@pytest.mark.parametrize("method", METHODS)
def test_another_width_than_the_models_is_refused(llama: Any, method: Any) -> None:
    with (
        pytest.raises(ValueError, match="holds"),
        ls.steered(llama, method.fit(*classes(), layer=0)),
    ):
        pass


def test_support_and_shrinkage_have_their_ranges() -> None:
    sides = classes()
    for support in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="support"):
            LinearAcT.fit(*sides, layer=0, support=support)
    for shrinkage in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="shrinkage"):
            MiMiC.fit(*sides, layer=0, shrinkage=shrinkage)


def test_a_singular_covariance_is_refused() -> None:
    desired, undesired = classes()
    undesired[:, 2] = undesired[:, 1]
    with pytest.raises(ValueError, match="undesired activations is singular"):
        MiMiC.fit(desired, undesired, layer=0)
    with pytest.raises(ValueError, match="singular"):
        MiMiC.fit(*classes(n=3), layer=0, shrinkage=0)
    assert MiMiC.fit(desired, undesired, layer=0, shrinkage=0.1).shrinkage == (0.1, 0.1)


def test_a_covariance_of_heads_is_refused() -> None:
    own = ls.LayerActivations.from_tensors(drawn((9, 2, 3)), drawn((7, 2, 3)) + 1, 1, "head")
    with pytest.raises(ValueError, match="one vector per example"):
        MiMiC.fit(own)


def test_fields_made_by_hand_are_checked() -> None:
    at = ls.Site(0)
    with pytest.raises(ValueError, match="shift"):
        MeanAcT(at, torch.tensor([1.0, torch.nan]))
    one = torch.ones(2)
    with pytest.raises(ValueError, match="neither"):
        LinearAcT(at, one, one, one, lower=one)
    with pytest.raises(ValueError, match="matrix"):
        MiMiC(at, one, one, torch.full((2, 2), torch.inf))


def test_a_coordinate_that_varies_by_rounding_alone_is_shifted() -> None:
    down, up = torch.full((6, 2), 7.0), torch.randn(6, 2) + 9
    down[3, 0] = 7.000001  # a slope of two million, if it were taken for spread
    down[:, 1] += torch.linspace(-1, 1, 6)
    found = LinearAcT.fit(up, down, layer=0)
    assert found.unscaled == 1
    moved = found.transform(torch.tensor([[7.5, 7.5]]))[0, 0]
    assert float(moved) == pytest.approx(7.5 + float(up[:, 0].mean()) - 7.0, abs=1e-4)
