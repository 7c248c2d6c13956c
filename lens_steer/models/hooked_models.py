"""HookedTransformers with raw weights, also from a local directory.

TransformerLens 3.9 itself loads none from a directory.
"""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch

from lens_steer.models.agreement import out_of_range, relative_difference, tolerance, versions
from lens_steer.models.checkpoints import check_complete, check_decoder
from lens_steer.models.forward_pass import forward, input_device
from lens_steer.models.gguf_files import model_of_gguf, on_disk
from lens_steer.models.package_versions import version_of
from lens_steer.models.protocol import ModelRefused
from lens_steer.models.small_copies import check_configuration
from lens_steer.models.special_tokens import beginning

# What a configuration says about how to compute, whatever the sizes.
_SETTINGS = (
    "act_fn",
    "eps",
    "gated_mlp",
    "parallel_attn_mlp",
    "positional_embedding_type",
    "rotary_base",
    "rotary_adjacent_pairs",
    "attention_dir",
    "use_local_attn",
    "use_attn_scale",
    "attn_scores_soft_cap",
    "output_logits_soft_cap",
    "scale_attn_by_inverse_layer_idx",
)

_agreed: WeakSet[Any] = WeakSet()


def hooked_from_hub(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A HookedTransformer of a model that TransformerLens knows by name, with raw weights."""
    load = _hooked_transformer().from_pretrained_no_processing
    try:
        model = load(name, device=str(device), dtype=dtype)
    except ValueError as error:  # its message lists all the names it knows
        raise ModelRefused(
            f"cannot load {name!r} as a HookedTransformer: {str(error)[:80]} ... "
            "(expected a local directory, or a name TransformerLens knows; or use backend='bridge')"
        ) from error
    from transformers import GenerationConfig

    with suppress(OSError):  # a model may be published without one
        model.generation_config = GenerationConfig.from_pretrained(model.cfg.tokenizer_name)
    return model


def hooked_from_directory(path: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A HookedTransformer of a local Hugging Face directory, with raw weights.

    Raises:
        ValueError: If TransformerLens' conversion of this architecture does not reproduce Hugging
            Face's logits.
    """
    _hooked_transformer()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_decoder(path)
    check_complete(path)
    original = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    return _hooked(original, AutoTokenizer.from_pretrained(path), path, device)


def hooked_from_gguf(path: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A HookedTransformer of a GGUF file, its weights dequantised to `dtype`, otherwise raw.

    Raises:
        ValueError: As `hooked_from_directory` and `model_of_gguf`.
    """
    _hooked_transformer()
    original, tokenizer = model_of_gguf(Path(path), dtype)
    with on_disk(tokenizer) as saved:
        model = _hooked(original, saved, path, device)
        beginning(model)  # it remembers what the published tokenizer writes
    return model


def _hooked(original: Any, tokenizer: Any, path: str, device: torch.device) -> Any:
    """A HookedTransformer of a Hugging Face model, which it is compared with."""
    check_configuration(type(original), original.config, small_hooked, bridge=False)
    config, weights = _converted(original, device, original.dtype)
    model = _with_weights(_hooked_transformer(), config, weights, tokenizer).to(device).eval()
    model.generation_config = original.generation_config  # names the tokens that end a text
    model.cfg.dequantised_from = getattr(original.config, "dequantised_from", None)
    _check_agreement(model, original, path)
    _agreed.add(model)
    return model


def agreed_at_load(model: Any) -> bool:
    """Whether a HookedTransformer was compared with Hugging Face's model when it was loaded."""
    return model in _agreed


def small_hooked(original: Any, like: Any | None = None) -> Any:
    """A HookedTransformer, without a tokenizer, of a small Hugging Face model in float32.

    Args:
        original: The Hugging Face model.
        like: The configuration of a HookedTransformer whose settings, other than sizes, to take.
    """
    config, weights = _converted(original, torch.device("cpu"), torch.float32)
    for name in () if like is None else _SETTINGS:
        setattr(config, name, getattr(like, name))
    return _with_weights(_hooked_transformer(), config, weights, None).eval()


def _with_weights(hooked_transformer: Any, config: Any, weights: Any, tokenizer: Any) -> Any:
    model = hooked_transformer(config, tokenizer, move_to_device=False)
    model.load_and_process_state_dict(
        weights,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return model


def _hooked_transformer() -> Any:
    try:
        from transformer_lens import HookedTransformer
    except ImportError as error:
        raise ModelRefused(
            f"backend 'hooked' needs TransformerLens 3.9, got {version_of('transformer-lens')}, "
            "which removed HookedTransformer: use backend='bridge'"
        ) from error
    return HookedTransformer


def _converted(original: Any, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """HookedTransformer's configuration and weights of a Hugging Face model."""
    from transformer_lens import loading_from_pretrained as conversion
    from transformer_lens.config import HookedTransformerConfig

    source = original.config
    hub_names = {
        "Gemma2ForCausalLM": "google/gemma-2-2b",
        "Gemma3ForCausalLM": "google/gemma-3-1b-pt",
    }
    name = hub_names.get((source.architectures or [""])[0])
    if source.model_type == "gpt2" and not hasattr(source, "n_ctx"):
        # TransformerLens reads the name that transformers 5 dropped.
        source.n_ctx = source.n_positions
    # A folder of neutral name, for TransformerLens would take the architecture from its path.
    with tempfile.TemporaryDirectory(prefix="model-") as neutral:
        source.save_pretrained(neutral)
        config = conversion.get_pretrained_model_config(
            name or neutral, hf_cfg=source.to_dict(), device=str(device), dtype=dtype
        )
        if name is not None:  # TransformerLens has only hard-coded sizes for these
            config = HookedTransformerConfig.from_dict({**config.to_dict(), **_gemma_sizes(source)})
        weights = conversion.get_pretrained_state_dict(
            name or neutral, config, original, dtype=dtype
        )
    config.tokenizer_name = None
    # TransformerLens assumes 2048 for some architectures, whatever the model says.
    config.n_ctx = min(config.n_ctx, source.max_position_embeddings)
    return config, weights


def _gemma_sizes(source: Any) -> dict[str, Any]:
    ropes = source.rope_parameters
    sizes = {
        "d_model": source.hidden_size,
        "d_head": source.head_dim,
        "n_heads": source.num_attention_heads,
        "n_key_value_heads": source.num_key_value_heads,
        "d_mlp": source.intermediate_size,
        "n_layers": source.num_hidden_layers,
        "n_ctx": source.max_position_embeddings,
        "d_vocab": source.vocab_size,
        "d_vocab_out": source.vocab_size,
        "eps": source.rms_norm_eps,
        "attn_scale": source.query_pre_attn_scalar**0.5,
        "window_size": source.sliding_window,
        "attn_types": [
            "local" if kind.startswith("sliding") else "global" for kind in source.layer_types
        ],
        "rotary_dim": source.head_dim,
    }
    if "full_attention" in ropes:  # in Gemma 3 local layers have a rotary base of their own
        sizes["rotary_base"] = ropes["full_attention"]["rope_theta"]
        sizes["rotary_base_local"] = ropes["sliding_attention"]["rope_theta"]
    else:
        sizes["rotary_base"] = ropes["rope_theta"]
        sizes["attn_scores_soft_cap"] = source.attn_logit_softcapping or -1.0
        sizes["output_logits_soft_cap"] = source.final_logit_softcapping or -1.0
    return sizes


def _check_agreement(model: Any, original: Any, path: str) -> None:
    vocab = original.config.vocab_size
    tokens = (torch.arange(8)[None] * 37 + 11) % vocab
    with torch.no_grad():
        ours = forward(model, tokens.to(input_device(model)))[..., :vocab].cpu()
        theirs = original(tokens).logits
    if not theirs.isfinite().all():
        raise ModelRefused(f"logits of {path} are NaN or infinite: {out_of_range(theirs.dtype)}")
    error = relative_difference(ours, theirs)
    if not error <= tolerance(original, theirs):
        raise ModelRefused(
            f"TransformerLens' conversion of {path} gives other logits than Hugging Face, by "
            f"{error:.1e} of the largest, with {versions()}: this architecture needs "
            "backend='bridge'"
        )
