"""Whether TransformerLens computes what Hugging Face does, with a cache and without.

What is compared, and at most how often, in a process:

- every model, when it is first seen: its own logits over a cache with those without one, 8 tokens;
- every configuration: a shrunken copy of it (few narrow layers of the same kinds, a window of 8
  positions, random weights) with Hugging Face's class of the same configuration and weights, as
  `from_pretrained` would make it: 20 tokens without a cache, a padded row, and over a cache.

There is nothing to compare with for a model that Hugging Face does not have: a native bridge, or a
HookedTransformer of which the checkpoint's configuration is not at hand.
"""

import copy
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.models.decoders import Decoder
from lens_steer.models.forward_pass import forward, input_device
from lens_steer.models.modules import model_modules
from lens_steer.models.no_install import no_processes
from lens_steer.models.protocol import is_bridge
from lens_steer.models.refused import ModelRefused
from lens_steer.models.shrink import VOCABULARY, shrunken

# Rounding of two implementations of one model, relative to the largest logit.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_LENGTH, _PROMPT, _PADS = 20, 12, 5
_NOT_THE_USER = ("transformer_lens", "transformers", "lens_steer")  # packages that place hooks
_OF_NO_BEARING = ("_name_or_path", "dtype", "transformers_version")  # the copy is in float32
verdicts: dict[tuple[str, str], Exception | None] = {}


class NothingToCompareError(ValueError):
    """No small copy of a configuration can be made."""


def check_cache(model: Any) -> Float[Tensor, "1 pos vocab"]:
    """Compare the model's logits over a cache with those without one, at 8 tokens.

    A native bridge has no cache, nor a configuration to make one of, and is left at that.

    Returns:
        Those without a cache.

    Raises:
        ValueError: If they differ, naming the versions.
    """
    tokens = probe_tokens(model)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        whole = forward(model, tokens)
        if not whole.isfinite().all():
            raise ModelRefused(
                f"logits of 8 tokens are NaN or infinite: {out_of_range(whole.dtype)}"
            )
        if is_bridge(model) and not hasattr(model.original_model, "config"):
            return whole
        decoder = Decoder(model, tokens[:, :-1], mask[:, :-1])
        cached = torch.stack([decoder.start(), decoder.advance(tokens[:, -1:])], dim=1)
    error = difference(cached, whole[:, -2:])
    if not error <= TOLERANCE[whole.dtype]:
        if has_hooks(model):
            remedy = "hooks of your own are on the model: take them off while it is first looked at"
        else:
            remedy = f"use {alternative(is_bridge(model))}"
        raise ModelRefused(
            f"logits over a key-value cache differ from those without one by {error:.1e} of the "
            f"largest, with {versions()}: {remedy}"
        )
    return whole


def probe_tokens(model: Any) -> Int[Tensor, "1 8"]:
    """The 8 tokens at which a model is looked at."""
    return (torch.arange(8, device=input_device(model))[None] * 37 + 11) % model.cfg.d_vocab


def out_of_range(dtype: torch.dtype) -> str:
    """What to do about NaN or infinite numbers in a forward pass."""
    narrow = "load it in bfloat16 or float32, for float16 ends at 65504"
    return narrow if dtype is torch.float16 else "is a weight NaN, or the download damaged?"


def has_hooks(model: Any) -> bool:
    """Whether hooks of the user's own are on the model, on hook points or on its modules.

    Hooks that TransformerLens and transformers place themselves (which capture outputs, and stay on
    once a model was run) and those of lens_steer are not the user's.
    """
    if any(point.fwd_hooks for point in model.hook_dict.values()):
        return True
    modules: list[Any] = list(model_modules(model))
    return any(
        str(getattr(hook, "__module__", "")).partition(".")[0] not in _NOT_THE_USER
        for module in modules
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    )


def check_configuration(
    made_by: type[Any], config: Any, wrap: Callable[[Any], Any], *, bridge: bool
) -> None:
    """Compare a shrunken copy of a configuration's model, wrapped, with Hugging Face itself.

    The first time takes about 0.1 s; the result is remembered as long as the process lives.

    Args:
        made_by: Hugging Face's class of the model.
        config: Its configuration, which is left as it is.
        wrap: Makes a TransformerLens model of the copy.
        bridge: Whether that is a TransformerBridge.

    Raises:
        ValueError: If they differ, saying by how much and with which versions.
        NothingToCompareError: If Hugging Face itself runs no small copy of this configuration.
    """
    backend = "TransformerBridge" if bridge else "HookedTransformer"
    attention = "sdpa" if getattr(config, "_attn_implementation", None) == "sdpa" else "eager"
    settings = {k: v for k, v in config.to_dict().items() if k not in _OF_NO_BEARING}
    key = (
        f"{backend} {attention} {made_by.__module__}.{made_by.__qualname__}",
        json.dumps(settings, sort_keys=True, default=str),
    )
    if key not in verdicts:
        verdicts[key] = _verdict(made_by, config, attention, wrap)
    verdict = verdicts[key]
    if verdict is not None:
        name = f"{backend} of {made_by.__name__}"
        raise type(verdict)(f"{name} {verdict}, with {versions()}: use {alternative(bridge)}")


def wrap_in_bridge(small: Any) -> Any:
    """A TransformerBridge of a small Hugging Face model."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        "copy", hf_model=small, tokenizer=_tokenizer(), device="cpu", dtype=torch.float32
    )


def versions() -> str:
    """The versions of transformers and TransformerLens, as part of a sentence."""
    return (
        f"transformers {version('transformers')} and TransformerLens {version('transformer-lens')}"
    )


def alternative(bridge: bool) -> str:
    """What a user can try where this backend is wrong, as the end of a sentence."""
    other = "another version of transformers or TransformerLens"
    if not bridge:
        return f"backend='bridge', or {other}"
    has_hooked = int(version("transformer-lens").split(".")[0]) < 4
    return f"backend='hooked', or {other}" if has_hooked else other


def _verdict(
    made_by: type[Any], config: Any, attention: str, wrap: Callable[[Any], Any]
) -> Exception | None:
    """What is wrong with a configuration, if anything is: the end of a sentence about it."""
    failures = []
    for narrow in (True, False):
        try:
            theirs, ours = _twins(made_by, shrunken(config, narrow=narrow), attention)
            expected = _expected(theirs)
        except Exception as error:  # noqa: BLE001 - configurations fail in ways of their own
            failures.append(f"{type(error).__name__}: {error}".splitlines()[0])
            continue
        wrong = _difference(ours, wrap, expected)
        return None if wrong is None else ValueError(wrong)
    return NothingToCompareError(
        "cannot be compared with Hugging Face, for no small copy of its configuration runs "
        f"({failures[-1][:120]})"
    )


def _twins(made_by: type[Any], config: Any, attention: str) -> tuple[Any, Any]:
    """Two models with the same random weights: as Hugging Face makes it, and to be wrapped."""
    config.architectures = [made_by.__name__]
    plain = copy.deepcopy(config)
    plain.output_attentions = False  # which TransformerLens sets, and some attention then differs
    make: Any = made_by
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        theirs = make._from_config(plain, dtype=torch.float32).eval()
        ours = make._from_config(config, dtype=torch.float32, attn_implementation=attention).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim > 1:  # of order 1 after each, so that attention tells tokens apart
                parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def _tokens() -> Int[Tensor, "row pos"]:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(3, VOCABULARY - 16, (2, _LENGTH), generator=draw)


def _expected(theirs: Any) -> list[Float[Tensor, "_ vocab"]]:
    """Hugging Face's logits of the whole row, and of the other without its padding."""
    tokens = _tokens()
    with torch.no_grad():
        return [
            theirs(input_ids=row[None], use_cache=False).logits[0].float()
            for row in (tokens[0], tokens[1, _PADS:])
        ]


def _difference(
    ours: Any, wrap: Callable[[Any], Any], expected: list[Float[Tensor, "_ vocab"]]
) -> str | None:
    """How the wrapped copy's logits differ from the expected ones, if they do."""
    with no_processes(), torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            found = _logits(wrap(ours))
        except Exception as error:  # noqa: BLE001 - it would fail so on the model itself
            first = f"{type(error).__name__}: {error}".splitlines()[0]
            return f"does not run as a small copy of its configuration ({first[:120]})"
    for how, rows in found.items():
        error = max(
            difference(row, right[-len(row) :]) for row, right in zip(rows, expected, strict=False)
        )
        if not error <= TOLERANCE[torch.float32]:
            return (
                f"gives other logits than Hugging Face {how}, by {error:.1e} of the largest (a "
                "small copy of its configuration)"
            )
    return None


def _logits(model: Any) -> dict[str, list[Float[Tensor, "_ vocab"]]]:
    """Of the two rows, on each of the ways that lens_steer runs a model."""
    from lens_steer.models.cache_names import pass_cache_on

    if is_bridge(model):
        pass_cache_on(model)
    tokens = _tokens()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, :_PADS] = False
    padded = forward(model, tokens, mask)
    decoder = Decoder(model, tokens[:, :_PROMPT], mask[:, :_PROMPT])
    steps = [decoder.start()[:, None]]
    steps += [decoder.advance(tokens[:, [i]])[:, None] for i in range(_PROMPT, _PROMPT + 4)]
    rest = slice(_PROMPT + 4, None)
    steps.append(decoder.score(tokens[:, rest], mask[:, rest]))
    cached = torch.cat(steps, dim=1)
    return {
        "without a cache": [forward(model, tokens[:1])[0]],
        "beside a longer row": [padded[0], padded[1, _PADS:]],
        "over a cache": list(cached),
    }


def difference(found: Tensor, right: Tensor) -> float:
    """The largest difference of logits, in units of the largest logit."""
    vocabulary = min(found.shape[-1], right.shape[-1])
    found, right = found[..., :vocabulary].float(), right[..., :vocabulary].float()
    return ((found - right).abs().max() / right.abs().max().clamp(min=1e-6)).item()


def _tokenizer() -> Any:
    """Of a few words: TransformerLens asks for one (it changes it), or looks for one on the hub."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(vocab={"a": 0, "<unk>": 1, "</s>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>")
