"""Tiny models with random weights, as Hugging Face saves them: what every cell loads."""

from pathlib import Path
from typing import Any

import torch

from analyses.compatibility.architectures import BOS, CONTEXT, EOS, PAD, Architecture

_SPECIAL = {PAD: "<pad>", BOS: "<s>", EOS: "</s>"}


def write_model(
    architecture: Architecture, folder: Path, *, seed: int, dtype: torch.dtype = torch.float32
) -> None:
    """Write a tiny random model and its tokenizer to a folder, in the Hugging Face format.

    Norm gains and biases are not 1 and 0, so that leaving one out shows.

    Args:
        architecture: What to make.
        folder: Is made.
        seed: Of the weights.
        dtype: Of the saved weights, which are drawn in float32.
    """
    import transformers

    auto: Any = getattr(transformers, f"AutoModelFor{architecture.task}")
    with torch.random.fork_rng(devices=[]):  # its own random weights are overwritten
        model: Any = auto.from_config(architecture.configuration(), dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim > 1:  # of order 1 after each, so that attention tells tokens apart
                parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    model.to(dtype).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def _tokenizer() -> Any:
    """One token for each printable character; it writes a BOS before a text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    characters = [splitter.pre_tokenize_str(chr(i))[0][0] for i in range(32, 127)]
    tokens = {token: i for i, token in enumerate([*_SPECIAL.values(), *characters])}
    core = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True) for text in _SPECIAL.values()])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=_SPECIAL[PAD],
        bos_token=_SPECIAL[BOS],
        eos_token=_SPECIAL[EOS],
        model_max_length=CONTEXT,
    )
