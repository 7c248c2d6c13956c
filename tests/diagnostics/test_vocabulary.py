"""Which tokens a direction promotes: against autograd by hand, TransformerLens and planted rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.diagnostics import head_direction, neuron_direction
from lens_steer.diagnostics.readout import (
    as_clean_states_vary,
    carried,
    halves_agree,
    log_prob_slopes,
    states_of,
)
from lens_steer.models import encode_prompt
from tests.conftest import Loader
from tests.interventions import push

TEXTS = (
    "The cat sat in the sun and looked at the old house of the dog.",
    "One day, the dog and the cat met, and it was a good day for all.",
    "A boy and a girl went to the park to play with a big red ball.",
    "The sun came up over the hill, and the birds began to sing again.",
)


def rows_of(model: Any) -> list[list[int]]:
    return [encode_prompt(model, text) for text in TEXTS]


def by_hand(architecture: str, model: Any, x: Tensor) -> Tensor:
    """Log-probabilities behind the last block, from the checkpoint's own weights, in float64."""
    hf = model.original_model
    x, head = x.double(), hf.lm_head.weight.double()
    if architecture == "gpt2":
        norm = hf.transformer.ln_f
        centred = x - x.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
        x = centred / scale * norm.weight.double() + norm.bias.double()
    else:
        norm = hf.model.norm
        eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        gain = norm.weight.double() + (architecture == "gemma2")
        x = x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * gain
    logits = x @ head.T
    cap = getattr(hf.config, "final_logit_softcapping", None)
    return (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(dim=-1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_slopes_are_the_derivative_through_norm_unembedding_and_cap(
    load: Loader, architecture: str
) -> None:
    model = load(architecture)
    rows = rows_of(model)
    states = states_of(model, rows, 2, 4, 7)
    assert states.shape == (7, model.cfg.d_model)
    directions = torch.randn(3, states.shape[1], generator=torch.Generator().manual_seed(0))
    found = log_prob_slopes(model, rows[0], states, directions)
    for v, slopes in zip(directions, found, strict=True):
        wanted: Tensor = torch.autograd.functional.jvp(
            lambda x: by_hand(architecture, model, x), states, v.expand_as(states).contiguous()
        )[1]  # type: ignore[assignment]
        assert torch.allclose(slopes, wanted.mean(dim=0).detach(), atol=1e-5, rtol=1e-4)
    # probabilities add up to 1 however they move
    with torch.no_grad():
        p = by_hand(architecture, model, states).exp()
    first = log_prob_slopes(model, rows[0], states[:1], directions)
    assert torch.allclose(first @ p[0], torch.zeros(3).double(), atol=1e-5)


def test_folded_and_raw_weights_say_the_same(load: Loader, fresh_model: Loader) -> None:
    raw, folded = load("llama"), fresh_model("llama")
    folded.enable_compatibility_mode(disable_warnings=True)
    assert not torch.allclose(raw.W_U, folded.W_U, atol=1e-3)
    direction = torch.randn(raw.cfg.d_model, generator=torch.Generator().manual_seed(1))
    one = ls.vocabulary(raw, direction, 2, texts=TEXTS, controls=8)
    other = ls.vocabulary(folded, direction, 2, texts=TEXTS, controls=8)
    assert one.promoted(5) == other.promoted(5)
    assert torch.allclose(one.z, other.z, atol=1e-2)


def test_what_moves_all_tokens_alike_decides_no_order(llama: Any) -> None:
    """z is of slopes less their mean: with all of them above 0 a half is still below average."""
    direction = torch.randn(llama.cfg.d_model, generator=torch.Generator().manual_seed(5))
    states = states_of(llama, rows_of(llama), 2, 4, 32)
    random = as_clean_states_vary(states, 8, seed=0)
    slopes = log_prob_slopes(llama, rows_of(llama)[0], states, torch.cat([direction[None], random]))
    logits = slopes - slopes.mean(dim=1, keepdim=True)
    wanted = logits[0] / direction.norm() / logits[1:].square().mean(dim=0).sqrt()
    found = ls.vocabulary(llama, direction, 2, texts=TEXTS, controls=8)
    assert torch.allclose(found.z.double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_row_of_the_unembedding_promotes_its_token(llama: Any) -> None:
    rows = llama.W_U.detach().float().T
    token = int((rows.norm(dim=-1)).argmax())
    found = ls.vocabulary(llama, rows[token], 3, texts=TEXTS)
    assert token in found.slopes.topk(3).indices.tolist()
    assert token in found.z.topk(3).indices.tolist()
    assert found.table()["token"].tolist()[0] == found.promoted(1)[0]
    doubled = ls.vocabulary(llama, 2 * rows[token], 3, texts=TEXTS)
    assert torch.allclose(doubled.slopes, 2 * found.slopes, rtol=1e-4, atol=1e-6)
    assert torch.allclose(doubled.z, found.z, rtol=1e-4, atol=1e-4)  # z knows no length
    reverse = ls.vocabulary(llama, -rows[token], 3, texts=TEXTS)
    assert reverse.suppressed(4) == found.promoted(4)


def test_methods_barriers_heads_and_neurons_are_directions(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    caa = ls.CAA.fit(resid.at(layer=2))
    how: dict[str, Any] = {"texts": TEXTS, "controls": 4}
    for one, other in (
        (caa.with_strength(0.5), 0.5 * resid.direction[2]),
        (ls.LinearBarrier.fit_means(resid.at(layer=2)), resid.direction[2]),
    ):
        z, wanted = (ls.vocabulary(llama, what, 2, **how).z for what in (one, other))
        assert torch.allclose(z, wanted, atol=1e-3)
    heads = ls.capture(llama, pairs, "head", progress=False)
    written = head_direction(llama, 1, 2, heads.direction[1, 2])
    assert torch.allclose(written, heads.direction[1, 2] @ llama.W_O[1][2].float(), atol=1e-6)
    assert torch.allclose(neuron_direction(llama, 1, 5), llama.W_out[1][5].float())


@pytest.mark.parametrize("skip", [2, 4])
def test_the_lens_is_that_of_transformer_lens(load: Loader, skip: int) -> None:
    lenses = pytest.importorskip("transformer_lens.tools.analysis")
    model = load("llama")
    texts = list(TEXTS[:2])
    published = lenses.JacobianLens.fit(
        model,
        texts,
        corpus="tests",
        source_layers=[1],
        skip_first_positions=skip,
        show_progress=False,
    )
    directions = torch.randn(2, model.cfg.d_model, generator=torch.Generator().manual_seed(2))
    found = torch.stack(
        [carried(model, encode_prompt(model, text), 1, directions, skip=skip) for text in texts]
    ).mean(dim=0)
    wanted = directions @ published.jacobians[1].float().T
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_at_one_position_it_is_the_product_of_the_blocks_jacobians(llama: Any) -> None:
    row = encode_prompt(llama, TEXTS[0])
    maps = ls.linearity.BlockMaps.of_rows(llama, [tuple(row[:-1])])
    directions = torch.randn(2, llama.cfg.d_model, generator=torch.Generator().manual_seed(3))
    wanted = directions
    for layer in range(2, llama.cfg.n_layers):
        wanted = wanted @ maps.matrices(layer)[0].T
    last = len(row) - 2
    found = carried(llama, row, 1, directions, skip=last, same_position=True)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    # with one position to push at, none is later: both lenses are one
    assert torch.allclose(found, carried(llama, row, 1, directions, skip=last), atol=1e-4)


def test_behind_the_last_block_nothing_is_carried(llama: Any) -> None:
    layer = llama.cfg.n_layers - 1
    direction = torch.randn(llama.cfg.d_model, generator=torch.Generator().manual_seed(4))
    how: dict[str, Any] = {"texts": TEXTS, "controls": 4}
    plain = ls.vocabulary(llama, direction, layer, **how)
    lens = ls.vocabulary(llama, direction, layer, via="jacobian", **how)
    assert torch.allclose(plain.z, lens.z, atol=1e-3)
    assert lens.agreement == pytest.approx(1, abs=1e-5)
    assert plain.agreement != plain.agreement


def test_layers_side_by_side_are_each_layers_own(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    directions = dict(zip(resid.layers, resid.direction, strict=True))
    how: dict[str, Any] = {"texts": TEXTS, "controls": 4}
    found = ls.diagnostics.vocabulary_by_layer(llama, directions, progress=False, **how)
    assert found.layers == (0, 1, 2, 3)
    assert found.left_out == ()
    for k, layer in enumerate(found.layers):
        alone = ls.vocabulary(llama, directions[layer], layer, **how)
        assert torch.equal(found.z[k], alone.z)
        assert torch.equal(found.slopes[k], alone.slopes)
    best = divmod(int(found.z.argmax()), len(found.tokens))[1]
    assert found.promoted(1) == [found.tokens[best]]
    assert len(found.table()) == 4 * 20
    axes = found.figure().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3"]
    ls.save(found, tmp_path / "found.safetensors")
    assert ls.load(tmp_path / "found.safetensors").table().equals(found.table())
    with pytest.raises(ValueError, match="expected one at least"):
        ls.diagnostics.vocabulary_by_layer(llama, {}, progress=False)


def test_texts_that_carry_a_direction_apart_are_refused() -> None:
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]])
    with pytest.raises(ls.diagnostics.CarriedApartError, match=r"block 3 two halves .* 0\.1"):
        halves_agree(apart, 3)
    assert halves_agree(torch.ones(4, 2), 3) == pytest.approx(1)


def test_it_prints_draws_and_is_saved(llama: Any, tmp_path: Path) -> None:
    direction = torch.ones(llama.cfg.d_model)
    found = ls.vocabulary(llama, direction, 1, texts=TEXTS, controls=4)
    shown = repr(found)
    assert shown.startswith("direction behind block 1, via logit: log-probability per unit, at ")
    assert len(shown.splitlines()) == 12
    assert len(found.brief(3)) == 3
    assert [axes.get_xlabel() for axes in found.figure().axes] == [
        "z against random directions"
    ] * 2
    ls.save(found, tmp_path / "said.safetensors")
    assert ls.load(tmp_path / "said.safetensors").table().equals(found.table())


def test_what_is_no_direction_there_is_refused(llama: Any, untyped: None) -> None:
    d = llama.cfg.d_model
    wrong: list[tuple[Any, int, dict[str, Any], str]] = [
        (torch.ones(d + 1), 1, {}, rf"expected \[{d}\], finite and above 0"),
        (torch.zeros(d), 1, {}, "above 0"),
        (torch.ones(d), 9, {}, "expected 0 to 3"),
        (torch.ones(d), 1, {"texts": ["Hi."]}, "expected at least 7"),
        (push(llama), 2, {}, "does not act on the residual stream behind block 2"),
        (torch.ones(d), 1, {"controls": 1}, "expected at least 4"),
        (torch.ones(d), 1, {"same_position": True}, "is of via='jacobian'"),
        (torch.ones(d), 1, {"via": "jacobian", "texts": TEXTS[:1]}, "expected two at least"),
        (torch.ones(d), 1, {"via": "tuned"}, "expected one of 'logit', 'jacobian'"),
    ]
    for what, layer, how, said in wrong:
        with pytest.raises(ValueError, match=said):
            ls.vocabulary(llama, what, layer, **{"texts": TEXTS, **how})
    with ls.steered(llama, push(llama)), pytest.raises(ValueError, match="is being steered"):
        ls.vocabulary(llama, torch.ones(d), 1, texts=TEXTS)
    with pytest.raises(ValueError, match="expected a head below"):
        head_direction(llama, 0, 99, torch.ones(4))
    with pytest.raises(ValueError, match="expected one below"):
        neuron_direction(llama, 0, 10**6)
