"""What all baselines have in common: hooks, identity, caches and padding, files, bad input."""

import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer import steering
from lens_steer.sites import Kind, Site
from lens_steer.steering import Displacement, Intervention, ResidualITI
from tests.interventions import Cached, NoWaiting, baselines, padded, rows_of, run, watched

# A float32 product and sum in another order than ours.
ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
NAMES = (
    *("ActAdd", "RepE", "ITI", "ResidualITI", "Ablation"),
    *("Ablation to", "Angular", "Angular to"),
)
NOTHING_DIFFERS = "equal|h is the same everywhere|are the same: nothing to transport"
METHODS = pytest.mark.parametrize("name", NAMES)


def rows_at(model: Any, method: Intervention, *, seed: int = 0) -> tuple[Site, Tensor]:
    """Its last site, and activations of the shape held there, float64."""
    site = method.sites[-1]
    cfg = model.cfg
    shape = (cfg.n_heads, cfg.d_head) if site.kind is Kind.HEAD else (cfg.d_model,)
    draw = torch.Generator().manual_seed(seed)
    return site, torch.randn(3, 4, *shape, generator=draw).double()


# ---- in a model ----


def test_the_names_are_those_of_the_baselines(llama: Any) -> None:
    assert tuple(baselines(llama)) == NAMES


def test_a_hook_does_what_transform_does(model: Any) -> None:
    batch = padded(model, rows_of(model), "left")
    for name, method in baselines(model).items():
        site = method.sites[0]
        with torch.no_grad():
            before = watched(model, site, lambda: run(model, batch.tokens, batch.mask))
            with ls.steered(model, method, scope="all", sink=True):
                after = watched(model, site, lambda: run(model, batch.tokens, batch.mask))
        expected = method.transform(before, site)
        torch.testing.assert_close(after[batch.mask], expected[batch.mask], **ROUNDING)
        assert not torch.equal(after, before), name


def test_strength_zero_leaves_the_logits_as_they_are(model: Any) -> None:
    batch = padded(model, rows_of(model), "left")
    with torch.no_grad():
        before = run(model, batch.tokens, batch.mask)
        for method in baselines(model).values():
            with ls.steered(model, method.with_strength(0), scope="all"):
                assert torch.equal(run(model, batch.tokens, batch.mask), before)
            with ls.steered(model, method, scope="all"):
                assert not torch.equal(run(model, batch.tokens, batch.mask), before)
        assert torch.equal(run(model, batch.tokens, batch.mask), before)


def test_padding_caches_and_batches_change_nothing(model: Any) -> None:
    """All of them at once: an edit that saw other rows or positions would show."""
    methods, rows = [m.with_strength(0.4) for m in baselines(model).values()], rows_of(model)
    found: list[list[Tensor]] = []
    with torch.no_grad(), ls.steered(model, *methods, scope="all"):
        for side in ("left", "right"):
            batch = padded(model, rows, side)
            logits = run(model, batch.tokens, batch.mask)
            found.append([logits[i, last] for i, last in enumerate(batch.last)])
        found.append([run(model, torch.tensor([row]), None)[0, -1] for row in rows])
    cached: list[Tensor] = []
    for row in rows:
        start = len(row) - 2
        with torch.no_grad(), ls.steered(model, *methods, scope="all", prompt_lengths=[start]):
            call = Cached(model, 1, masked=False)
            logits = call(torch.tensor([row[:start]]))
            for token in row[start:]:
                logits = call(torch.tensor([[token]]))
        cached.append(logits[0, -1])
    found.append(cached)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_no_hook_waits_for_the_device(llama: Any) -> None:
    for method in baselines(llama).values():
        for site, edit in method.edits(llama).items():
            x = rows_at(llama, method)[1].float().flatten(0, 1)
            assert site in method.sites
            with NoWaiting():
                edit(x)


@METHODS
def test_models_of_other_shapes_are_refused(llama: Any, name: str) -> None:
    wide = SimpleNamespace(cfg=SimpleNamespace(d_model=64, d_head=16, n_heads=4, n_layers=4))
    with pytest.raises(ValueError, match=r"made for activations of shape .*this model holds"):
        baselines(wide)[name].edits(llama)
    method = baselines(llama)[name].without_provenance()
    assert ls.generate(llama, ["The cat"], method, max_new_tokens=3, temperature=0.0)


def test_layers_that_a_model_does_not_have_are_refused(llama: Any) -> None:
    d, u = two_classes(width=llama.cfg.d_model)
    for fit in fits(d, u, layer=9).values():
        with pytest.raises(ValueError, match="layer 9: this model has 4, 0 to 3"):
            fit().edits(llama)
    with pytest.raises(ValueError, match="layer 9"):
        ls.ActAdd.fit(llama, "Love", "Hate", layer=9)


# ---- of tensors ----


@METHODS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_strength_zero_gives_back_the_bits(llama: Any, name: str, dtype: torch.dtype) -> None:
    method = baselines(llama)[name]
    site, x = rows_at(llama, method)
    x = x.to(dtype)
    assert torch.equal(method.with_strength(0).transform(x, site), x)
    found = method.transform(x, site)
    assert found.dtype is dtype
    wide = x if dtype is torch.float64 else x.float()
    assert torch.equal(found, method.transform(wide, site).to(dtype))  # rounded once


@METHODS
def test_the_vector_field_is_the_derivative_by_strength_at_zero(llama: Any, name: str) -> None:
    method: Any = baselines(llama)[name]
    site, x = rows_at(llama, method)
    step = 1e-5
    up, down = (method.with_strength(s).transform(x, site) for s in (step, -step))
    field = method.vector_field(x, site)
    assert field.shape == x.shape
    torch.testing.assert_close((up - down) / (2 * step), field, rtol=1e-8, atol=1e-8)


@METHODS
def test_what_is_given_is_left_as_it_was_and_one_row_is_as_many(llama: Any, name: str) -> None:
    method: Any = baselines(llama)[name]
    site, x = rows_at(llama, method)
    before = x.clone()
    found = method.transform(x, site)
    method.vector_field(x, site).zero_()
    assert torch.equal(x, before)
    torch.testing.assert_close(method.transform(x[1, 2], site), found[1, 2], rtol=1e-12, atol=1e-12)
    assert torch.equal(method.transform(x, site), found)


@METHODS
def test_what_was_saved_comes_back_bit_by_bit(llama: Any, name: str, tmp_path: Path) -> None:
    method = baselines(llama)[name].with_strength(0.3)
    ls.save(method, tmp_path / "method.safetensors")
    again = ls.load(tmp_path / "method.safetensors", model=llama)
    assert type(again) is type(method)
    assert repr(again) == repr(method)
    site, x = rows_at(llama, method)
    assert torch.equal(again.transform(x, site), method.transform(x, site))


@METHODS
def test_it_prints_its_settings_and_sites(llama: Any, name: str) -> None:
    method = baselines(llama)[name]
    shown = repr(method)
    assert shown.startswith(f"{type(method).__name__}(strength=1")
    assert "tensor(" not in shown
    assert all(site.hook_name in shown for site in method.sites)


@METHODS
def test_activations_of_another_width_are_refused(llama: Any, name: str) -> None:
    method: Any = baselines(llama)[name]
    site, x = rows_at(llama, method)
    for use in (method.transform, method.vector_field):
        with pytest.raises(ValueError, match=r"got activations of shape .*expected \[\.\.\., "):
            use(x[..., :-1], site)


def test_a_method_of_several_sites_asks_which(llama: Any) -> None:
    method = baselines(llama)["Ablation"]
    assert isinstance(method, Displacement)
    x = rows_at(llama, method)[1]
    for wrong in (None, Site(2)):
        with pytest.raises(ValueError, match=r"expected one of blocks\.0\.hook_resid_post, "):
            method.transform(x, wrong)


# ---- fits ----


def methods_of_two_tensors() -> set[type[Intervention]]:
    """The methods of the library that are fitted on two classes alone."""
    exported = [each for each in vars(steering).values() if inspect.isclass(each)]
    return {
        cls
        for cls in exported
        if issubclass(cls, Intervention)
        and list(inspect.signature(getattr(cls, "fit", object)).parameters)[:2]
        == ["desired", "undesired"]
    }


def test_no_method_of_two_tensors_is_missing_below() -> None:
    """A new one has a row in `fits`."""
    assert methods_of_two_tensors() == {type(fit()) for fit in fits(*two_classes()).values()}


def fits(d: Tensor, u: Tensor, *, layer: int = 3) -> dict[str, Any]:
    return {
        "CAA": lambda: ls.CAA.fit(d, u, layer=layer),
        "RepE": lambda: ls.RepE.fit(d, u, layer=layer),
        "RepE of pairs": lambda: ls.RepE.fit_pairs(d, u, layer=layer),
        "ResidualITI": lambda: ResidualITI.fit(d, u, layer=layer),
        "Ablation": lambda: ls.Ablation.fit(d, u, layer=layer),
        "Angular": lambda: ls.Angular.fit(d, u, layer=layer, to_angle=0.0),
        "MeanAcT": lambda: ls.MeanAcT.fit(d, u, layer=layer),
        "LinearAcT": lambda: ls.LinearAcT.fit(d, u, layer=layer),
        "MiMiC": lambda: ls.MiMiC.fit(d, u, layer=layer),
    }


def two_classes(n: int = 20, m: int = 20, width: int = 8) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shift = torch.linspace(0.5, 1.5, width)
    return torch.randn(n, width, generator=draw) + shift, torch.randn(m, width, generator=draw)


@pytest.mark.parametrize("name", list(fits(torch.ones(1), torch.ones(1))))
def test_fits_take_tensors_or_one_layers_activations_and_do_the_same(name: str) -> None:
    d, u = two_classes()
    by_tensors = fits(d, u)[name]()
    own = ls.LayerActivations.from_tensors(d, u, layer=3)
    cls = type(by_tensors)
    own = replace(own, paired=name == "RepE of pairs")
    by_layer = cls.fit(own, to_angle=0.0) if name == "Angular" else cls.fit(own)
    assert by_tensors.sites == by_layer.sites == (Site(3),)
    assert torch.equal(by_tensors.transform(u), by_layer.transform(u))
    along = (d.mean(0) - u.mean(0)).double()
    gain = (by_tensors.vector_field(u).double() @ along).mean()
    assert gain > 0 or name == "Ablation"  # which leads to 0 from wherever the undesired are


@pytest.mark.parametrize("name", list(fits(torch.ones(1), torch.ones(1))))
def test_equal_classes_and_what_is_not_finite_are_refused(name: str) -> None:
    d, _ = two_classes()
    with pytest.raises(ValueError, match=NOTHING_DIFFERS):
        fits(d, d.clone())[name]()
    with pytest.raises(ValueError, match="not finite"):
        fits(d, torch.full_like(d, float("nan")))[name]()
    with pytest.raises(ValueError, match="two tensors"):
        type(fits(*two_classes())[name]()).fit(d)


@pytest.mark.parametrize("cls", [ls.RepE, ls.Ablation, ls.Angular])
def test_kinds_that_can_only_be_read_are_refused(cls: Any) -> None:
    own = ls.LayerActivations.from_tensors(*two_classes(), layer=1, kind="gate")
    with pytest.raises(ValueError, match="capture 'neuron'"):
        cls.fit(own)


def test_fitted_methods_know_their_model(llama: Any, load: Any, pairs: Any) -> None:
    at = ls.capture(llama, pairs, layers=[1, 2], progress=False)
    heads = ls.capture(llama, pairs, "head", progress=False)
    found: list[Any] = [
        ls.RepE.fit(at.at(2)),
        ResidualITI.fit(at.at(2)),
        ls.Ablation.fit(at, layer=1),
        ls.Angular.fit(at.at(2), angle=0.5),
        ls.ITI.fit(heads, k=3, folds=3, seed=0),
        ls.ActAdd.fit(llama, "Love", "Hate", layer=2),
    ]
    for method in found:
        assert method.provenance is not None
        assert method.checked_edits(llama)
        with pytest.raises(ValueError, match="another model"):
            method.checked_edits(load("qwen2"))
