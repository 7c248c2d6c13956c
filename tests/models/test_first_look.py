"""A model is compared with itself over a cache, and with Hugging Face, before it is used."""

import os
import subprocess
import threading
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.models import Decoder, attach, forward, load_model
from lens_steer.models.agreement import alternative
from lens_steer.models.checkpoints import check_no_install, no_processes
from lens_steer.models.small_configs import shrunken
from lens_steer.models.small_copies import verdicts
from tests.conftest import HAS_HOOKED, config_of, tokenizer_of, write_model

TOKENS = (torch.arange(12)[None] * 7 + 5) % 120


@pytest.fixture
def made_elsewhere(model_dirs: dict[str, Path]) -> Any:
    """`made_elsewhere(architecture)`: a bridge as TransformerLens boots it, not yet looked at."""

    def boot(architecture: str = "llama") -> Any:
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(str(model_dirs[architecture]), device="cpu")

    return boot


def rename_cache(model: Any) -> None:
    """What transformers 5.24 does: blocks hand the cache to attention under another name."""

    def rename(module: Any, args: Any, options: dict[str, Any]) -> Any:
        if "past_key_values" in options:
            options["cache"] = options.pop("past_key_values")
        return args, options

    for block in model.blocks:
        block.attn.register_forward_pre_hook(rename, with_kwargs=True)


def over_a_cache(model: Any) -> torch.Tensor:
    decoder = Decoder(model, TOKENS[:, :9], torch.ones(1, 9, dtype=torch.bool))
    steps = [decoder.start(), *(decoder.advance(TOKENS[:, i : i + 1]) for i in (9, 10, 11))]
    return torch.stack(steps, dim=1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@torch.no_grad()
def test_attention_finds_the_cache_under_its_new_name_also_in_copies(
    architecture: str, made_elsewhere: Any
) -> None:
    model = made_elsewhere(architecture)
    rename_cache(model)
    attach(model)
    copied = deepcopy(model)
    copied.reset_hooks(including_permanent=True)
    right = forward(model, TOKENS)[:, 8:]
    for either in (model, copied):
        torch.testing.assert_close(over_a_cache(either), right, atol=2e-5, rtol=0)
    options = {"max_new_tokens": 6, "do_sample": False, "verbose": False}
    with_cache, without = (
        model.generate(TOKENS, use_past_kv_cache=use, **options) for use in (True, False)
    )
    assert torch.equal(with_cache, without)


def test_attach_hooks_attention_once(made_elsewhere: Any) -> None:
    model = made_elsewhere()
    attach(model)
    copied = deepcopy(model)
    attach(copied)
    counts = [len(m.blocks[0].attn._forward_pre_hooks) for m in (made_elsewhere(), model, copied)]
    assert [count - counts[0] for count in counts] == [0, 1, 1]


def test_attach_refuses_a_model_whose_cache_gets_lost(made_elsewhere: Any) -> None:
    model = made_elsewhere()

    def lose(module: Any, args: Any, options: dict[str, Any]) -> Any:
        return args, {k: v for k, v in options.items() if k not in ("cache", "past_key_values")}

    for block in model.blocks:
        block.attn.register_forward_pre_hook(lose, with_kwargs=True)
    said = r"over a key-value cache differ .*transformers 5.*TransformerLens \d"
    with pytest.raises(ValueError, match=said):
        attach(model)


def test_attach_says_when_hooks_are_what_differs_over_a_cache(made_elsewhere: Any) -> None:
    model = made_elsewhere()

    def last_only(x: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.cat([x[:, :-1], x[:, -1:] + 1.0], dim=1)

    with (
        model.hooks(fwd_hooks=[("blocks.0.hook_attn_out", last_only)]),
        pytest.raises(ValueError, match="hooks of your own are on the model"),
    ):
        attach(model)
    attach(model)


def test_attach_compares_real_weights_with_hugging_face(made_elsewhere: Any) -> None:
    model = made_elsewhere()
    model(TOKENS)  # transformers then leaves hooks of its own on the model

    def scaled(_module: Any, _args: Any, out: torch.Tensor) -> torch.Tensor:
        return out * 1.001

    scaled.__module__ = "transformer_lens.model_bridge"  # a fault of its own, no hook of a user's
    model.unembed.register_forward_hook(scaled)
    with pytest.raises(ValueError, match=r"Llama.* with the same weights, by 1\.0e-03"):
        attach(model)


def test_hooks_that_transformer_lens_itself_places_on_hook_points_do_not_hinder_the_comparison(
    made_elsewhere: Any,
) -> None:
    model = made_elsewhere()

    def passed_on(x: torch.Tensor, hook: Any) -> None:
        """What TransformerLens 4.3 places on OPT's hook points when it boots one."""

    passed_on.__module__ = "transformer_lens.model_bridge.component_setup"
    model.hook_dict["blocks.0.hook_mlp_out"].add_hook(passed_on, is_permanent=True)
    attach(deepcopy(model))

    def scaled(_module: Any, _args: Any, out: torch.Tensor) -> torch.Tensor:
        return out * 1.001

    scaled.__module__ = "transformer_lens.model_bridge"
    model.unembed.register_forward_hook(scaled)
    with pytest.raises(ValueError, match=r"with the same weights, by 1\.0e-03"):
        attach(model)


def test_attach_says_which_model_does_not_run_and_where_it_is_not_finite(
    made_elsewhere: Any,
) -> None:
    model = made_elsewhere()
    model.original_model.model.layers[1].mlp.to(torch.bfloat16)
    with pytest.raises(
        ValueError, match=r"does not run on 8 tokens \(RuntimeError.*transformers 5"
    ):
        attach(model)
    model = made_elsewhere()
    with torch.no_grad():
        model.original_model.model.layers[2].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinite from blocks\.2\.hook_mlp_out on"):
        attach(model)


def test_attach_takes_a_native_bridge_which_has_no_cache() -> None:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    sizes: dict[str, Any] = {"d_model": 32, "d_head": 8, "n_layers": 2, "n_heads": 4, "d_mlp": 64}
    config = TransformerBridgeConfig(
        **sizes, n_ctx=64, d_vocab=50, act_fn="gelu", architecture="TransformerLensNative"
    )
    native: Any = TransformerBridge.boot_native(config)
    assert attach(native).fingerprint.n_layers == 2


def write_checkpoint(config: Any, directory: Path, auto: Any = None) -> Path:
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (auto or AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(directory)
    tokenizer_of("llama").save_pretrained(directory)
    return directory


def test_load_model_refuses_a_bridge_that_is_not_hugging_face(tmp_path: Path) -> None:
    import transformers as hf

    config = hf.FalconConfig(
        vocab_size=120, num_hidden_layers=2, hidden_size=32, num_attention_heads=4, alibi=True,
        multi_query=False, parallel_attn=False, new_decoder_architecture=False,
    )  # fmt: skip
    place = write_checkpoint(config, tmp_path / "m")
    with pytest.raises(ValueError, match=r"by \d\.\de.\d\d of the largest.*transformers 5.*use "):
        load_model(place, device="cpu")


def test_only_a_backend_that_the_architecture_has_is_advised(made_elsewhere: Any) -> None:
    assert ("backend='hooked'" in alternative(True, "LlamaForCausalLM")) == HAS_HOOKED
    assert "hooked" not in alternative(True, "MambaForCausalLM")
    assert "backend='bridge'" in alternative(False, "LlamaForCausalLM")
    model = made_elsewhere()
    model.original_model.model.layers[1].mlp.to(torch.bfloat16)
    model.cfg.architecture = "MambaForCausalLM"
    with pytest.raises(ValueError, match=r"does not run on 8 tokens .*Else use another version"):
        attach(model)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_a_hooked_transformer_that_is_wrong_past_its_window_is_refused(
    tmp_path: Path, load: Any
) -> None:
    config = config_of("qwen2")
    config.use_sliding_window, config.sliding_window = True, 64
    config.layer_types = ["full_attention", "full_attention"] + ["sliding_attention"] * 2
    place = write_checkpoint(config, tmp_path / "m")
    said = r"HookedTransformer of Qwen2.* without a cache, by .*use backend='bridge'"
    with pytest.raises(ValueError, match=said):
        load_model(place, backend="hooked", device="cpu")
    elsewhere = deepcopy(load("qwen2", "hooked"))
    elsewhere.cfg.tokenizer_name = str(place)  # where its configuration is looked for
    with pytest.raises(ValueError, match=said):
        attach(elsewhere)


def test_a_configuration_is_compared_once(made_elsewhere: Any, tmp_path: Path) -> None:
    attach(made_elsewhere())
    known = len(verdicts)
    load_model(write_model("llama", tmp_path / "m", seed=3), device="cpu", dtype=torch.bfloat16)
    assert len(verdicts) == known


def test_a_shrunken_configuration_keeps_what_matters() -> None:
    import transformers as hf

    gemma = hf.Gemma3TextConfig()
    before = gemma.to_dict()
    small = shrunken(gemma)
    assert gemma.to_dict() == before
    assert small.layer_types == ["sliding_attention", "full_attention"]
    assert small.sliding_window == 8
    assert small.rope_parameters == gemma.rope_parameters
    assert small.query_pre_attn_scalar == gemma.query_pre_attn_scalar
    assert small.num_attention_heads == 2 * small.num_key_value_heads
    falcon = shrunken(hf.FalconConfig(num_attention_heads=71, multi_query=True, alibi=True))
    assert falcon.num_attention_heads == 6  # no power of two either, which ALiBi minds
    assert (falcon.alibi, falcon.multi_query) == (True, True)
    mixture = shrunken(hf.MixtralConfig())
    assert (mixture.num_local_experts, mixture.num_experts_per_tok) == (4, 2)
    assert mixture.num_attention_heads == 4 * mixture.num_key_value_heads
    neo = shrunken(hf.GPTNeoConfig())
    assert (neo.attention_layers, neo.window_size) == (["global", "local"], 8)


def test_no_process_starts_in_a_load_but_in_other_threads() -> None:
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(subprocess.run(["true"]).returncode))
    with no_processes() as refused:
        thread.start()
        thread.join()
        with pytest.raises(ValueError, match="no load may start a process: 'pip install x' was"):
            subprocess.run(["pip", "install", "x"], check=True)
        with pytest.raises(OSError, match="no load may start a process"):
            os.system("true")
    assert elsewhere == [0]
    assert subprocess.run(["true"]).returncode == 0
    with pytest.raises(ValueError, match="loading m asked for 'pip install x', and no load may"):
        check_no_install("m", refused)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="nothing is lacking here")
def test_load_model_says_what_a_text_and_image_checkpoint_lacks(tmp_path: Path) -> None:
    import transformers as hf

    vision = {"image_size": 16, "patch_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.Gemma3Config(
        text_config=config_of("gemma3").to_dict(),
        vision_config={"hidden_size": 16, "intermediate_size": 16, **vision},
        mm_tokens_per_image=4,
        boi_token_index=5,
        eoi_token_index=6,
        image_token_index=7,
    )
    place = write_checkpoint(config, tmp_path / "m", hf.AutoModelForImageTextToText)
    with pytest.raises(ValueError, match="takes images as well as text, which needs torchvision"):
        load_model(place, device="cpu")
