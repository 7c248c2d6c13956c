"""By which later heads and MLPs an edit changes the answer: orders, oracles, a planted head."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.activations import capture
from lens_steer.artifacts import load as load_artifact
from lens_steer.artifacts import save
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics import EditAttribution, edit_attribution
from lens_steer.evaluation import preference
from lens_steer.models import encode, load_model
from lens_steer.sites import Site
from lens_steer.steering import CAA, Additive, steered
from tests.conftest import LAYERS, Loader, tokenizer_of
from tests.interventions import push

UNPAIRED = ContrastivePairs.unpaired(["a cat", "the dog"], ["b", "c", "d"])
# float32 through four blocks, of changes of order .01 to 1 nat per token.
ROUNDING = 2e-5


def attributed(
    model: Any, pairs: ContrastivePairs, method: Additive, **options: Any
) -> EditAttribution:
    return edit_attribution(model, pairs, method, **{"progress": False, "check": 3, **options})


def first_order(found: EditAttribution) -> Tensor:
    return found.path + found.direct.sum(dim=(1, 2))


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "gemma2"])
def test_the_error_of_the_first_order_is_of_second_order(
    architecture: str, fresh_model: Loader, pairs: ContrastivePairs
) -> None:
    """Direct effects add up to the change of m: halving the strength quarters what is left."""
    model = fresh_model(architecture, dtype=torch.float64)
    some = ContrastivePairs(pairs.desired[:3], pairs.undesired[:3])
    method, errors, patches = push(model), [], []
    for strength in (2e-2, 1e-2):
        # One row at a time: Gemma 2 gives NaN for padded rows in float64.
        found = attributed(model, some, method.with_strength(strength), token_budget=1)
        errors.append(float((first_order(found) - found.totals).norm()))
        effects = found.effects.flatten(1).T[list(found.checked)]
        patches.append(float((effects - found.patched).norm()))
        assert abs(found.explained.mean - 1) < 0.2
    for series in (errors, patches):
        ratios = np.array(series[:-1]) / np.array(series[1:])
        np.testing.assert_allclose(ratios, 4, atol=0.5)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_totals_are_the_change_of_the_preference(
    architecture: str, load: Loader, pairs: ContrastivePairs
) -> None:
    model = load(architecture)
    method = push(model, layer=2)
    found = attributed(model, pairs, method, check=1)
    expected = preference(model, pairs, method) - preference(model, pairs)
    torch.testing.assert_close(found.totals.float(), expected, atol=ROUNDING, rtol=1e-4)


@pytest.mark.parametrize("scope", ["last", "all", (2, 3)])
def test_scope_is_that_of_steered(llama: Any, pairs: ContrastivePairs, scope: Any) -> None:
    method = push(llama)
    found = attributed(llama, pairs, method, check=1, scope=scope)
    expected = preference(llama, pairs, method, scope=scope) - preference(llama, pairs)
    torch.testing.assert_close(found.totals.float(), expected, atol=ROUNDING, rtol=1e-4)


def test_batches_make_no_difference(llama: Any, pairs: ContrastivePairs) -> None:
    together, alone = (
        attributed(llama, pairs, push(llama), token_budget=n, check=2) for n in (4096, 1)
    )
    for name in ("effects", "direct", "path", "totals", "patched"):
        ours, theirs = getattr(together, name), getattr(alone, name)
        torch.testing.assert_close(ours, theirs, atol=ROUNDING, rtol=1e-3)


def test_nothing_before_the_edit_has_an_effect(llama: Any, pairs: ContrastivePairs) -> None:
    found = attributed(llama, pairs, push(llama, layer=1), check=100)
    assert not found.effects[:, :2].any()
    assert found.effects[:, 2:].all()
    assert len(found.checked) == (LAYERS - 2) * found.effects.shape[2]
    last = attributed(llama, pairs, push(llama, layer=LAYERS - 1))
    assert not last.effects.any()
    assert last.checked == ()
    assert np.isnan(last.check["correlation"])
    assert len(last.table()) == 1 + found.effects[0].numel()


def test_the_direct_path_is_the_vector_through_the_final_norm(
    fresh_model: Loader, pairs: ContrastivePairs
) -> None:
    """<r, vector> with r by central differences at the last residual stream, one pair."""
    model = fresh_model("gpt2", dtype=torch.float64)
    pair = ContrastivePairs((pairs.desired[1],), (pairs.undesired[1],))
    vector = push(model).vectors[0].double()
    found = attributed(model, pair, Additive((Site(1),), (vector,), strength=1e-3))
    at_end = Additive((Site(LAYERS - 1),), (vector,), strength=1e-3)
    up = preference_64(model, pair, at_end)
    down = preference_64(model, pair, at_end.with_strength(-1e-3))
    assert float(found.path[0]) == pytest.approx((up - down) / 2, rel=1e-4)


def preference_64(model: Any, pair: ContrastivePairs, method: Additive) -> float:
    scores = []
    for example in (pair.desired[0], pair.undesired[0]):
        row = encode(model, example.prompt, example.continuation)
        with torch.no_grad(), steered(model, method, prompt_lengths=[row.prompt_length]):
            logits = model(torch.tensor([row.ids]))[0].log_softmax(dim=-1)
        places = range(row.prompt_length, len(row.ids))
        scores.append(np.mean([float(logits[p - 1, row.ids[p]]) for p in places]))
    return float(scores[0] - scores[1])


@pytest.mark.parametrize("architecture", ["llama", "neox"])
def test_patches_are_what_hooks_of_transformer_lens_measure(
    architecture: str, load: Loader, pairs: ContrastivePairs
) -> None:
    """The steered output of one component in the clean run, row by row and by other hooks."""
    model, method = load(architecture), push(load(architecture), size=3.0)
    found = attributed(model, pairs, method, check=6)
    component = found.checked[0]
    layer, c = divmod(component, found.effects.shape[2])
    is_mlp = c == found.effects.shape[2] - 1
    name = f"blocks.{layer}.hook_mlp_out" if is_mlp else f"blocks.{layer}.attn.hook_z"

    def score(example: Any, method: Additive) -> float:
        row, kept = encode(model, example.prompt, example.continuation), []
        tokens = torch.tensor([row.ids])

        def keep(x: Tensor, hook: Any) -> None:
            kept.append(x.clone())

        def put(x: Tensor, hook: Any) -> Tensor:
            if is_mlp:
                return kept[0]
            return torch.cat([x[:, :, :c], kept[0][:, :, c : c + 1], x[:, :, c + 1 :]], dim=2)

        with torch.no_grad():
            with (
                steered(model, method, prompt_lengths=[row.prompt_length]),
                model.hooks(fwd_hooks=[(name, keep)]),
            ):
                model(tokens)
            with model.hooks(fwd_hooks=[(name, put)]):
                logits = model(tokens)[0].double().log_softmax(dim=-1)
        places = range(row.prompt_length, len(row.ids))
        return float(np.mean([float(logits[p - 1, row.ids[p]]) for p in places]))

    for i in (0, 3):
        sides = (pairs.desired[i], pairs.undesired[i])
        change = [score(e, method) - score(e, method.with_strength(0.0)) for e in sides]
        assert float(found.patched[0, i]) == pytest.approx(change[0] - change[1], abs=ROUNDING)


@pytest.mark.parametrize("planted", ["L2 head 3", "L3 head 1", "L3 MLP"])
def test_a_component_that_alone_writes_after_the_edit_comes_first(
    planted: str, model_dirs: dict[str, Path], tmp_path: Path, pairs: ContrastivePairs
) -> None:
    model = load_model(only_writer(planted, model_dirs["gpt2"], tmp_path), device="cpu")
    found = attributed(model, pairs, push(model))
    assert [found.name_of(i) for i in found.checked] == [planted]
    assert found.table()["component"].tolist()[:2] == ["direct path of the edit", planted]
    torch.testing.assert_close(  # nothing else is left to carry an effect
        found.effects.sum(dim=(1, 2)), found.effects.flatten(1)[:, found.checked[0]]
    )


def only_writer(planted: str, source: Path, folder: Path) -> Path:
    """A GPT-2 of which one component after block 1 writes to the residual stream."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    layer, what = int(planted[1]), planted[3:]
    with torch.no_grad():
        for i in range(2, LAYERS):
            block = model.transformer.h[i]
            for weight, name in ((block.attn.c_proj.weight, "head"), (block.mlp.c_proj.weight, "")):
                kept = weight.clone()  # [input, output]: a head's inputs lie side by side
                weight.zero_()
                if i == layer and name and what.startswith(name):
                    own = slice(8 * int(what[-1]), 8 * int(what[-1]) + 8)
                    weight[own] = kept[own]
                if i == layer and not name and what == "MLP":
                    weight.copy_(kept)
    model.save_pretrained(folder)
    tokenizer_of("gpt2").save_pretrained(folder)
    return folder


def test_the_report_is_saved_and_shown(llama: Any, pairs: ContrastivePairs, tmp_path: Path) -> None:
    found = attributed(llama, pairs, push(llama), check=5)
    save(found, tmp_path / "why.safetensors")
    again = load_artifact(tmp_path / "why.safetensors")
    assert repr(again) == repr(found)
    assert len(repr(found).splitlines()) < 20
    assert found.check["components"] == 5
    assert abs(found.check["correlation"]) <= 1
    table = found.table()
    effects, patched = (np.asarray(table[name]) for name in ("effect", "patched"))
    assert (np.diff(np.abs(effects[1:])) <= 0).all()
    assert np.isfinite(patched).sum() == 5
    labels = [axes.get_ylabel() for axes in found.figure().axes]
    assert any("nats per token" in label for label in labels)


def test_bad_input_is_refused(llama: Any, gpt2: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="both continuations"):
        attributed(llama, UNPAIRED, push(llama))
    with pytest.raises(ValueError, match="strength 0"):
        attributed(llama, pairs, push(llama).with_strength(0.0))
    with pytest.raises(ValueError, match="layer 9"):
        attributed(llama, pairs, push(llama, layer=9))
    of_llama = CAA.fit(capture(llama, pairs, "resid", progress=False).at(layer=1))
    with pytest.raises(ValueError, match="model"):
        attributed(gpt2, pairs, of_llama)
    narrow = Additive((Site(1),), (torch.ones(7),))
    with pytest.raises(ValueError, match="7"):
        attributed(gpt2, pairs, narrow)
    with (
        steered(llama, push(llama)),
        pytest.raises(ValueError, match="outside the block"),
    ):
        attributed(llama, pairs, push(llama))
    found = attributed(llama, pairs, push(llama), check=1)
    with pytest.raises(ValueError, match="expected as many"):
        replace(found, groups=found.groups[:2])
