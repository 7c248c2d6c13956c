"""The tokenizer of the language, with one token for each word."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lens_steer.organism.machine import END

PAD, BOS, UNKNOWN = "<pad>", "<s>", "<unk>"
_MARKS = (".", ",", ":")
_SPACE = "\u2581"  # stands for the space before a word, at the start of a text too


def vocabulary(words: Iterable[str]) -> dict[str, int]:
    """Token numbers: the special ones first, then punctuation, then the words in order."""
    spaced = (_SPACE + word for word in sorted(set(words) - set(_MARKS)))
    return {token: i for i, token in enumerate((PAD, BOS, END, UNKNOWN, *_MARKS, *spaced))}


def number_of(words: Iterable[str]) -> dict[str, int]:
    """Token numbers by word, without the mark for a space; special tokens by their names."""
    return {token.removeprefix(_SPACE): i for token, i in vocabulary(words).items()}


def make_tokenizer(words: Iterable[str], context: int) -> Any:
    """A fast Hugging Face tokenizer that writes BOS first and splits at spaces and marks."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    numbers = vocabulary(words)
    tokenizer: Any = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    split = pre_tokenizers.Split(Regex(r"[.,:]"), "isolated")
    spaces = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="first", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, split])
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="first")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, numbers[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(words: Iterable[str], context: int, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into a folder."""
    make_tokenizer(words, context).save_pretrained(folder)
