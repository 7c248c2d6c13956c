"""What vectors on heads and neurons write: against W_O, W_out and norms by hand, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import ElementMask
from lens_steer.diagnostics import NEUTRAL_TEXTS, head_direction, neuron_direction
from lens_steer.diagnostics.directions import direction_of
from lens_steer.diagnostics.readout import activations_of, states_of
from lens_steer.models import encode_prompt
from lens_steer.sites import Kind, Site
from lens_steer.steering import ITI, Additive, Intervention
from tests.conftest import BACKENDS, Loader
from tests.interventions import drawn

TEXTS = NEUTRAL_TEXTS[:3]
LAYER = 2


def read(model: Any, what: Intervention, layer: int = LAYER) -> tuple[Tensor, str]:
    rows = [encode_prompt(model, text) for text in TEXTS]
    states = states_of(model, rows, layer, 4, 8)
    return direction_of(
        model, what, layer, states, lambda site: activations_of(model, rows, site, 4, 8)
    )


def iti(model: Any) -> ITI:
    """Two heads of a layer and one of another."""
    chosen = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, dtype=torch.bool)
    chosen[LAYER, 0] = chosen[LAYER, 3] = chosen[0, 1] = True
    thetas = drawn((*chosen.shape, model.cfg.d_head), seed=6)
    thetas = chosen[..., None] * thetas / thetas.norm(dim=-1, keepdim=True)
    mask = ElementMask(chosen, Kind.HEAD, tuple(range(len(chosen))))
    return ITI(mask, thetas, 0.3 * chosen, 4.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "neox"])
def test_heads_write_through_w_o_and_neurons_through_w_out(
    architecture: str, backend: str, load: Loader
) -> None:
    model = load(architecture, backend)
    method = iti(model).with_strength(0.5)
    vector = dict(method.items())[Site(LAYER, Kind.HEAD)].double()
    wanted = torch.einsum("hz,hzd->d", vector, model.W_O[LAYER].double())
    found, name = read(model, method)
    assert name == "ITI through W_O"
    assert torch.allclose(found.double(), 0.5 * wanted, rtol=1e-4, atol=1e-5)

    push = drawn((model.cfg.d_mlp,), seed=7)
    neurons = Additive((Site(LAYER, Kind.NEURON),), (push,))
    found, name = read(model, neurons)
    assert name == "Additive through W_out"
    wanted = push.double() @ model.W_out[LAYER].double()
    assert torch.allclose(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_one_element_is_its_own_direction_and_sites_of_a_block_add_up(llama: Any) -> None:
    z, one = torch.zeros(llama.cfg.n_heads, llama.cfg.d_head), torch.zeros(llama.cfg.d_mlp)
    z[1], one[5] = drawn((llama.cfg.d_head,)), 1.0
    stream, out = drawn((llama.cfg.d_model,), seed=1), drawn((llama.cfg.d_model,), seed=2)
    at = {Kind.HEAD: z, Kind.NEURON: one, Kind.MLP_OUT: out, Kind.RESID: stream}
    methods = {kind: Additive((Site(LAYER, kind),), (v,)) for kind, v in at.items()}
    by_kind = {kind: read(llama, method)[0] for kind, method in methods.items()}
    head = head_direction(llama, LAYER, 1, z[1])
    assert torch.allclose(by_kind[Kind.HEAD], head, rtol=1e-4, atol=1e-5)
    assert torch.allclose(by_kind[Kind.NEURON], neuron_direction(llama, LAYER, 5), atol=1e-5)
    assert torch.allclose(by_kind[Kind.MLP_OUT], out, atol=1e-5)
    elsewhere = Additive((Site(0, Kind.HEAD), Site(LAYER, Kind.RESID_PRE)), (z, stream))
    every, name = read(llama, sum(methods.values()) + elsewhere)
    assert torch.allclose(every, sum(by_kind.values(), torch.zeros(())), atol=1e-4)
    assert name == "Additive through W_O through W_out"
    said = ls.vocabulary(llama, methods[Kind.HEAD], LAYER, texts=TEXTS, controls=4)
    wanted = ls.vocabulary(llama, head, LAYER, texts=TEXTS, controls=4)
    assert torch.allclose(said.z, wanted.z, rtol=1e-3, atol=1e-3)


def test_behind_a_norm_it_is_the_mean_change_at_clean_activations(load: Loader) -> None:
    model = load("gemma2")
    method = iti(model)
    rows = [encode_prompt(model, text) for text in TEXTS]
    z = activations_of(model, rows, Site(LAYER, Kind.HEAD), 4, 8).double()
    norm = model.original_model.model.layers[LAYER].post_attention_layernorm
    weight = model.W_O[LAYER].double().flatten(0, 1)

    def written(z: Tensor) -> Tensor:
        out = z.flatten(1) @ weight
        size = (out.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
        return out / size * (1 + norm.weight.double())

    vector = dict(method.items())[Site(LAYER, Kind.HEAD)].double()
    with torch.no_grad():
        wanted = (written(z + vector) - written(z)).mean(dim=0)
    assert torch.allclose(read(model, method)[0].double(), wanted, rtol=1e-3, atol=1e-4)


def test_pushes_that_depend_on_the_input_are_refused(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    heads = ls.capture(llama, pairs, "head", progress=False)
    mask, all_neurons = iti(llama).mask, torch.ones(1, llama.cfg.d_mlp, dtype=torch.bool)
    neurons = ElementMask(all_neurons, Kind.NEURON, (LAYER,))
    resid = ls.capture(llama, pairs, "resid", progress=False)
    caa = ls.CAA.fit(resid.at(layer=LAYER))
    gate = ls.Gate.fit(caa, resid.at(layer=0))
    dependent = f"adds at blocks.{LAYER}.* depends on the input, .*head_direction.*activation_voc"
    wrong: list[tuple[Intervention, str]] = [
        (ls.SADI(mask, delta=2.0), dependent),
        (ls.steering.SignedSADI.fit(heads, mask, delta=2.0), dependent),
        (ls.SADI(neurons, delta=2.0), dependent),
        (Additive((Site(LAYER, Kind.UP),), (torch.ones(llama.cfg.d_mlp),)), dependent),
        (gate, "what Gate adds depends on the prompt"),
        (iti(llama).with_strength(0), "nothing: strength 0"),
        (Additive((Site(LAYER, Kind.RESID_PRE),), (torch.ones(32),)), "hook_resid_pre"),
    ]
    for method, said in wrong:
        with pytest.raises(ValueError, match=said):
            ls.vocabulary(llama, method, LAYER, texts=TEXTS, controls=4)


def test_neutral_texts_are_many_short_and_of_all_kinds(embedded: Any) -> None:
    assert len(set(NEUTRAL_TEXTS)) == len(NEUTRAL_TEXTS) >= 104
    assert max(map(len, NEUTRAL_TEXTS)) < 110
    for some in (NEUTRAL_TEXTS[::4], NEUTRAL_TEXTS[:24]):
        assert sum("\n" in text for text in some) >= 3
        assert sum(text.endswith("?") for text in some) >= 3
    direction = torch.ones(embedded.cfg.d_model)
    found = ls.vocabulary(embedded, direction, 3, via="jacobian", controls=4)
    assert found.texts == len(NEUTRAL_TEXTS)
    assert ls.vocabulary(embedded, direction, 3, controls=4).texts == 27
