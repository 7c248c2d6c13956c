"""Published SADI's neurons on gated models, against PyTorch hooks on modules of Transformers."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.models import clean_gates, encode, encode_prompt, gate_function, has_gates
from lens_steer.sites import Kind, Site
from lens_steer.steering import FrozenSADI, Gate, continuations
from tests.conftest import BACKENDS, LAYERS, Loader
from tests.interventions import padded, run

GATED = ("llama", "qwen2", "gemma2")
# Of what the patch changes, the largest logit each; beside what the two models differ by as they
# are, which is float32's rounding.
EFFECT = 1e-5


class Twins(NamedTuple):
    """The same weights in TransformerLens and in Transformers."""

    model: Any
    original: Any


@pytest.fixture(scope="module", params=[(a, b) for a in GATED for b in BACKENDS], ids="-".join)
def twins(request: pytest.FixtureRequest, load: Loader, model_dirs: dict[str, Path]) -> Twins:
    from transformers import AutoModelForCausalLM

    name, backend = request.param
    original: Any = AutoModelForCausalLM.from_pretrained(model_dirs[name], dtype=torch.float32)
    return Twins(load(name, backend), original.eval())


def drawn_mask(model: Any, kind: Kind = Kind.GATE) -> ls.ElementMask:
    draw = torch.rand(LAYERS, model.cfg.d_mlp, generator=torch.Generator().manual_seed(0))
    return ls.ElementMask(draw < 0.1, kind, tuple(range(LAYERS)))


def plain(original: Any, row: list[int]) -> Tensor:
    with torch.no_grad():
        return original(torch.tensor([row])).logits[0]


def released(original: Any, row: list[int], prompt: int, factor: Tensor) -> Tensor:
    """Logits with the output of `act_fn` overwritten at the prompt's last token, in every layer.

    What is written is what the clean model had there, times the factors `[layer neuron]`; the up
    projection is that of the patched pass.
    """
    functions = [block.mlp.act_fn for block in original.model.layers]
    assert len({id(function) for function in functions}) == LAYERS
    clean: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            clean[layer] = output[0, prompt - 1].clone()

        return hook

    def overwrite(layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
            patched = output.clone()
            patched[0, prompt - 1] = clean[layer] * factor[layer]
            return patched

        return hook

    for hooked, tokens in ((keep, row[:prompt]), (overwrite, row)):
        handles = [f.register_forward_hook(hooked(i)) for i, f in enumerate(functions)]
        logits = plain(original, tokens)
        for handle in handles:
            handle.remove()
    return logits


def rows_and_lengths(model: Any, pairs: ls.ContrastivePairs) -> tuple[list[list[int]], list[int]]:
    rows = [encode(model, example.prompt, example.continuation) for example in pairs.desired]
    return [list(row.ids) for row in rows], [row.prompt_length for row in rows]


def steered_rows(
    model: Any, method: Any, rows: list[list[int]], lengths: list[int], side: str
) -> list[Tensor]:
    batch = padded(model, rows, side)
    with torch.no_grad(), ls.steered(model, method, prompt_lengths=lengths):
        logits = run(model, batch.tokens, batch.mask)
    return [found[torch.tensor(real)] for found, real in zip(logits, batch.real, strict=True)]


@pytest.mark.parametrize("delta", [4.0, -1.0])
def test_gates_are_held_as_released(twins: Twins, pairs: ls.ContrastivePairs, delta: float) -> None:
    mask = drawn_mask(twins.model)
    factor = 1 + delta * mask.selected.float()
    rows, lengths = rows_and_lengths(twins.model, pairs)
    wanted = [
        released(twins.original, row, n, factor) for row, n in zip(rows, lengths, strict=True)
    ]
    clean = [plain(twins.original, row) for row in rows]
    for side in ("left", "right"):
        batch = padded(twins.model, rows, side)
        with torch.no_grad():
            logits = run(twins.model, batch.tokens, batch.mask)
        found = steered_rows(twins.model, FrozenSADI(mask, delta), rows, lengths, side)
        for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            effect = float((theirs - clean[i]).abs().max())
            rounding = float((logits[i][torch.tensor(batch.real[i])] - clean[i]).abs().max())
            assert effect > 0.1
            assert rounding < 1e-4
            assert float((ours - theirs).abs().max()) < EFFECT * effect + 2 * rounding


def test_neurons_are_another_method(twins: Twins, pairs: ls.ContrastivePairs) -> None:
    rows, lengths = rows_and_lengths(twins.model, pairs)
    mask = drawn_mask(twins.model)
    product = FrozenSADI(drawn_mask(twins.model, Kind.NEURON), 4.0)
    shares = []
    for i, found in enumerate(steered_rows(twins.model, product, rows, lengths, "left")):
        gate = released(twins.original, rows[i], lengths[i], 1 + 4.0 * mask.selected.float())
        effect = (gate - plain(twins.original, rows[i])).norm()
        shares.append(float((found - gate).norm() / effect))
    assert min(shares) > 0.1


def test_texts_are_the_released_ones_cached_or_not(
    twins: Twins, pairs: ls.ContrastivePairs
) -> None:
    model, mask = twins.model, drawn_mask(twins.model)
    method, prompts = FrozenSADI(mask, 9.0), list(pairs.prompts)
    expected, rows = [], []
    for prompt in prompts:
        row, new = encode_prompt(model, prompt), list[int]()
        rows.append(row)
        for _ in range(4):
            factor = 1 + 9.0 * mask.selected.float()
            logits = released(twins.original, [*row, *new], len(row), factor)
            new.append(int(logits[-1].argmax()))
        expected.append(new)
    how = ls.Decoding(temperature=0.0, max_new_tokens=4)
    for use_cache in (True, False):
        found = continuations(model, rows, method, decoding=how, use_cache=use_cache)
        assert sum(map(len, found)) > 12
        assert [new[: len(ids)] for new, ids in zip(expected, found, strict=True)] == found


def test_half_the_strength_and_none(twins: Twins, pairs: ls.ContrastivePairs) -> None:
    rows, lengths = rows_and_lengths(twins.model, pairs)
    mask = drawn_mask(twins.model)
    half = FrozenSADI(mask, 2.0).with_strength(0.5)
    for found, own in zip(
        steered_rows(twins.model, half, rows, lengths, "left"),
        steered_rows(twins.model, FrozenSADI(mask, 1.0), rows, lengths, "left"),
        strict=True,
    ):
        assert torch.equal(found, own)
    batch = padded(twins.model, rows, "left")
    with torch.no_grad():
        clean = run(twins.model, batch.tokens, batch.mask)
        with ls.steered(twins.model, half.with_strength(0), prompt_lengths=lengths):
            assert torch.equal(run(twins.model, batch.tokens, batch.mask), clean)


def test_it_is_saved_and_says_where_it_writes(
    twins: Twins, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    method = FrozenSADI(drawn_mask(twins.model), 3.0)
    ls.save(method, tmp_path / "gates")
    again = ls.load(tmp_path / "gates", model=twins.model)
    assert repr(again) == repr(method)
    assert repr(method).endswith(".mlp.hook_post")
    how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 4, "seed": 0}
    prompts = pairs.prompts[:2]
    assert ls.generate(twins.model, prompts, again, **how) == ls.generate(
        twins.model, prompts, method, **how
    )


def test_a_condition_may_decide_whether_it_acts(llama: Any, pairs: ls.ContrastivePairs) -> None:
    method, prompts = FrozenSADI(drawn_mask(llama), 9.0), list(pairs.prompts)
    how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 4, "seed": 0}
    direction = torch.ones(llama.cfg.d_model)
    for threshold, inner in ((-2.0, [method]), (2.0, [])):
        gate = Gate(method, ls.steering.CosineCondition(direction), 1, threshold)
        assert ls.generate(llama, prompts, gate, **how) == ls.generate(
            llama, prompts, *inner, **how
        )


# ---- the gates themselves ----


def test_clean_gates_are_what_capture_reads(model: Any, pairs: ls.ContrastivePairs) -> None:
    if not has_gates(model, 0):
        assert model.cfg.gated_mlp is False
        with pytest.raises(ValueError, match="no hook point blocks.0.mlp.hook_pre_linear"):
            clean_gates(model, torch.tensor([[5, 6]]), None, [0], lambda x: x)
        return
    row = encode_prompt(model, pairs.prompts[1])
    with torch.no_grad():
        gates = clean_gates(model, torch.tensor([row]), None, [1, 3], lambda x: x[:, -1])
    captured = ls.capture(model, pairs, "gate", read="prompt_last", progress=False).desired[1]
    for layer, gate in gates.items():
        torch.testing.assert_close(gate[0], captured[layer], atol=1e-5, rtol=1e-4)


def test_what_a_gate_multiplies_is_captured(llama: Any, pairs: ls.ContrastivePairs) -> None:
    gate, up, neuron = (
        ls.capture(llama, pairs, kind, progress=False) for kind in ("gate", "up", "neuron")
    )
    torch.testing.assert_close(gate.desired * up.desired, neuron.desired, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="multiplied by its gate.*'neuron'"):
        ls.models.residual_edit(llama, Site(1, Kind.UP), up.desired[:, 1], 2 * up.desired[:, 1])


def test_a_gate_that_is_another_function_is_refused(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    model.cfg.act_fn = "relu"
    assert float(gate_function(model)(torch.tensor(-1.0))) == 0
    method = FrozenSADI(drawn_mask(model), 3.0)
    with (
        torch.no_grad(),
        ls.steered(model, method),
        pytest.raises(ValueError, match="are not relu of the gate times the up projection"),
    ):
        run(model, torch.tensor([encode_prompt(model, "The cat")]), None)


def test_without_its_prompts_it_refuses(llama: Any) -> None:
    method = FrozenSADI(drawn_mask(llama), 3.0)
    edits = method.edits(llama)
    assert sorted(edits) == [
        Site(k, kind) for k in range(LAYERS) for kind in (Kind.UP, Kind.NEURON)
    ]
    for edit in edits.values():
        with pytest.raises(ValueError, match="without their clean activations"):
            edit(torch.ones(2, llama.cfg.d_mlp))
