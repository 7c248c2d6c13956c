import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lens_steer.models import (
    Decoder,
    Fingerprint,
    SteerableModel,
    attach,
    available_device,
    context_length,
    forward,
    hooked,
    is_bridge,
    is_processed,
    load_model,
    logits_at,
    pad,
    read,
)
from lens_steer.sites import Kind, Site, hook_point
from tests.conftest import ARCHITECTURES, BACKENDS, CONTEXT, HAS_HOOKED, LAYERS, Loader, write_model
from tests.interventions import all_kinds

# Two implementations of one model in float32, a few layers deep; logits are of order 1 to 10.
LOGITS = 1e-5  # of the largest: two float32 implementations of one model, on any processor
# The same sums in another order: blocked, cached or padded.
ORDER = 2e-5

needs_hooked = pytest.mark.skipif(
    not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer"
)


def some_tokens(rows: int = 2, length: int = 24, vocab: int = 120) -> torch.Tensor:
    """Longer than Gemma's window; no special tokens."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(3, vocab, (rows, length), generator=draw)


@pytest.fixture
def copied(model_dirs: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a model's directory, to be broken."""

    def copy(architecture: str = "llama", name: str = "copy") -> Path:
        return Path(shutil.copytree(model_dirs[architecture], tmp_path / name))

    return copy


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_load_model_gives_the_logits_of_hugging_face(
    architecture: str, backend: str, load: Loader, model_dirs: dict[str, Path]
) -> None:
    from transformers import AutoModelForCausalLM

    original: Any = AutoModelForCausalLM.from_pretrained(
        model_dirs[architecture], attn_implementation="eager"
    )
    tokens = some_tokens()
    with torch.no_grad():
        theirs = original.eval()(tokens).logits
        ours = forward(load(architecture, backend), tokens)
    assert theirs.std() > 0.5  # the tiny models tell tokens apart
    atol = LOGITS * theirs.abs().max().item()
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_accepts_a_path_that_names_another_architecture(
    backend: Any, model_dirs: dict[str, Path], tmp_path: Path, load: Loader
) -> None:
    misleading = tmp_path / "llama-2-gemma-7b-chat-hf"
    shutil.copytree(model_dirs["qwen2"], misleading)
    found = load_model(str(misleading), backend=backend, device="cpu")
    tokens = some_tokens()
    with torch.no_grad():
        assert torch.equal(found(tokens), load("qwen2", backend)(tokens))


def test_load_model_makes_the_model_class_that_was_asked_for(model: Any) -> None:
    assert isinstance(model, SteerableModel)
    assert is_bridge(model) == (type(model).__name__ == "TransformerBridge")


def test_load_model_knows_the_context_of_the_checkpoint(model: Any) -> None:
    assert context_length(model) == CONTEXT


def test_load_model_runs_without_dropout_and_with_raw_weights(model: Any) -> None:
    assert not model.training
    assert not is_processed(model)


def test_load_model_keeps_the_dtype_it_is_asked_for(fresh_model: Loader) -> None:
    for backend in BACKENDS:
        half = fresh_model("llama", backend, dtype=torch.bfloat16)
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        with torch.no_grad():
            assert half(some_tokens()).dtype == torch.bfloat16


@pytest.mark.usefixtures("untyped")
def test_load_model_refuses_an_unknown_backend(model_dirs: dict[str, Path]) -> None:
    backend: Any = "vllm"
    with pytest.raises(ValueError, match="backend='vllm', expected one of 'bridge', 'hooked'"):
        load_model(model_dirs["llama"], backend=backend)


@pytest.mark.skipif(HAS_HOOKED, reason="TransformerLens 3.9 has HookedTransformer")
def test_load_model_says_that_transformer_lens_4_has_no_hooked_backend(
    model_dirs: dict[str, Path],
) -> None:
    with pytest.raises(ValueError, match=r"needs TransformerLens 3\.9.*use backend='bridge'"):
        load_model(model_dirs["llama"], backend="hooked")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name", ["", ".", "/no/such/model", "./no-such-model", "~/no-such-model", "a/b/c/d"]
)
def test_load_model_names_the_directory_that_is_not_a_model(name: str, backend: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a (local model )?directory"):
        load_model(name, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["no-such-model", "no-such-owner/no-such-model"])
def test_load_model_names_the_hub_model_that_it_cannot_load(name: str, backend: Any) -> None:
    with pytest.raises(ValueError, match=name):
        load_model(name, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_a_directory_without_config(
    backend: Any, copied: Callable[..., Path]
) -> None:
    directory = copied()
    (directory / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_model(directory, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"model_type": "banana"}', "\xff"])
def test_load_model_refuses_a_broken_config(
    text: str, backend: Any, copied: Callable[..., Path]
) -> None:
    directory = copied()
    (directory / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="copy|banana"):
        load_model(directory, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_missing_weights(backend: Any, copied: Callable[..., Path]) -> None:
    directory = copied()
    (directory / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"cannot load .*model\.safetensors"):
        load_model(directory, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_files_that_lack_one_weight(
    backend: Any, copied: Callable[..., Path]
) -> None:
    from safetensors.torch import load_file, save_file

    path = copied() / "model.safetensors"
    weights = load_file(path)
    del weights["model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not hold 1 of .*model\.norm\.weight is missing"):
        load_model(path.parent, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_weights_that_were_cut_short(
    backend: Any, copied: Callable[..., Path]
) -> None:
    weights = copied() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot load"):
        load_model(weights.parent, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_weights_of_other_sizes(
    backend: Any, copied: Callable[..., Path]
) -> None:
    config = copied() / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"intermediate_size": 64}))
    with pytest.raises(ValueError, match="cannot load"):
        load_model(config.parent, backend=backend, device="cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_model_refuses_a_damaged_number_of_layers_at_once(
    backend: Any, copied: Callable[..., Path]
) -> None:
    """The layers were made one by one, without an end."""
    config = copied() / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 2**63}))
    with pytest.raises(ValueError, match=r"says 9223372036854775808 layers, expected at most"):
        load_model(config.parent, backend=backend, device="cpu")


def test_an_error_of_a_loader_is_shortened(copied: Callable[..., Path]) -> None:
    file = copied() / "tokenizer.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"added_tokens": "x" * 100_000}))
    with pytest.raises(ValueError, match="cannot load") as refused:
        load_model(file.parent, device="cpu")
    assert len(str(refused.value)) < 1500


def test_load_model_leaves_the_random_state_alone(model_dirs: dict[str, Path]) -> None:
    for backend in BACKENDS:
        before = torch.get_rng_state()
        load_model(model_dirs["gpt2"], backend=backend, device="cpu")
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps:3", "meta"])
def test_load_model_refuses_a_device_that_is_not_there(
    device: str, model_dirs: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=f"'{device}' is not on this machine.*use cpu"):
        load_model(model_dirs["llama"], device=device)


@pytest.mark.parametrize("device", ["banana", "", "cuda:x"])
def test_load_model_refuses_what_is_no_device(device: str, model_dirs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="is not one: expected cpu, cuda"):
        load_model(model_dirs["llama"], device=device)


def test_available_device_takes_the_best_there_is_when_none_is_named() -> None:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert available_device(None) == torch.device(best)
    assert available_device("cpu") == available_device(torch.device("cpu")) == torch.device("cpu")


def test_attach_remembers_a_model(model: Any) -> None:
    assert attach(model) is attach(model)


def test_attach_leaves_no_hook_behind(fresh_model: Loader) -> None:
    for backend in BACKENDS:
        found = fresh_model("llama", backend)
        assert not any(point.fwd_hooks for point in found.hook_dict.values())


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("other", [None, 42, "gpt2", torch.nn.Linear(2, 2), SimpleNamespace(cfg=1)])
def test_attach_refuses_what_is_no_transformer_lens_model(other: Any) -> None:
    with pytest.raises(ValueError, match="expected a HookedTransformer or TransformerBridge"):
        attach(other)


@pytest.mark.usefixtures("untyped")
def test_attach_tells_a_hugging_face_user_how_to_wrap_the_model(
    model_dirs: dict[str, Path],
) -> None:
    from transformers import AutoModelForCausalLM

    original: Any = AutoModelForCausalLM.from_pretrained(model_dirs["llama"])
    with pytest.raises(ValueError, match=r"LlamaForCausalLM.*boot_transformers\(.*hf_model="):
        attach(original)


@pytest.fixture
def unseen(model_dirs: dict[str, Path], load: Loader) -> Loader:
    """`unseen(architecture, backend)`: a model as its user made it, which `attach` has not seen."""

    def make(architecture: str, backend: str = "bridge") -> Any:
        if backend == "hooked":
            return deepcopy(load(architecture, backend))
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(str(model_dirs[architecture]), device="cpu")

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_attach_names_the_layer_whose_residual_does_not_add_up(
    backend: str, unseen: Loader
) -> None:
    found = unseen("llama", backend)
    found.hook_dict["blocks.2.hook_resid_post"].add_hook(lambda x, hook: x + 1.0)  # noqa: ARG005
    with pytest.raises(ValueError, match=r"differs from resid_post.* layer 2 by [0-9.e-]+:") as e:
        attach(found)
    assert "layer 1" not in str(e.value)
    assert "layer 3" not in str(e.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_attach_refuses_a_model_that_is_not_finite(backend: str, unseen: Loader) -> None:
    found = unseen("llama", backend)
    broken = found.hook_dict["blocks.1.mlp.hook_post"]
    broken.add_hook(lambda x, hook: x * torch.nan)  # noqa: ARG005
    with pytest.raises(ValueError, match="layer 1 by nan"):
        attach(found)


@pytest.mark.parametrize("missing", ["hook_resid_post", "hook_attn_out"])
def test_what_a_model_has_no_hook_point_for_is_named(
    missing: str, unseen: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a residual stream there is nothing to steer; without a part there is the stream."""
    found = unseen("llama")
    points = {k: v for k, v in found.hook_dict.items() if k != f"blocks.3.{missing}"}
    monkeypatch.setattr(type(found), "hook_dict", property(lambda _: points))
    look: Any = attach
    if missing == "hook_attn_out":
        attach(found)
        look = partial(hook_point, site=Site(3, Kind.ATTN_OUT))
    with pytest.raises(ValueError, match=rf"no hook point blocks\.3\.{missing}"):
        look(found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attach_sees_that_a_bridge_was_processed_since(
    architecture: str, fresh_model: Loader
) -> None:
    found = fresh_model(architecture)
    raw = attach(found)
    found.enable_compatibility_mode()
    assert is_processed(found)
    folded = attach(found)
    assert folded.fingerprint.processed
    differences = raw.fingerprint.differences(folded.fingerprint)
    assert differences == ["processed False against True"]


def test_attach_takes_compatibility_mode_without_processing_for_raw(fresh_model: Loader) -> None:
    found = fresh_model("gpt2")
    raw = attach(found)
    found.enable_compatibility_mode(no_processing=True)
    assert not is_processed(found)
    assert attach(found) is raw


def processed_hooked(raw: Any, **options: bool) -> Any:
    """A HookedTransformer of the same weights, folded as its `from_pretrained` does."""
    from transformer_lens import HookedTransformer

    folding = {
        "fold_ln": True,
        "center_writing_weights": raw.cfg.normalization_type == "LN",
        "center_unembed": raw.cfg.output_logits_soft_cap <= 0,  # which a shift would pass through
        "fold_value_biases": True,
    }
    found = HookedTransformer(deepcopy(raw.cfg), raw.tokenizer)
    found.load_and_process_state_dict(
        {name: value.clone() for name, value in raw.state_dict().items()}, **(folding | options)
    )
    return found.eval()


@needs_hooked
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_is_processed_sees_folded_norms_of_a_hooked_transformer(
    architecture: str, load: Loader
) -> None:
    raw = load(architecture, "hooked")
    folded = processed_hooked(raw)
    assert is_processed(folded)
    assert not is_processed(raw)
    with torch.no_grad():  # the comparison means something: it is the same model
        ours, theirs = (m(some_tokens()).log_softmax(-1) for m in (folded, raw))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    differences = attach(folded).fingerprint.differences(attach(raw).fingerprint)
    assert differences == ["processed True against False"]


@needs_hooked
@pytest.mark.parametrize("architecture", ["gpt2", "neox"])
def test_is_processed_sees_centred_weights_whose_norms_are_not_folded(
    architecture: str, load: Loader
) -> None:
    centred = processed_hooked(load(architecture, "hooked"), fold_ln=False)
    assert is_processed(centred)


def test_fingerprint_of_both_backends_is_the_same(load: Loader) -> None:
    if not HAS_HOOKED:
        pytest.skip("TransformerLens 4 has no HookedTransformer")
    for architecture in ARCHITECTURES:
        one, other = (attach(load(architecture, b)).fingerprint for b in BACKENDS)
        assert one.differences(other) == [], architecture


def test_fingerprint_says_what_the_model_is(load: Loader) -> None:
    found = attach(load("llama")).fingerprint
    assert (found.n_layers, found.d_model, found.n_heads, found.d_head) == (LAYERS, 32, 4, 8)
    assert (found.d_mlp, found.d_vocab, found.dtype) == (48, 120, "float32")
    assert not found.processed
    assert "llama" in found.architecture.lower()
    assert len(found.norms) == len(found.projections) == LAYERS


def test_fingerprint_norms_are_those_of_the_residual_stream(model: Any) -> None:
    tokens = (torch.arange(8)[None] * 37 + 11) % model.cfg.d_vocab
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    expected = [cache[f"blocks.{i}.hook_resid_post"][0, -1].norm().item() for i in range(LAYERS)]
    assert attach(model).fingerprint.norms == pytest.approx(expected, rel=1e-5)


def test_fingerprint_is_the_same_after_loading_again(fresh_model: Loader, load: Loader) -> None:
    for backend in BACKENDS:
        assert (
            attach(fresh_model("gpt2", backend)).fingerprint
            == attach(load("gpt2", backend)).fingerprint
        )


def test_fingerprint_names_shapes_that_differ(load: Loader) -> None:
    llama, qwen3 = (attach(load(name)).fingerprint for name in ("llama", "qwen3"))
    differences = llama.differences(qwen3)
    assert "d_head 8 against 16" in differences
    assert any(line.startswith("architecture") for line in differences)
    assert not any("weights" in line for line in differences)


def test_fingerprint_tells_other_weights_of_the_same_shape(load: Loader, tmp_path: Path) -> None:
    other = load_model(write_model("llama", tmp_path / "other", seed=1), device="cpu")
    differences = attach(load("llama")).fingerprint.differences(attach(other).fingerprint)
    assert len(differences) == 1
    assert "differs from layer 0 on" in differences[0]


def test_fingerprint_names_the_layer_from_which_weights_differ(
    fresh_model: Loader, load: Loader, model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    original: Any = AutoModelForCausalLM.from_pretrained(model_dirs["llama"])
    with torch.no_grad():
        original.model.layers[2].mlp.down_proj.weight.mul_(1.1)
    shutil.copytree(model_dirs["llama"], tmp_path / "tuned")
    original.save_pretrained(tmp_path / "tuned")
    tuned = attach(load_model(tmp_path / "tuned", device="cpu")).fingerprint
    differences = attach(load("llama")).fingerprint.differences(tuned)
    assert differences == ["weights: the probe's residual stream differs from layer 2 on"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fingerprint_does_not_mind_the_dtype(
    architecture: str, fresh_model: Loader, load: Loader
) -> None:
    half = attach(fresh_model(architecture, dtype=torch.bfloat16)).fingerprint
    full = attach(load(architecture)).fingerprint
    assert half.dtype == "bfloat16"
    assert half.differences(full) == full.differences(half) == []


def test_fingerprint_survives_a_residual_of_zeros(load: Loader) -> None:
    found = Fingerprint.of(load("llama"), torch.zeros(LAYERS, 32), False)
    assert found.norms == found.projections == (0.0,) * LAYERS
    assert found.differences(found) == []


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_forward_gives_padded_rows_what_it_gives_them_alone(model: Any, left: bool) -> None:
    rows = [some_tokens(1, n)[0] for n in (5, 24, 19)]
    tokens = torch.zeros(3, 24, dtype=torch.long)
    mask = torch.zeros(3, 24, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(24 - len(row), 24) if left else slice(len(row))
        tokens[i, place], mask[i, place] = row, True
    with torch.no_grad():
        together = forward(model, tokens, mask)
        for i, row in enumerate(rows):
            torch.testing.assert_close(
                together[i][mask[i]], forward(model, row[None])[0], atol=ORDER, rtol=0
            )


def test_decoder_gives_the_logits_of_a_pass_without_a_cache(model: Any) -> None:
    rows = [some_tokens(1, n)[0] for n in (3, 20, 9)]
    tokens = torch.zeros(3, 20, dtype=torch.long)
    mask = torch.zeros(3, 20, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, 20 - len(row) :], mask[i, 20 - len(row) :] = row, True
    added = some_tokens(3, 6)
    with torch.no_grad():
        decoder = Decoder(model, tokens, mask)
        steps = [decoder.start(), *(decoder.advance(added[:, i : i + 1]) for i in range(6))]
        for i, row in enumerate(rows):
            alone = forward(model, torch.cat([row, added[i]])[None])[0, len(row) - 1 :]
            torch.testing.assert_close(
                torch.stack([step[i] for step in steps]), alone, atol=ORDER, rtol=0
            )


def test_read_stops_after_the_last_site(model: Any) -> None:
    seen: list[str] = []

    def reached(name: str) -> Any:
        return lambda x, hook: seen.append(name)  # noqa: ARG005

    watch = ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", "unembed.hook_out"]
    with torch.no_grad(), model.hooks(fwd_hooks=[(name, reached(name)) for name in watch]):
        found = read(model, some_tokens(), None, {Site(1): lambda x: x.clone()})
    assert list(found) == [Site(1)]
    assert "blocks.2.hook_resid_pre" not in seen
    assert "unembed.hook_out" not in seen


def test_hooked_removes_its_hooks_after_an_exception(model: Any) -> None:
    tokens = some_tokens()
    with torch.no_grad():
        before = model(tokens)

        def fail(x: torch.Tensor) -> None:
            raise KeyError("midway")

        with pytest.raises(KeyError, match="midway"), hooked(model, {Site(0): fail, Site(2): fail}):
            model(tokens)
        assert not any(point.fwd_hooks for point in model.hook_dict.values())
        assert torch.equal(before, model(tokens))


def test_hooked_hooks_nothing_when_a_site_does_not_exist(llama: Any) -> None:
    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    with pytest.raises(ValueError, match="layer 9"), hooked(llama, {Site(0): same, Site(9): same}):
        pass
    assert not any(point.fwd_hooks for point in llama.hook_dict.values())


def test_a_returned_edit_reaches_the_logits_at_every_editable_kind(model: Any) -> None:
    tokens = some_tokens(1)
    with torch.no_grad():
        before = model(tokens)
        for kind in all_kinds(model):
            with hooked(model, {Site(1, kind): lambda x: x.flip(-1)}):
                assert (before - model(tokens)).abs().max() > 1e-2, kind


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_the_embedding_is_looked_through_once_while_nothing_is_folded(
    fresh_model: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, looked = fresh_model("gpt2", "hooked"), []
    with monkeypatch.context() as patch:
        patch.setattr("lens_steer.models.attachment._centred", lambda m: bool(looked.append(m)))
        first = attach(model)
        assert attach(model) is first
        assert len(looked) <= 1  # at load_model, or now
    with torch.no_grad():
        model.W_E.sub_(model.W_E.mean(dim=-1, keepdim=True))
    assert attach(model).fingerprint.processed


def test_logits_at_some_positions_are_those_of_the_whole_pass(model: Any) -> None:
    tokens, mask = pad(model, [[5, 6, 7, 8, 9], [10, 11, 12]])
    rows, columns = torch.tensor([0, 1, 0]), torch.tensor([4, 2, 0])
    with torch.no_grad():
        expected = forward(model, tokens, mask)[rows, columns]
        found = logits_at(model, tokens, mask, rows, columns)
        assert (found - expected).abs().max() <= ORDER * expected.abs().max()
        assert forward(model, tokens, mask).shape[:2] == tokens.shape  # nothing is left behind


def test_hooks_of_the_user_on_the_logits_see_all_of_them(llama: Any) -> None:
    tokens, mask = pad(llama, [[5, 6, 7, 8, 9], [10, 11, 12]])
    at = torch.tensor([0, 1]), torch.tensor([4, 2])
    seen = []
    with torch.no_grad(), llama.hooks([("unembed.hook_out", lambda x, **_: seen.append(x.shape))]):
        logits_at(llama, tokens, mask, *at)
    assert seen[0][:2] == tokens.shape
