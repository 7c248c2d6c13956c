"""Whether a model's logits are right: over a cache as without one, and within rounding.

This file has what such comparisons share, and the first of them. At most this often in a process,

- every model, when it is first seen, is compared with itself: its logits of 8 tokens over a cache
  with those without one (`check_cache`);
- every model whose weights are as Hugging Face has them is compared with Hugging Face's own modules
  around the same weights (`hugging_face.check_weights`);
- every configuration is compared with Hugging Face by a small copy (`small_copies`).
"""

from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.models.decoders import Decoder
from lens_steer.models.fingerprint import architecture_of
from lens_steer.models.forward_pass import forward, input_device
from lens_steer.models.modules import model_modules
from lens_steer.models.package_versions import HAS_HOOKED_TRANSFORMER
from lens_steer.models.protocol import ModelRefused, SteerableModel, is_bridge, wrapped_model

# Rounding of two implementations of one model, relative to the largest logit.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_HOOKING_PACKAGES = ("transformer_lens", "transformers", "lens_steer")
# The language models that TransformerLens 3.9, the last with it, makes a HookedTransformer of.
# fmt: off
_HOOKED = frozenset([
    "ApertusForCausalLM", "BloomForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM",
    "GPTNeoForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration", "GemmaForCausalLM", "GptOssForCausalLM", "LlamaForCausalLM",
    "MistralForCausalLM", "MixtralForCausalLM", "OPTForCausalLM", "Olmo2ForCausalLM",
    "Olmo3ForCausalLM", "OlmoForCausalLM", "OlmoeForCausalLM", "Phi3ForCausalLM",
    "PhiForCausalLM", "QWenLMHeadModel", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
])
# fmt: on


def check_cache(model: SteerableModel) -> tuple[Float[Tensor, "1 pos vocab"], bool]:
    """Compare the model's logits over a cache with those without one, at 8 tokens.

    A native bridge has neither a cache nor a configuration to make one from, and is not compared.

    Returns:
        The logits without a cache, and whether there was a cache to compare with.

    Raises:
        ModelRefused: If they differ (naming the versions), are NaN or infinite.
    """
    tokens = probe_tokens(model)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        whole = forward(model, tokens)
        if not whole.isfinite().all():
            raise ModelRefused(
                f"logits of 8 tokens are NaN or infinite: {out_of_range(whole.dtype)}"
            )
        if is_bridge(model) and not hasattr(wrapped_model(model), "config"):
            return whole, False
        decoder = Decoder(model, tokens[:, :-1], mask[:, :-1])
        cached = torch.stack([decoder.start(), decoder.advance(tokens[:, -1:])], dim=1)
    error = relative_difference(cached, whole[:, -2:])
    if not error <= tolerance(model, whole):
        if has_hooks(model):
            remedy = "hooks of your own are on the model: take them off while it is first looked at"
        else:
            remedy = f"use {alternative(is_bridge(model), architecture_of(model))}"
        raise ModelRefused(
            f"logits over a key-value cache differ from those without one by {error:.1e} of the "
            f"largest, with {versions()}: {remedy}"
        )
    return whole, True


def probe_tokens(model: SteerableModel) -> Int[Tensor, "1 8"]:
    """The 8 tokens that every check of a model runs, on the model's device."""
    return (torch.arange(8, device=input_device(model))[None] * 37 + 11) % model.cfg.d_vocab


def relative_difference(logits: Tensor, expected: Tensor) -> float:
    """The largest difference of logits, in units of the largest expected logit.

    Only the part of the vocabulary that both have is compared.
    """
    vocabulary = min(logits.shape[-1], expected.shape[-1])
    logits, expected = logits[..., :vocabulary].float(), expected[..., :vocabulary].float()
    return ((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item()


def tolerance(model: Any, logits: Tensor) -> float:
    """How far the logits of two implementations may differ, in units of the largest.

    Some models, as Mamba, make float32 logits of bfloat16 weights: the coarser dtype decides.
    """
    dtypes = {logits.dtype, *(parameter.dtype for parameter in model.parameters())}
    return max(TOLERANCE[dtype] for dtype in dtypes & set(TOLERANCE))


def has_hooks(model: Any) -> bool:
    """Whether hooks of the user's own are on the model, on its hook points or on its modules.

    Hooks of TransformerLens (whose 4.3 has some on the hook points of OPT and BERT for good) and of
    transformers (which capture outputs, and stay once a model was run) are not the user's, nor are
    those of lens_steer on modules.
    """
    placed = [handle.user_hook for point in model.hook_dict.values() for handle in point.fwd_hooks]
    if any(_package_of(hook) != "transformer_lens" for hook in placed):
        return True
    modules: list[Any] = list(model_modules(model))
    return any(
        _package_of(hook) not in _HOOKING_PACKAGES
        for module in modules
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    )


def _package_of(hook: Any) -> str:
    return str(getattr(hook, "__module__", "")).partition(".")[0]


def out_of_range(dtype: torch.dtype) -> str:
    """What to do about NaN or infinite numbers in a forward pass, as the end of a message."""
    if dtype is torch.float16:
        return "load it in bfloat16 or float32, for float16 ends at 65504"
    return "is a weight NaN, or the download damaged?"


def versions() -> str:
    """The versions of transformers and TransformerLens, as part of a sentence."""
    return (
        f"transformers {version('transformers')} and TransformerLens {version('transformer-lens')}"
    )


def alternative(bridge: bool, architecture: str) -> str:
    """What a user can try where this backend is wrong, as the end of a sentence.

    Args:
        bridge: Whether this backend is the TransformerBridge.
        architecture: Hugging Face's name of the model's class.
    """
    other = "another version of transformers or TransformerLens"
    if not bridge:
        return f"backend='bridge', or {other}"
    hooked = HAS_HOOKED_TRANSFORMER and architecture in _HOOKED
    return f"backend='hooked', or {other}" if hooked else other
