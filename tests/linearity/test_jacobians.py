"""Last-token Jacobians against whole-block autograd, differences, and themselves."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import grad_x_activation
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import BlockMaps, linearize
from lens_steer.models import FrozenContextBlocks, encode_prompt, forward, hooked, open_blocks, pad
from lens_steer.sites import Kind, Site
from tests.conftest import LAYERS, WIDTH, Loader, each_model
from tests.interventions import push

# of different lengths: one beyond Gemma's window, and two of one length
TEXTS = ["The cat sat in the sun and was very old, the dog", "Hi", "A cat was", "A dog was"]


def whole_block(model: Any, text: str, layer: int, kind: Kind = Kind.RESID_PRE) -> Tensor:
    """Autograd through the whole sequence, the last position of one site being the variable."""
    tokens, _ = pad(model, [encode_prompt(model, text)])
    seen: dict[str, Tensor] = {}

    def look(x: Tensor) -> None:
        seen["x"] = x[0, -1].detach().clone()

    with torch.no_grad(), hooked(model, {Site(layer, kind): look}):
        forward(model, tokens)

    def block(last: Tensor) -> Tensor:
        def replaced(x: Tensor) -> Tensor:
            return torch.cat([x[:, :-1], last[None, None]], dim=1)

        def keep(x: Tensor) -> Tensor:
            seen["y"] = x
            return x

        with hooked(model, {Site(layer, kind): replaced, Site(layer): keep}):
            forward(model, tokens)
        return seen["y"][0, -1]

    found = torch.autograd.functional.jacobian(block, seen["x"], vectorize=True)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("which", each_model())
def test_in_float64_they_are_the_whole_blocks_own(
    which: tuple[str, Any], fresh_model: Loader
) -> None:
    model = fresh_model(*which, dtype=torch.float64)
    jacobians = ls.linearize(model, TEXTS, progress=False)
    assert jacobians.matrices is not None
    assert jacobians.matrices.dtype == torch.float64
    # a TransformerBridge takes Gemma's softmax in float32
    tolerance = 1e-7 if which[0].startswith("gemma") and which[1] == "bridge" else 1e-8
    for layer in range(LAYERS):
        oracle = torch.stack([whole_block(model, text, layer) for text in TEXTS]).mean(dim=0)
        torch.testing.assert_close(jacobians.matrices[layer], oracle, atol=tolerance, rtol=0)


def test_products_agree_with_matrices_and_with_differences(model: Any) -> None:
    dense = ls.linearize(model, TEXTS, progress=False)
    free = ls.linearize(model, TEXTS, dense=False, progress=False)
    assert free.matrices is None
    assert dense.matrices is not None
    torch.testing.assert_close(free.nominal, dense.nominal, atol=1e-5, rtol=1e-5)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, WIDTH, generator=draw)
    for layer in (0, LAYERS - 1):
        scale = float(dense.matrices[layer].norm())
        for product, matrix in (("vjp", dense.matrices[layer]), ("jvp", dense.matrices[layer].T)):
            for jacobians in (dense, free):
                found = getattr(jacobians, product)(layer, x)
                torch.testing.assert_close(found, x @ matrix, atol=1e-5 * scale, rtol=1e-4)
        maps = BlockMaps.of(model, TEXTS)
        step = 1e-3 * x[:, None].expand(-1, len(TEXTS), -1)
        at = maps.states[:, layer]
        change = (maps.apply(layer, at + step) - maps.apply(layer, at - step)) / 2e-3
        change = change.mean(dim=1)
        error = (change - free.jvp(layer, x)).norm() / change.norm()
        assert error < 5e-3  # float32 differences


def test_central_differences_in_float64(fresh_model: Loader) -> None:
    for architecture in ("gpt2", "neox"):  # whose norms are computed in the model's dtype
        model = fresh_model(architecture, dtype=torch.float64)
        maps = BlockMaps.of(model, TEXTS)
        step = 1e-3 * torch.eye(WIDTH, dtype=torch.double)[:, None].expand(-1, len(TEXTS), -1)
        at = maps.states[:, 1]
        change = (maps.apply(1, at + step) - maps.apply(1, at - step)) / 2e-3
        oracle = maps.matrices(1)
        error = (change.permute(1, 2, 0) - oracle).norm() / oracle.norm()
        assert error < 1e-3


@pytest.mark.parametrize("kind", [Kind.HEAD, Kind.NEURON, Kind.ATTN_OUT, Kind.MLP_OUT])
def test_actuators_inside_a_block_see_the_rest_of_it(model: Any, kind: Kind) -> None:
    free = ls.linearize(model, TEXTS[:2], dense=False, progress=False)
    found = free.vjp(1, torch.eye(WIDTH), hook=kind.value)
    oracle = torch.stack([whole_block(model, text, 1, kind) for text in TEXTS[:2]]).mean(dim=0)
    torch.testing.assert_close(found, oracle, atol=1e-4, rtol=1e-3)


def test_states_and_the_nominal_are_what_capture_reads(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(model, pairs, "resid", progress=False)
    jacobians = ls.linearize(model, pairs, dense=False, progress=False)
    assert jacobians.maps is not None
    torch.testing.assert_close(jacobians.maps.states[:, 1:], resid.desired, atol=2e-5, rtol=1e-4)
    assert resid.embedded_desired is not None
    nominal = torch.stack([resid.embedded_desired, *resid.desired.unbind(1)]).mean(dim=1)
    torch.testing.assert_close(jacobians.nominal, nominal, atol=2e-5, rtol=1e-4)
    both = ls.linearize(model, (*pairs.desired, *pairs.undesired), dense=False, progress=False)
    assert both.maps is not None
    torch.testing.assert_close(
        both.maps.states[len(pairs.desired) :, 1:], resid.undesired, atol=2e-5, rtol=1e-4
    )


def test_read_positions_are_those_of_capture(llama: Any, pairs: ls.ContrastivePairs) -> None:
    for read in ("prompt_last", 2, -3):
        resid = ls.capture(llama, pairs, "resid", read=read, progress=False)
        maps = BlockMaps.of(llama, pairs, read=read)
        torch.testing.assert_close(maps.states[:, 1:], resid.desired, atol=2e-5, rtol=1e-4)


def test_logits_and_their_first_order_change(model: Any) -> None:
    maps = BlockMaps.of(model, TEXTS)
    with torch.no_grad():
        own = [forward(model, pad(model, [encode_prompt(model, t)])[0])[0, -1] for t in TEXTS]
    for layer in range(LAYERS + 1):
        found = maps.logits(layer, maps.states[None, :, layer])
        torch.testing.assert_close(found[0], torch.stack(own), atol=1e-4, rtol=1e-4)
    draw = torch.Generator().manual_seed(0)
    step = torch.randn(2, len(TEXTS), WIDTH, generator=draw)
    chain = step
    for layer in range(1, LAYERS):
        chain = maps.jvp(layer, chain)
    found = maps.logits_jvp(1, step)
    torch.testing.assert_close(maps.logits_jvp(LAYERS, chain), found, atol=1e-4, rtol=1e-3)
    at = maps.states[None, :, 1]
    change = (maps.logits(1, at + 1e-3 * step) - maps.logits(1, at - 1e-3 * step)) / 2e-3
    assert (change - found).norm() / found.norm() < 1e-2


def test_batches_and_memory_change_nothing(llama: Any) -> None:
    texts = [f"A cat was {i}" for i in range(9)]
    whole = ls.linearize(llama, texts, progress=False)
    small = ls.linearize(llama, texts, memory_budget=1, progress=False)
    each = [ls.linearize(llama, [text], progress=False) for text in texts]
    mean = torch.stack([one.matrices for one in each if one.matrices is not None]).mean(dim=0)
    for jacobians in (whole, small):
        assert jacobians.matrices is not None
        assert jacobians.spread is not None
        torch.testing.assert_close(jacobians.matrices, mean, atol=1e-5, rtol=1e-4)
    assert whole.spread is not None
    matrices = torch.stack([one.matrices for one in each if one.matrices is not None]).double()
    apart = (matrices - matrices.mean(dim=0)).square().sum(dim=(-1, -2)).mean(dim=0).sqrt()
    spread = apart / (matrices.mean(dim=0) - torch.eye(WIDTH)).norm(dim=(-1, -2))
    torch.testing.assert_close(whole.spread.double(), spread, atol=1e-6, rtol=1e-4)


def test_a_text_of_one_token_beside_longer_ones(model: Any) -> None:
    """There is nothing before its last token but padding."""
    texts = ["A", "The cat sat in the sun"]
    if len(encode_prompt(model, "A")) > 1:
        texts[0] = ""  # the beginning of sequence alone
    assert len(encode_prompt(model, texts[0])) == 1
    both, alone = BlockMaps.of(model, texts), BlockMaps.of(model, texts[:1])
    torch.testing.assert_close(both.states[:1], alone.states, atol=1e-5, rtol=1e-4)
    for layer in range(LAYERS):
        found = both.matrices(layer)[:1]
        torch.testing.assert_close(found, alone.matrices(layer), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        alone.matrices(1)[0], whole_block(model, texts[0], 1), atol=1e-4, rtol=1e-3
    )


def test_what_is_run_over_a_frozen_context_is_not_kept(bridge: Any) -> None:
    tokens, mask = pad(bridge, [encode_prompt(bridge, text) for text in TEXTS[2:]], left=True)
    replay: Any = FrozenContextBlocks(bridge, tokens, mask)
    layers = replay._decoder._cache.layers

    def held() -> list[Tensor]:
        return [x for layer in layers for x in (layer.keys, layer.values)]

    before, x = held(), replay.states[1].clone().requires_grad_()
    torch.vmap(lambda one: replay.logits(1, one))(x.detach().expand(5, -1, -1))
    torch.autograd.grad(replay.block(1, x).sum(), x)
    torch.autograd.grad(replay.logits(1, x).sum(), x)
    assert len(before) == 2 * LAYERS
    assert all(a is b for a, b in zip(before, held(), strict=True))


def test_one_text_has_no_spread(llama: Any) -> None:
    found = ls.linearize(llama, TEXTS[:1], progress=False)
    assert found.spread is not None
    assert float(found.spread.abs().max()) == 0.0
    assert "1 texts" in repr(found)


def test_the_model_is_left_as_it_was(model: Any) -> None:
    tokens, mask = pad(model, [encode_prompt(model, TEXTS[0])])
    with torch.no_grad():
        before = forward(model, tokens, mask)
    needs = [p.requires_grad for p in model.parameters()]
    ls.linearize(model, TEXTS, progress=False)
    maps = BlockMaps.of(model, TEXTS)
    maps.jvp(1, torch.zeros(1, len(TEXTS), WIDTH))
    with torch.no_grad():
        assert torch.equal(forward(model, tokens, mask), before)
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(p.grad is None for p in model.parameters())
    again = maps.jvp(1, torch.ones(1, len(TEXTS), WIDTH))  # generation in between is no matter
    ls.generate(model, TEXTS[:2], max_new_tokens=2, temperature=0.0)
    assert torch.equal(maps.jvp(1, torch.ones(1, len(TEXTS), WIDTH)), again)


@given(st.integers(1, 4), st.integers(0, LAYERS - 1))
def test_products_are_linear(llama: Any, n: int, layer: int) -> None:
    free = ls.linearize(llama, TEXTS[2:], dense=False, progress=False)
    draw = torch.Generator().manual_seed(n)
    x, y = torch.randn(2, n, WIDTH, generator=draw)
    for product in (free.vjp, free.jvp):
        both = product(layer, 2 * x - 3 * y)
        parts = 2 * product(layer, x) - 3 * product(layer, y)
        torch.testing.assert_close(both, parts, atol=1e-3, rtol=1e-3)


def test_half_precision(fresh_model: Loader) -> None:
    model = fresh_model("llama", dtype=torch.bfloat16)
    found = ls.linearize(model, TEXTS[2:], progress=False)
    assert found.matrices is not None
    assert found.matrices.dtype == torch.float32
    exact = ls.linearize(fresh_model("llama"), TEXTS[2:], progress=False)
    assert exact.matrices is not None
    error = (found.matrices - exact.matrices).norm() / exact.matrices.norm()
    assert error < 0.1


def test_matrices_are_saved_and_products_refused(llama: Any, gpt2: Any, tmp_path: Path) -> None:
    dense = ls.linearize(llama, TEXTS[:2], progress=False)
    ls.save(dense, tmp_path / "a.safetensors")
    again = ls.load(tmp_path / "a.safetensors", model=llama)
    assert dense.matrices is not None
    assert torch.equal(again.matrices, dense.matrices)
    assert torch.equal(again.vjp(0, torch.eye(WIDTH)), dense.vjp(0, torch.eye(WIDTH)))
    with pytest.raises(ValueError, match="another model"):
        ls.load(tmp_path / "a.safetensors", model=gpt2)
    free = ls.linearize(llama, TEXTS[:2], dense=False, progress=False)
    with pytest.raises(ValueError, match="dense=True"):
        ls.save(free, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_what_cannot_be_linearised_is_refused(llama: Any, pairs: ls.ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="no texts"):
        ls.linearize(llama, [])
    with pytest.raises(ValueError, match=r"write \['The cat sat'\] for one"):
        ls.linearize(llama, "The cat sat")
    with pytest.raises(ValueError, match="one token"):
        ls.linearize(llama, pairs, read="mean")
    with pytest.raises(ValueError, match="context holds 128"):
        ls.linearize(llama, ["a " * 200])
    with ls.steered(llama, push(llama)), pytest.raises(ValueError, match="being steered"):
        ls.linearize(llama, TEXTS, progress=False)
    assert open_blocks(llama) == ()
    dense = ls.linearize(llama, TEXTS[:1], progress=False)
    with pytest.raises(ValueError, match="dense=False"):
        dense.vjp(0, torch.eye(WIDTH), hook="head")
    with pytest.raises(ValueError, match="layer 4"):
        dense.jvp(4, torch.eye(WIDTH))
    with pytest.raises(ValueError, match="layer=-1"):
        dense.vjp(-1, torch.eye(WIDTH))


def test_maps_refuse_layers_that_are_not_there_gates_and_steered_models(llama: Any) -> None:
    maps = BlockMaps.of(llama, TEXTS[2:])
    x = torch.ones(1, 2, WIDTH)
    for method in (maps.apply, maps.jvp, maps.vjp):
        for layer in (-1, LAYERS):
            with pytest.raises(ValueError, match=f"layer[= ]{layer}(: expected 0 to|,)"):
                method(layer, x)
    for method in (maps.logits, maps.logits_jvp):
        method(LAYERS, x)
        for layer in (-1, LAYERS + 1):
            with pytest.raises(ValueError, match=f"layer[= ]{layer}(: expected 0 to|,)"):
                method(layer, x)
    with pytest.raises(ValueError, match="'gate' has no hook point of its own"):
        maps.vjp(1, x, hook="gate")
    free = ls.linearize(llama, TEXTS[2:], dense=False, progress=False)
    with ls.steered(llama, push(llama)):
        for use in (lambda: maps.apply(1, x), lambda: free.jvp(1, x[0]), lambda: maps.matrices(0)):
            with pytest.raises(ValueError, match="being steered"):
                use()
    maps.apply(1, x)


def test_an_empty_text_without_a_bos_is_refused(load: Loader) -> None:
    with pytest.raises(ValueError, match="no token"):
        ls.linearize(load("neox"), [""])


def test_jacobians_that_are_not_finite_are_refused() -> None:
    states = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="not finite"):
        ls.LayerJacobians.from_tensors(torch.full((2, 4, 4), torch.nan), states)
    with pytest.raises(ValueError, match="one state more"):
        ls.LayerJacobians.from_tensors(torch.zeros(3, 4, 4), states)
    made = ls.LayerJacobians.from_tensors(torch.eye(4).expand(2, 4, 4), states)
    assert torch.equal(made.vjp(1, torch.eye(4)), torch.eye(4))


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.autograd.detect_anomaly])
def test_jacobians_and_gradients_are_the_same_in_the_callers_mode(
    llama: Any, pairs: ContrastivePairs, mode: Any
) -> None:
    """PyTorch's search for anomalies cannot look into many gradients at once."""
    expected = [_matrices(llama, pairs), _gradients(llama, pairs)]
    with warnings.catch_warnings(), mode():
        warnings.simplefilter("ignore")  # anomaly mode says that it is slow
        found = [_matrices(llama, pairs), _gradients(llama, pairs)]
        assert torch.is_anomaly_check_nan_enabled() or mode is torch.inference_mode
    assert all(map(torch.equal, found, expected))


def _matrices(model: Any, pairs: ContrastivePairs) -> Tensor:
    matrices = linearize(model, pairs, dense=True, progress=False).matrices
    assert matrices is not None
    return matrices


def _gradients(model: Any, pairs: ContrastivePairs) -> Tensor:
    return grad_x_activation(model, pairs, "head", progress=False).values
