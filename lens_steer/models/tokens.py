"""Text to tokens and back: where a continuation begins, padding and batching."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import commonprefix
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.arguments import Count, CountFromZero
from lens_steer.axes import Mask, Tokens
from lens_steer.models.forward_pass import context_length, input_device
from lens_steer.models.prompts import Prompt, render
from lens_steer.models.protocol import SteerableModel
from lens_steer.models.special_tokens import beginning_ids, tokenizer_of
from lens_steer.models.special_tokens import bos_id as bos_id
from lens_steer.models.special_tokens import eos_ids as eos_ids
from lens_steer.reports import short_repr

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # ends the text of tokens that end within a character


def encode_prompt(model: SteerableModel, prompt: Prompt) -> list[int]:
    """The tokens of a prompt, with one beginning-of-sequence token where the model has any.

    `lens_steer.special_tokens.beginning` says which one, and whether the model's own tokenizer
    writes it. No end-of-sequence token is added, even by a tokenizer that would end every text
    with one.

    Example:
        >>> encode_prompt(model, "Once upon a time")
        [50256, 7454, 2402, 257, 640]
    """
    ids = tokenizer_of(model)(render(model, prompt), add_special_tokens=False)["input_ids"]
    return _with_bos(model, ids)


@dataclass(frozen=True)
class Encoded:
    """A tokenised example: `ids[:prompt_length]` is the prompt, the rest its continuation."""

    ids: tuple[int, ...]
    prompt_length: int

    __repr__ = short_repr


def continuation_places(
    rows: Sequence[Encoded],
) -> tuple[Int[Tensor, " token"], Int[Tensor, " token"]]:
    """(row, column) of every token of the continuations, one row after another, padded right.

    A row's first token is left out: nothing precedes it that could foretell it.

    Example:
        >>> continuation_places([Encoded((5, 6, 7), 1), Encoded((5, 6), 0)])
        (tensor([0, 0, 1]), tensor([1, 2, 1]))
    """
    columns = [torch.arange(max(row.prompt_length, 1), len(row.ids)) for row in rows]
    lengths = torch.tensor([len(column) for column in columns])
    return torch.arange(len(rows)).repeat_interleave(lengths), torch.cat(columns)


def encode(model: SteerableModel, prompt: Prompt, continuation: str) -> Encoded:
    """The tokens of a prompt and its continuation, written as one text.

    A token belongs to the continuation as soon as one of its characters does: where the tokenizer
    merges across the boundary (of a prompt that ends in a space, say), the merged token is the
    continuation's, and the prompt's tokens stay a prefix.

    Raises:
        ValueError: If the continuation has no token of its own, the row is longer than the model's
            context, or the tokenizer gives no offsets and merges across the boundary.

    Example:
        >>> encoded = encode(model, "The cat", " sat")
        >>> encoded.ids[encoded.prompt_length :]
        (3332,)
    """
    text = render(model, prompt)
    ids, boundary = _tokenise(tokenizer_of(model), text, continuation)
    row = _with_bos(model, ids)
    prompt_length = boundary + len(row) - len(ids)
    if prompt_length >= len(row):
        raise ValueError(
            f"the continuation {continuation!r} of {_short(text)} is empty after tokenising: "
            "give it at least one token"
        )
    check_fits(model, len(row), text)
    return Encoded(tuple(row), prompt_length)


def check_fits(model: SteerableModel, length: int, text: str) -> None:
    """Raise a ValueError if `length` tokens, made from `text`, are more than the context holds."""
    if length > context_length(model):
        raise ValueError(
            f"{length} tokens, from {_short(text)}, but the model's context holds "
            f"{context_length(model)}: shorten the prompt, or generate fewer tokens"
        )


def pad(
    model: SteerableModel, rows: Sequence[Sequence[int]], *, left: bool = False
) -> tuple[Tokens, Mask]:
    """Pad rows of different lengths to one batch on the model's device.

    Args:
        model: The model whose device and padding token to take.
        rows: Token ids, at least one row.
        left: Pad on the left, for rows that are continued.

    Returns:
        Tokens, and a mask that is False at padding.

    Example:
        >>> tokens, mask = pad(model, [[50256, 464, 3797], [50256]], left=True)
    """
    width = max(len(row) for row in rows)
    filler = tokenizer_of(model).pad_token_id or 0
    tokens = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(len(row))
        tokens[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = True
    device = input_device(model)
    return tokens.to(device), mask.to(device)


def batches(lengths: Sequence[int], token_budget: Count) -> Iterable[list[int]]:
    """Divide rows into padded batches of at most `token_budget` tokens, similar lengths together.

    A row longer than the budget is a batch by itself.

    Args:
        lengths: How many tokens each row has.
        token_budget: The largest size of a batch, padding included.

    Yields:
        The indices of the rows of each batch.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[index] > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def decode_continuation(
    model: SteerableModel,
    prompt: Sequence[int],
    continuation: Sequence[int],
    stop: Sequence[str] = (),
) -> str:
    """The text of a continuation, with its leading space and without special tokens.

    Args:
        model: The model whose tokenizer to take.
        prompt: The tokens before the continuation.
        continuation: The tokens to write out.
        stop: The text ends before the first of these strings.
    """
    text = _decoded_after(model, prompt, continuation)
    ends = [text.find(string) for string in stop if string in text]
    return text[: min(ends)] if ends else text


def _decoded_after(
    model: SteerableModel, prompt: Sequence[int], continuation: Sequence[int]
) -> str:
    decode = partial(
        tokenizer_of(model).decode, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    start, whole = decode(list(prompt)), decode([*prompt, *continuation])
    return whole[len(start) :] if whole.startswith(start) else decode(list(continuation))


def token_texts(model: SteerableModel, ids: Sequence[int], start: CountFromZero = 0) -> list[str]:
    """Each token as the text that it adds to what precedes it, for display.

    A character of several tokens belongs to the last of them; the others are empty.

    Args:
        model: The model whose tokenizer to take.
        ids: The tokens.
        start: The first token whose text is wanted.
    """
    decode = partial(tokenizer_of(model).decode, clean_up_tokenization_spaces=False)
    texts, before = [], decode(list(ids[:start])).rstrip(_UNFINISHED)
    for end in range(start + 1, len(ids) + 1):
        text = decode(list(ids[:end]))
        whole = text if end == len(ids) else text.rstrip(_UNFINISHED)
        shared = len(commonprefix([before, whole]))
        texts.append(whole[shared:])
        before = whole
    return texts


def _with_bos(model: SteerableModel, ids: list[int]) -> list[int]:
    first = list(beginning_ids(model))
    return list(ids) if ids[: len(first)] == first else [*first, *ids]


def _tokenise(tokenizer: Any, prompt: str, continuation: str) -> tuple[list[int], int]:
    """The tokens of both as one text, and how many of them are the prompt's."""
    text = prompt + continuation
    if tokenizer.is_fast:
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoding["offset_mapping"]]
        boundary = next((i for i, end in enumerate(ends) if end > len(prompt)), len(ends))
        return encoding["input_ids"], boundary
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if ids[: len(start)] != start:
        raise ValueError(
            f"this tokenizer merges across the end of {_short(prompt)} and gives no offsets: "
            "move the last word or space of the prompt to the continuation, or use a fast tokenizer"
        )
    return ids, len(start)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:40] + " ... " + text[-15:])
