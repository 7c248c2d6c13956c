"""Models that are being trained, were changed since they were seen, or are more than weights."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import lens_steer as ls
from lens_steer.activations import ContrastStats
from lens_steer.attribution import contrast_in_resid, grad_x_activation
from lens_steer.linearity import BlockMaps
from lens_steer.models import attach, embedding_matrices, is_bridge, open_blocks, residual_edit
from lens_steer.sites import Kind, Site
from tests.conftest import BACKENDS, LAYERS, WIDTH, Loader
from tests.interventions import Broken, push
from tests.steering.test_sadi import drawn_mask, logits_of


def fitted(model: Any, pairs: ls.ContrastivePairs) -> ls.CAA:
    return ls.CAA.fit(ls.capture(model, pairs, progress=False).at(layer=2))


def modules(model: Any) -> list[nn.Module]:
    return [*model.modules(), *(model.original_model.modules() if is_bridge(model) else [])]


# ---- training mode ----


def test_dropout_is_left_out_and_every_module_keeps_its_mode(
    fresh_model: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = fresh_model("gpt2")  # dropout of 0.1 in three places
    method = fitted(model, pairs).with_strength(2.0)

    def results() -> list[Tensor]:
        texts = ls.generate(model, pairs.prompts, method, temperature=0.8, max_new_tokens=8, seed=0)
        stats = ContrastStats.fit(model, pairs, "head", progress=False)
        maps = ls.linearize(model, pairs.first(2), progress=False)
        assert maps.matrices is not None
        return [
            torch.tensor([ord(c) for c in "\n".join(texts)]),
            ls.capture(model, pairs, "neuron", progress=False).desired,
            *(stats.direction, maps.matrices),
            grad_x_activation(model, pairs, progress=False).values,
            ls.preference(model, pairs, method),
        ]

    expected = results()
    model.original_model.train()
    model.blocks[1].eval()  # as one who trains all but one block
    before = [module.training for module in modules(model)]
    assert any(before)
    assert not all(before)
    for found, value in zip(results(), expected, strict=True):
        assert torch.equal(found, value)
    assert [module.training for module in modules(model)] == before
    with pytest.raises(ArithmeticError, match="on purpose"):
        ls.generate(model, pairs.prompts, Broken(), temperature=0)
    assert [module.training for module in modules(model)] == before
    tokens = model.to_tokens("The cat was")
    with ls.steered(model, method):  # a forward of one's own is as one set it
        assert not torch.equal(model(tokens), model(tokens))


# ---- changed since ----


def parameters(model: Any) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.ndim > 1]


def trained(model: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for p in parameters(model):
        p.grad = torch.randn(p.shape, generator=draw)
    optimizer.step()


def past_autograd(model: Any) -> None:
    for p in parameters(model):
        p.data.mul_(1.5)


def one_head_past_autograd(model: Any) -> None:
    model.blocks[1].attn.W_O.data[2] *= 4.0


def loaded(model: Any) -> None:
    model.load_state_dict({k: 1.2 * v for k, v in model.state_dict().items()})


def replaced(model: Any) -> None:
    module: Any
    for module in modules(model):
        for name, p in list(module._parameters.items()):
            if p is not None and p.ndim > 1:
                setattr(module, name, nn.Parameter(1.3 * p.detach()))


CHANGES = (trained, past_autograd, one_head_past_autograd, loaded, replaced)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_refuse_what_was_fitted_before(
    change: Callable[[Any], None],
    backend: str,
    fresh_model: Loader,
    pairs: ls.ContrastivePairs,
    tmp_path: Path,
) -> None:
    model, original = fresh_model("gpt2", backend), fresh_model("gpt2", backend)
    attach(model)
    path, method = tmp_path / "v.safetensors", fitted(model, pairs)
    maps = BlockMaps.of(model, pairs)
    ls.save(method, path)
    change(model)
    with pytest.raises(ValueError, match="made on another model"):
        ls.load(path, model=model)
    with pytest.raises(ValueError, match="made on another model"), ls.steered(model, method):
        pass
    with pytest.raises(ValueError, match="weights changed since"):
        maps.matrices(0)
    ls.save(fitted(model, pairs), path)
    ls.load(path, model=model)
    with pytest.raises(ValueError, match="made on another model"):
        ls.load(path, model=original)
    assert attach(model) is attach(model)


def test_what_is_no_change_of_the_weights_is_not_taken_for_one(
    fresh_model: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = fresh_model("gpt2")
    seen = attach(model)
    for p in model.parameters():
        p.requires_grad_(False)
    model.train()
    assert attach(model) is seen
    model.load_state_dict(model.state_dict())  # written to, with the same
    assert attach(model) is not seen
    assert attach(model).fingerprint == seen.fingerprint


def test_the_fingerprint_follows_the_dtype(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    full = attach(model).fingerprint
    model.to(torch.bfloat16)
    half = attach(model).fingerprint
    assert (full.dtype, half.dtype) == ("float32", "bfloat16")
    assert half.differences(full) == []


def test_a_change_in_a_steered_block_is_seen_without_the_steering(
    fresh_model: Loader, pairs: ls.ContrastivePairs
) -> None:
    model, twin = fresh_model("gpt2"), fresh_model("gpt2")
    trained(twin)
    with ls.steered(model, push(model)):
        trained(model)
        found = ls.capture(model, pairs, progress=False).provenance
        assert len(open_blocks(model)) == 1
    assert found is not None
    assert found.fingerprint == attach(twin).fingerprint


# ---- more than weights ----


class Lora(nn.Module):
    """As users write it around a layer."""

    def __init__(self, layer: Any, size: float = 0.1, rank: int = 2) -> None:
        super().__init__()
        self.layer, draw = layer, torch.Generator().manual_seed(0)
        weight = plain(layer).weight
        into, out = weight.shape if type(plain(layer)).__name__ == "Conv1D" else weight.shape[::-1]
        self.A = nn.Parameter(size * torch.randn(into, rank, generator=draw))
        self.B = nn.Parameter(size * torch.randn(rank, out, generator=draw))

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    @property
    def bias(self) -> Tensor:
        return self.layer.bias

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.layer(x, *args, **kwargs) + x @ self.A @ self.B


class Int8(nn.Module):
    """Weights in bytes, one scale."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.scale = layer.weight.detach().abs().max() / 127
        self.bias = layer.bias
        weight = (layer.weight.detach() / self.scale).round().to(torch.int8)
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.scale * self.get_buffer("weight"), self.bias)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def plain(layer: Any) -> Any:
    return getattr(layer, "original_component", layer)


def around(model: Any, name: str, wrap: Callable[[Any], Any], *, outside: bool = False) -> None:
    """Wrap a layer of block 1: what the bridge calls, or (outside) the bridge's own part."""
    part = {"o": model.blocks[1].attn, "out": model.blocks[1].mlp}[name]
    inside = getattr(part, name)
    if outside:
        module: Any
        for module in modules(model):
            for key, child in list(module._modules.items()):
                if child is inside and not isinstance(module, Lora):
                    module._modules[key] = wrap(inside)
    else:
        inside.set_original_component(wrap(inside.original_component))


def hooked_output(layer: Any) -> Any:
    layer.register_forward_hook(lambda _module, _args, out: 1.1 * out)
    return layer


def parametrized(layer: Any) -> Any:
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


WRAPPED = {"lora": Lora, "int8": Int8, "hook": hooked_output}


@pytest.mark.parametrize("wrap", ["lora", "int8", "hook"])
@pytest.mark.parametrize("kind", ["head", "neuron"])
def test_what_is_read_from_weights_is_refused_where_a_layer_is_more_than_them(
    kind: str, wrap: str, fresh_model: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = fresh_model("llama")
    around(model, "o" if kind == "head" else "out", WRAPPED[wrap])
    method = ls.SADI(drawn_mask(model, kind, share=0.9), 0.5)
    for refused in (
        lambda: method.fold_into_weights(model),
        lambda: contrast_in_resid(model, ls.capture(model, pairs, kind, progress=False)),
        lambda: residual_edit(model, Site(1, Kind(kind)), *torch.randn(2, 3, *shape(model, kind))),
    ):
        with pytest.raises(ValueError, match=r"layer 1: .*[Mm]erge the adapter"):
            refused()
    other = ls.SADI(drawn_mask(model, "neuron" if kind == "head" else "head"), 0.5)
    folded = other.fold_into_weights(model)  # plain weights; the wrapped ones stay as they are
    torch.testing.assert_close(logits_of(folded), logits_of(model, other), atol=1e-4, rtol=1e-4)


def shape(model: Any, kind: str) -> tuple[int, ...]:
    return (model.cfg.n_heads, model.cfg.d_head) if kind == "head" else (model.cfg.d_mlp,)


def test_an_adapter_put_around_the_bridges_own_layer_is_noticed(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    method, seen = ls.SADI(drawn_mask(model, "neuron"), 0.5), attach(model)
    method.fold_into_weights(model)
    around(model, "out", Lora, outside=True)
    assert attach(model).fingerprint != seen.fingerprint
    with pytest.raises(ValueError, match=r"layer 1: .*[Mm]erge the adapter"):
        method.fold_into_weights(model)


def test_weights_that_cannot_be_written_to_are_not_folded(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    around(model, "out", parametrized)
    method = ls.SADI(drawn_mask(model, "neuron"), 0.5)
    before = logits_of(model)
    with pytest.raises(ValueError, match="cannot fold"):
        method.fold_into_weights(model)
    assert torch.equal(logits_of(model), before)
    x = torch.randn(2, 3, model.cfg.d_mlp)  # what they write is read right
    weight = plain(model.blocks[1].mlp.out).weight
    found = residual_edit(model, Site(1, Kind.NEURON), *x)
    torch.testing.assert_close(found, (x[1] - x[0]) @ weight.T, atol=1e-5, rtol=1e-4)


def test_weights_that_layers_share_are_not_folded_in_one_of_them(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    first, last = (plain(model.blocks[i].attn.o) for i in (0, LAYERS - 1))
    last.weight = first.weight
    mask = ls.ElementMask(torch.tensor([[True, False, False, False]]), Kind.HEAD, (LAYERS - 1,))
    with pytest.raises(ValueError, match="cannot fold"):
        ls.SADI(mask, 1e-5).fold_into_weights(model)


@pytest.mark.parametrize("which", ["embed", "unembed"])
def test_a_wrapped_embedding_is_refused(which: str, fresh_model: Loader) -> None:
    model = fresh_model("llama")
    original = model.original_model
    embedding_matrices(model)
    if which == "embed":
        inside = original.get_input_embeddings()
        inside.register_forward_hook(lambda _module, _args, out: out.flip(-1))
    else:
        original.set_output_embeddings(Lora(original.get_output_embeddings()))
    with pytest.raises(ValueError, match="W_E" if which == "embed" else "W_U"):
        embedding_matrices(model)


def test_embedding_and_unembedding_of_every_model_are_read(model: Any) -> None:
    embedding, unembedding = embedding_matrices(model)
    assert embedding.shape == unembedding.T.shape == (model.cfg.d_vocab, WIDTH)


def test_a_copy_is_looked_over_by_itself(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    copied = deepcopy(model)
    trained(copied)
    assert attach(copied).fingerprint != attach(model).fingerprint
