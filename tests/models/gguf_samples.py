"""GGUF files of the tiny Llama of the tests, written from its weights with the package gguf."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from einops import rearrange
from transformers import AutoModelForCausalLM

from tests.conftest import CONTEXT, HEADS, KEY_HEADS, LAYERS, WIDTH, vocabulary

_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(
    model: Path,
    file: Path,
    *,
    quantised: bool = False,
    architecture: str = "llama",
    without: str = "none",
) -> Path:
    """The checkpoint in a directory as a GGUF file.

    Args:
        model: A directory of the tests' Llama.
        file: The file to write.
        quantised: Store rows of 32 numbers with 8 bits each and a common scale.
        architecture: The architecture that the file names.
        without: A tensor to leave out, as the file calls it.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    writer = gguf.GGUFWriter(file, architecture)
    kind = gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.ALL_F32
    writer.add_file_type(kind)
    _add_sizes(writer, loaded.config)
    _add_tokenizer(writer)
    for name, tensor in loaded.state_dict().items():
        place, values = _in_gguf(name.removesuffix(".weight"), tensor)
        if place == without:
            continue
        if quantised and values.ndim == 2 and values.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(place, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(place, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _in_gguf(name: str, tensor: torch.Tensor) -> tuple[str, np.ndarray]:
    """A tensor as GGUF calls it, whose rotary pairs are neighbours, not half a head apart."""
    if name in _OUTSIDE:
        return f"{_OUTSIDE[name]}.weight", tensor.numpy()
    _, _, layer, part = name.split(".", 3)
    heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KEY_HEADS}.get(part)
    if heads is not None:
        tensor = rearrange(
            tensor, "(head half pair) d -> (head pair half) d", head=heads, half=2
        ).contiguous()
    return f"blk.{layer}.{_NAMES[part]}.weight", tensor.numpy()


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokens))
    special = [gguf.TokenType.CONTROL if i < 3 else gguf.TokenType.NORMAL for i in tokens.values()]
    writer.add_token_types(special)
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(tokens["<s>"])
    writer.add_eos_token_id(tokens["</s>"])
    writer.add_pad_token_id(tokens["<pad>"])
    writer.add_add_bos_token(True)
