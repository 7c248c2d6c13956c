from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.models import hooked
from lens_steer.sites import Kind, Site, add_hook, hook_point, site_shape
from tests.interventions import kinds_of

TRANSFORMER_LENS = {
    "resid": "blocks.2.hook_resid_post",
    "resid_pre": "blocks.2.hook_resid_pre",
    "head": "blocks.2.attn.hook_z",
    "neuron": "blocks.2.mlp.hook_post",
    "gate": "blocks.2.mlp.hook_pre",
    "up": "blocks.2.mlp.hook_pre_linear",
    "mlp_out": "blocks.2.hook_mlp_out",
    "attn_out": "blocks.2.hook_attn_out",
}


@pytest.mark.parametrize(("kind", "name"), TRANSFORMER_LENS.items())
def test_site_has_the_hook_name_that_transformer_lens_gives_it(kind: str, name: str) -> None:
    assert Site(2, Kind(kind)).hook_name == name


def test_every_kind_has_a_hook_name() -> None:
    assert {kind.value for kind in Kind} == set(TRANSFORMER_LENS)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("resid_post", Kind.RESID), ("z", Kind.HEAD), ("mlp_post", Kind.NEURON)]
)
def test_kind_accepts_transformer_lens_names(theirs: str, ours: Kind) -> None:
    assert Kind.parse(theirs) is ours


def test_kind_parses_its_own_names_and_itself() -> None:
    assert all(Kind.parse(kind.value) is kind and Kind.parse(kind) is kind for kind in Kind)


@pytest.mark.parametrize("name", ["", "RESID", "resid_mid", "blocks.0.hook_resid_post"])
def test_kind_names_the_known_ones_when_it_does_not_know_one(name: str) -> None:
    with pytest.raises(ValueError, match="unknown kind .*resid.*head.*neuron.*mlp_post"):
        Kind.parse(name)


def test_only_the_gate_cannot_be_edited() -> None:
    assert [kind for kind in Kind if not kind.editable] == [Kind.GATE]


@pytest.mark.usefixtures("untyped")
def test_site_is_a_value_however_its_kind_is_spelled() -> None:
    spelled: Any = "z"
    assert Site(1, spelled) == Site(1, Kind.HEAD)
    assert len({Site(1, spelled), Site(1, Kind.HEAD), Site(1), Site(2)}) == 3


def test_site_refuses_a_negative_layer() -> None:
    with pytest.raises(ValueError, match="got layer=-1, expected a layer"):
        Site(-1)


@pytest.mark.usefixtures("untyped")
def test_site_refuses_an_unknown_kind() -> None:
    kind: Any = "resid_mid"
    with pytest.raises(ValueError, match="unknown kind 'resid_mid'"):
        Site(0, kind)


def test_hook_point_is_found_for_every_kind_and_layer(model: Any) -> None:
    for site in (Site(layer, k) for layer in range(model.cfg.n_layers) for k in kinds_of(model)):
        assert hook_point(model, site) is model.hook_dict[site.hook_name]


def test_hook_point_refuses_a_layer_that_the_model_has_not(model: Any) -> None:
    with pytest.raises(ValueError, match="layer 4: this model has 4, 0 to 3"):
        hook_point(model, Site(4))


def test_hook_point_names_the_missing_hook() -> None:
    attention_only = SimpleNamespace(cfg=SimpleNamespace(n_layers=1), hook_dict={})
    with pytest.raises(ValueError, match=r"no hook point blocks\.0\.mlp\.hook_post.*'neuron'"):
        hook_point(attention_only, Site(0, Kind.NEURON))


def test_site_shape_is_what_the_hook_point_carries(model: Any) -> None:
    seen: dict[Kind, tuple[int, ...]] = {}
    kinds = kinds_of(model)

    def look(kind: Kind) -> Any:
        return lambda x: seen.update({kind: tuple(x.shape)})

    with torch.no_grad(), hooked(model, {Site(1, kind): look(kind) for kind in kinds}):
        model(torch.tensor([[5, 6, 7]]))
    assert seen == {kind: (1, 3, *site_shape(model, kind)) for kind in kinds}


def test_add_hook_returns_what_removes_that_hook_and_no_other(model: Any) -> None:
    point, calls = hook_point(model, Site(0)), []
    tokens = torch.tensor([[5, 6, 7]])

    def called(name: str) -> Any:
        def fn(x: Tensor) -> None:
            calls.append(name)

        return fn

    first, second = (add_hook(point, called(n), lambda: True) for n in ("first", "second"))
    assert first.present
    with torch.no_grad():
        model(tokens)
        first.remove()
        model(tokens)
        second.remove()
        model(tokens)
    assert calls == ["first", "second", "second"]
    assert not first.present
    assert not point.fwd_hooks


def test_add_hook_replaces_the_activation_by_what_the_hook_returns(model: Any) -> None:
    def shift(x: Tensor) -> Tensor:
        return x + torch.linspace(-1, 1, x.shape[-1])  # not a constant: LayerNorm takes that out

    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = model(tokens)
        acts = True
        hook = add_hook(hook_point(model, Site(1)), shift, lambda: acts)
        during = model(tokens)
        acts = False
        inactive = model(tokens)
        hook.remove()
        after = model(tokens)
    assert not torch.allclose(before, during, atol=1e-2)
    assert torch.equal(before, after)
    assert torch.equal(before, inactive)


def test_hook_points_are_remembered_for_a_model_and_let_it_go(fresh_model: Any) -> None:
    import gc
    import weakref

    model = fresh_model("llama")
    first = hook_point(model, Site(1))
    assert hook_point(model, Site(1)) is first
    assert model.hook_dict["blocks.1.hook_resid_post"] is first
    seen = weakref.ref(model)
    del model, first
    gc.collect()
    assert seen() is None
