"""The architectures of the matrix: how a tiny model of each is configured.

Every model has two layers (one of each kind where there are kinds), a residual stream of 32, a
vocabulary of 100 and, where it has any, a window of 8 positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY, WINDOW = 2, 32, 4, 64, 100, 8
PAD, BOS, EOS = 0, 1, 2

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
}
_GROUPED = {"num_key_value_heads": 2}  # two query heads to a key head
_WIDE = _GROUPED | {"head_dim": 16}  # the heads together are wider than the residual stream
_WINDOWED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = _GROUPED | {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
}
_LATENT = _EXPERTS | {
    "num_key_value_heads": HEADS,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_MAMBA2 = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 64,
}
_NEMOTRON_H = {
    "layers_block_type": ["linear_attention", "full_attention"],
    "head_dim": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "ssm_state_size": 8,
    "n_groups": 1,
}
_ZAMBA2 = {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    "num_mem_blocks": 1,
    "mamba_ngroups": 1,
    "n_mamba_heads": 8,
    "mamba_d_state": 8,
    "adapter_rank": 8,
}
_BART = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
_PER_LAYER = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}


@dataclass(frozen=True)
class Architecture:
    """How a tiny model of one architecture is configured.

    Attributes:
        name: What the matrix calls it.
        config: Name of the configuration's class in transformers, without `Config`.
        options: Settings other than the sizes that all have; they win over those.
        task: What the model is for: the end of the name of a class of transformers,
            `AutoModelForCausalLM` and the like.

    Example:
        >>> ARCHITECTURES["gpt2"].configuration().num_hidden_layers
        2
    """

    name: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "CausalLM"

    def configuration(self) -> Any:
        """The configuration, an object of transformers'."""
        import transformers

        return getattr(transformers, f"{self.config}Config")(**{**_SIZES, **self.options})


def _named(*architectures: Architecture) -> dict[str, Architecture]:
    return {architecture.name: architecture for architecture in architectures}


_DENSE = (
    Architecture("gpt2", "GPT2"),
    Architecture("openai-gpt", "OpenAIGPT"),
    Architecture(
        "gpt-neo", "GPTNeo", {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW}
    ),
    Architecture("gpt-neox", "GPTNeoX"),
    Architecture("gpt-neox sequential", "GPTNeoX", {"use_parallel_residual": False}),
    Architecture("gpt-j", "GPTJ", {"rotary_dim": 4}),
    Architecture("gpt-bigcode", "GPTBigCode"),
    Architecture("codegen", "CodeGen", {"rotary_dim": 4}),
    Architecture("opt", "OPT", {"ffn_dim": 48, "word_embed_proj_dim": WIDTH}),
    Architecture("xglm", "XGLM", {"ffn_dim": 48}),
    Architecture("bloom", "Bloom"),
    Architecture("mpt", "Mpt"),
    Architecture("falcon", "Falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    Architecture("falcon 7b", "Falcon", {"multi_query": True, "parallel_attn": True}),
    Architecture(
        "falcon alibi", "Falcon", {"alibi": True, "multi_query": False, "parallel_attn": False}
    ),
    Architecture("llama", "Llama", _GROUPED),
    Architecture("llama biases", "Llama", {"attention_bias": True, "mlp_bias": True}),
    Architecture("mistral", "Mistral", _GROUPED | {"sliding_window": WINDOW}),
    Architecture("ministral 3", "Ministral3", _WIDE),
    Architecture("qwen2", "Qwen2", _GROUPED),
    Architecture("qwen2 windowed", "Qwen2", _GROUPED | _WINDOWED | {"use_sliding_window": True}),
    Architecture("qwen3", "Qwen3", _WIDE),
    Architecture("gemma", "Gemma", _WIDE),
    Architecture("gemma 2", "Gemma2", _WIDE | _WINDOWED | {"query_pre_attn_scalar": 24}),
    Architecture("gemma 3", "Gemma3Text", _WIDE | _WINDOWED | {"query_pre_attn_scalar": 24}),
    Architecture("vaultgemma", "VaultGemma", _WIDE | _WINDOWED),
    Architecture("phi", "Phi"),
    Architecture("phi-3", "Phi3", _GROUPED),
    Architecture("stablelm", "StableLm", _GROUPED),
    Architecture("olmo", "Olmo", _GROUPED),
    Architecture("olmo 2", "Olmo2", _GROUPED),
    Architecture("olmo 3", "Olmo3", _GROUPED | _WINDOWED),
    Architecture("granite", "Granite", _GROUPED),
    Architecture("cohere", "Cohere", _GROUPED),
    Architecture("cohere 2", "Cohere2", _GROUPED | _WINDOWED),
    Architecture("starcoder 2", "Starcoder2", _GROUPED),
    Architecture("smollm 3", "SmolLM3", _GROUPED),
    Architecture("glm", "Glm", _WIDE),
    Architecture("glm 4", "Glm4", _WIDE),
    Architecture("nemotron", "Nemotron", _GROUPED),
    Architecture("ernie 4.5", "Ernie4_5", _WIDE),
    Architecture("exaone 4", "Exaone4", _GROUPED | _WINDOWED),
    Architecture("hunyuan", "HunYuanDenseV1", _WIDE),
    Architecture("arcee", "Arcee", _GROUPED),
    Architecture("apertus", "Apertus", _GROUPED),
    Architecture("seed-oss", "SeedOss", _WIDE),
    Architecture("modernbert decoder", "ModernBertDecoder", {"local_attention": WINDOW}),
    Architecture("bitnet", "BitNet", _GROUPED),
    Architecture("nanochat", "NanoChat", _GROUPED),
)
_MIXTURES = (
    Architecture("mixtral", "Mixtral", _EXPERTS),
    Architecture("qwen2-moe", "Qwen2Moe", _EXPERTS),
    Architecture("qwen3-moe", "Qwen3Moe", _EXPERTS),
    Architecture("phi-3.5-moe", "Phimoe", _EXPERTS),
    Architecture("olmoe", "Olmoe", _EXPERTS),
    Architecture("granite-moe", "GraniteMoe", _EXPERTS),
    Architecture("glm 4 moe", "Glm4Moe", _EXPERTS | {"n_group": 1, "topk_group": 1}),
    Architecture("gpt-oss", "GptOss", _EXPERTS | _WINDOWED | {"head_dim": 16}),
    Architecture("deepseek v2", "DeepseekV2", _LATENT),
    Architecture("deepseek v3", "DeepseekV3", _LATENT),
    Architecture("llama 4", "Llama4Text", _EXPERTS | {"head_dim": 16, "intermediate_size_mlp": 48}),
    Architecture("minimax m2", "MiniMaxM2", _EXPERTS | {"head_dim": 16}),
)
_OTHERS = (
    Architecture(
        "gemma 3n", "Gemma3nText", _WIDE | _WINDOWED | _PER_LAYER | {"num_kv_shared_layers": 0}
    ),
    Architecture("gemma 4", "Gemma4Text", _WIDE | _WINDOWED | _PER_LAYER),
    Architecture("mamba", "Mamba"),
    Architecture(
        "mamba 2", "Mamba2", {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1}
    ),
    Architecture("falcon mamba", "FalconMamba"),
    Architecture("rwkv", "Rwkv"),
    Architecture("jamba", "Jamba", _EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1}),
    Architecture("bamba", "Bamba", _GROUPED | _MAMBA2 | {"attn_layer_indices": [1]}),
    Architecture(
        "granite hybrid",
        "GraniteMoeHybrid",
        _EXPERTS | _MAMBA2 | {"layer_types": ["mamba", "attention"]},
    ),
    Architecture("falcon h1", "FalconH1", _GROUPED | _MAMBA2),
    Architecture("nemotron h", "NemotronH", _GROUPED | _NEMOTRON_H),
    Architecture("zamba 2", "Zamba2", _ZAMBA2),
    Architecture("recurrentgemma", "RecurrentGemma", {"block_types": ["recurrent", "attention"]}),
    Architecture("lfm 2", "Lfm2", _GROUPED | {"layer_types": ["conv", "full_attention"]}),
    Architecture("qwen3-next", "Qwen3Next", _EXPERTS | _LINEAR),
    Architecture("qwen3.5", "Qwen3_5Text", _WIDE | _LINEAR),
    Architecture("olmo hybrid", "OlmoHybrid", _GROUPED | _LINEAR),
    Architecture("t5", "T5", {"d_ff": 48, "d_kv": 8}, "Seq2SeqLM"),
    Architecture("bart", "Bart", _BART, "Seq2SeqLM"),
    Architecture("bert", "Bert", task="MaskedLM"),
)
ARCHITECTURES = _named(*_DENSE, *_MIXTURES, *_OTHERS)
