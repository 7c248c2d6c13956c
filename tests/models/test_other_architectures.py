"""State-space blocks are steered by their residual stream alone; T5 and adapters are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from lens_steer.models import attach, load_model
from tests.conftest import BACKENDS, tokenizer_of, vocabulary, write_weights

KINDS = ("mamba", "lfm2")
ROUNDING: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


def config_of(kind: str) -> Any:
    import transformers as hf

    tokens, _ = vocabulary()
    shared: dict[str, Any] = {"vocab_size": len(tokens), "hidden_size": 32, "num_hidden_layers": 2}
    shared |= {"bos_token_id": tokens["<s>"], "eos_token_id": tokens["</s>"]}
    shared |= {"pad_token_id": tokens["<pad>"]}
    if kind == "mamba":
        return hf.MambaConfig(state_size=8, **shared)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    return hf.Lfm2Config(layer_types=["conv", "full_attention"], **heads, **shared)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("others")
    for kind in KINDS:
        write_weights(config_of(kind), root / kind)
        tokenizer_of("llama").save_pretrained(root / kind)
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def stateful(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    """A model of blocks that keep a state, and what Hugging Face makes of its files."""
    from transformers import AutoModelForCausalLM

    folder = folders[request.param]
    original: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    return load_model(folder, device="cpu"), original


def leaving(original: Any, layer: int, tokens: Tensor) -> Tensor:
    """What leaves a block of Hugging Face's model at the last token."""
    kept: list[Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        del module, args
        kept.append(output[0] if isinstance(output, tuple) else output)

    body = original.backbone if hasattr(original, "backbone") else original.model
    handle = body.layers[layer].register_forward_hook(keep)
    with torch.no_grad():
        original(tokens, use_cache=False)
    handle.remove()
    return kept[0][0, -1]


def test_the_residual_stream_is_what_hugging_face_computes(
    stateful: Any, pairs: ContrastivePairs
) -> None:
    model, original = stateful
    resid = ls.capture(model, pairs, "resid", progress=False)
    for i, example in enumerate(pairs.desired[:3]):
        tokens = model.to_tokens(f"{example.prompt}{example.continuation}")
        for layer in (0, 1):
            expected = leaving(original, layer, tokens)
            torch.testing.assert_close(resid.desired[i, layer], expected, **ROUNDING)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_held_to_its_own_rounding(
    folders: dict[str, Path], pairs: ContrastivePairs, kind: str, dtype: torch.dtype
) -> None:
    """Mamba makes float32 logits of half weights: they are not held to float32's rounding."""
    model = load_model(folders[kind], device="cpu", dtype=dtype)
    caa = ls.CAA.fit(ls.capture(model, pairs, "resid", progress=False).at(layer=1))
    tokens = model.to_tokens("A dog sat")
    with torch.no_grad():
        before = model(tokens)
        with ls.steered(model, caa, scope="all"):
            assert not torch.equal(model(tokens), before)


def test_steering_it_is_the_same_cached_batched_and_padded(
    stateful: Any, pairs: ContrastivePairs
) -> None:
    model, _ = stateful
    caa = 8 * ls.CAA.fit(ls.capture(model, pairs, "resid", progress=False).at(layer=1))
    how: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.0, "stop": []}
    texts = ls.generate(model, pairs.prompts, caa, **how)
    assert texts == ls.generate(model, pairs.prompts, caa, use_cache=False, **how)
    assert texts == [ls.generate(model, [prompt], caa, **how)[0] for prompt in pairs.prompts]
    assert texts != ls.generate(model, pairs.prompts, **how)


@pytest.mark.parametrize("kind", ["head", "gate", "neuron", "attn_out"])
def test_what_is_inside_its_blocks_is_refused(
    stateful: Any, pairs: ContrastivePairs, kind: str
) -> None:
    model, _ = stateful
    with pytest.raises(ValueError, match=f"'{kind}'.*of block 0, resid_pre and resid can be read"):
        ls.capture(model, pairs, kind, progress=False)


def test_jacobians_of_blocks_that_keep_a_state_are_refused(
    stateful: Any, pairs: ContrastivePairs
) -> None:
    with pytest.raises(ValueError, match="block 0 keeps a state.*there are no Jacobians"):
        ls.linearize(stateful[0], pairs, progress=False)


def test_mambas_own_generate_is_refused_in_a_steered_block(
    folders: dict[str, Path], pairs: ContrastivePairs
) -> None:
    model: Any = load_model(folders["mamba"], device="cpu")
    caa = ls.CAA.fit(ls.capture(model, pairs, "resid", progress=False).at(layer=1))
    with ls.steered(model, caa), pytest.raises(ValueError, match=r"use lens_steer\.generate"):
        model.generate("The cat", max_new_tokens=3, verbose=False)


def test_a_stream_that_is_not_handed_on_is_refused(folders: dict[str, Path]) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model: Any = TransformerBridge.boot_transformers(str(folders["mamba"]), device="cpu")
    model.hook_dict["blocks.1.hook_resid_pre"].add_hook(lambda x, hook: x + 1.0)  # noqa: ARG005
    with pytest.raises(ValueError, match="what leaves block 0 is not what enters block 1"):
        attach(model)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_encoder_decoder_is_refused(tmp_path: Path, backend: Any) -> None:
    import transformers as hf

    hf.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="T5 is an encoder-decoder.*a decoder alone"):
        load_model(tmp_path, backend=backend)


def test_an_adapter_is_refused_with_what_to_write(tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "gpt2"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"an adapter of gpt2.*merge_and_unload\(\)"):
        load_model(tmp_path)


@pytest.mark.usefixtures("untyped")
def test_the_line_that_wraps_a_model_of_hugging_face_works(model_dirs: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names: dict[str, Any] = {
        "model": AutoModelForCausalLM.from_pretrained(model_dirs["llama"]),
        "tokenizer": AutoTokenizer.from_pretrained(model_dirs["llama"]),
    }
    calls = (lambda m: ls.generate(m, ["The cat"]), lambda m: ls.load_model(m))
    for call in calls:
        with pytest.raises(ValueError, match="from transformer_lens") as error:
            call(names["model"])
        names["line"] = str(error.value)
        assert names["line"].endswith("tokenizer=tokenizer)")
    exec(names["line"].partition("once, ")[2], names)
    assert len(ls.generate(names["model"], ["The cat"], temperature=0.0, max_new_tokens=2)) == 1
