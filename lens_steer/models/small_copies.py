"""Whether TransformerLens computes what Hugging Face does, found out with small random models.

For every configuration a small copy (`small_configs`: few narrow layers of the same kinds, a window
of 8 positions) is made by Hugging Face's class of the same configuration, as `from_pretrained`
would make it, and once more to be wrapped by TransformerLens, with the same random weights. Their
logits of 20 tokens are compared: without a cache, beside a longer row, and over a cache.

There is nothing to compare with for a model that Hugging Face does not have: a native bridge, or a
HookedTransformer whose configuration is not at hand.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.models.agreement import TOLERANCE, alternative, relative_difference, versions
from lens_steer.models.cache_names import pass_cache_on
from lens_steer.models.checkpoints import no_processes
from lens_steer.models.decoders import Decoder
from lens_steer.models.forward_pass import forward
from lens_steer.models.protocol import is_bridge
from lens_steer.models.small_configs import VOCABULARY, shrunken

_LENGTH, _PROMPT, _PADS = 20, 12, 5
_IRRELEVANT = ("_name_or_path", "dtype", "transformers_version")  # the copy is in float32
verdicts: dict[tuple[str, str], Exception | None] = {}  # by configuration, as long as we run


class NothingToCompareError(ValueError):
    """No small copy of a configuration can be made."""


def check_configuration(
    model_class: type[Any], config: Any, wrap: Callable[[Any], Any], *, bridge: bool
) -> None:
    """Compare a small copy of a configuration's model, wrapped, with Hugging Face itself.

    The first time takes about 0.1 s; the result is remembered as long as the process lives.

    Args:
        model_class: Hugging Face's class of the model.
        config: Its configuration, which is left as it is.
        wrap: Makes a TransformerLens model of the copy.
        bridge: Whether that is a TransformerBridge.

    Raises:
        ValueError: If they differ, saying by how much and with which versions.
        NothingToCompareError: If Hugging Face itself runs no small copy of this configuration.
    """
    backend = "TransformerBridge" if bridge else "HookedTransformer"
    attention = "sdpa" if getattr(config, "_attn_implementation", None) == "sdpa" else "eager"
    settings = {k: v for k, v in config.to_dict().items() if k not in _IRRELEVANT}
    key = (
        f"{backend} {attention} {model_class.__module__}.{model_class.__qualname__}",
        json.dumps(settings, sort_keys=True, default=str),
    )
    if key not in verdicts:
        verdicts[key] = _verdict(model_class, config, attention, wrap)
    verdict = verdicts[key]
    if verdict is not None:
        name = f"{backend} of {model_class.__name__}"
        remedy = alternative(bridge, model_class.__name__)
        raise type(verdict)(f"{name} {verdict}, with {versions()}: use {remedy}")


def wrap_in_bridge(original: Any) -> Any:
    """A TransformerBridge of a small Hugging Face model."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        "copy", hf_model=original, tokenizer=_tokenizer(), device="cpu", dtype=torch.float32
    )


def _tokenizer() -> Any:
    """A tokenizer of three words: without one TransformerLens would look for it on the hub."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(vocab={"a": 0, "<unk>": 1, "</s>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>")


def _verdict(
    model_class: type[Any], config: Any, attention: str, wrap: Callable[[Any], Any]
) -> Exception | None:
    """What is wrong with a configuration, as the end of a sentence about it; None if nothing is."""
    failure = ""
    for narrow in (True, False):
        try:
            theirs, ours = _twins(model_class, shrunken(config, narrow=narrow), attention)
            expected = _expected_logits(theirs)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        fault = _fault(ours, wrap, expected)
        return None if fault is None else ValueError(fault)
    return NothingToCompareError(
        "cannot be compared with Hugging Face, for no small copy of its configuration runs "
        f"({failure[:120]})"
    )


def _twins(model_class: type[Any], config: Any, attention: str) -> tuple[Any, Any]:
    """Two models with the same random weights: as Hugging Face makes it, and one to be wrapped."""
    config.architectures = [model_class.__name__]
    plain = copy.deepcopy(config)
    plain.output_attentions = False  # which TransformerLens sets, and some attention then differs
    make: Any = model_class
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


def _expected_logits(theirs: Any) -> list[Float[Tensor, "_ vocab"]]:
    """Hugging Face's logits of the first row, and of the second without its padding."""
    tokens = _tokens()
    with torch.no_grad():
        return [
            theirs(input_ids=row[None], use_cache=False).logits[0].float()
            for row in (tokens[0], tokens[1, _PADS:])
        ]


def _fault(
    ours: Any, wrap: Callable[[Any], Any], expected: list[Float[Tensor, "_ vocab"]]
) -> str | None:
    """How the wrapped copy's logits differ from the expected ones; None if they do not."""
    with no_processes(), torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            logits = _logits_by_way(wrap(ours))
        except Exception as error:
            first = f"{type(error).__name__}: {error}".splitlines()[0]
            return f"does not run as a small copy of its configuration ({first[:120]})"
    for way, rows in logits.items():
        error = max(
            relative_difference(row, right[-len(row) :])
            for row, right in zip(rows, expected, strict=False)
        )
        if not error <= TOLERANCE[torch.float32]:
            return (
                f"gives other logits than Hugging Face {way}, by {error:.1e} of the largest (a "
                "small copy of its configuration)"
            )
    return None


def _logits_by_way(model: Any) -> dict[str, list[Float[Tensor, "_ vocab"]]]:
    """Logits of the two rows, in each of the ways that lens_steer runs a model."""
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
