"""Texts that follow prompts, steered or not."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import Unpack

from lens_steer.arguments import Count, CountFromZero
from lens_steer.models import (
    Prompt,
    SteerableModel,
    as_prompt,
    check_fits,
    decode_continuation,
    encode_prompt,
    render,
)
from lens_steer.steering.base.continuing import continuations
from lens_steer.steering.base.decoding import Decoding, DecodingOptions, decoding_of_call
from lens_steer.steering.base.intervention import Intervention


def generate(
    model: SteerableModel,
    prompts: Sequence[Prompt | Sequence[Any]],
    *methods: Intervention,
    decoding: Decoding | None = None,
    token_budget: Count | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
    **options: Unpack[DecodingOptions],
) -> list[str]:
    """Continue prompts, steered by `methods` if any are given.

    Prompts of different lengths are batched; a row's text does not depend on its batch.

    Args:
        prompts: Texts, or chats (lists of messages); a chat whose last message is the assistant's
            is continued, any other answered.
        decoding: How texts are written; or the same as keywords.
        token_budget: Tokens of a batch, prompts and continuations together; only speed and memory
            depend on it. None: as many as have their keys and values in a gigabyte.
        first_row: Number of the first row, to continue a list in parts.
        use_cache: False recomputes everything for each token: slow, the same text.
        options: The fields of `Decoding` as keywords: `max_new_tokens temperature top_p top_k seed
            scope sink stop repetition_penalty no_repeat_ngram`.

    Returns:
        The continuations only, a leading space kept.

    Raises:
        ValueError: If there are no prompts, one has no tokens or does not fit the context with what
            is to be generated, sampling has no seed, a method does not fit the model, or logits
            become NaN or infinite (the layer, the dtype and the methods are named).
        TypeError: If a keyword is unknown.

    Example:
        >>> method = ls.CAA.fit(ls.capture(model, train, "resid").at(layer=3))
        >>> texts = ls.generate(model, ["The film was"], method, max_new_tokens=20, seed=0)
        >>> greedy = ls.generate(model, ["The film was"], temperature=0.0)  # unsteered
    """
    decoding = decoding_of_call(generate, decoding, options)
    rows = prompt_rows(model, prompts, decoding.max_new_tokens)
    new_tokens = continuations(
        model,
        rows,
        *methods,
        decoding=decoding,
        token_budget=token_budget,
        first_row=first_row,
        use_cache=use_cache,
        progress=progress,
    )
    return [
        decode_continuation(model, row, new, decoding.stop)
        for row, new in zip(rows, new_tokens, strict=True)
    ]


def prompt_rows(
    model: SteerableModel, prompts: Sequence[Prompt | Sequence[Any]], max_new_tokens: CountFromZero
) -> list[list[int]]:
    """The tokens of each prompt, checked against the context.

    Raises:
        ValueError: As `generate`.
    """
    if isinstance(prompts, str):
        raise ValueError(f"got one text {prompts!r}, expected a list of prompts: write [prompt]")
    parsed = [as_prompt(prompt) for prompt in prompts]
    if not parsed:
        raise ValueError("no prompts: expected at least one")
    rows = [encode_prompt(model, prompt) for prompt in parsed]
    for row, prompt in zip(rows, parsed, strict=True):
        if not row:
            raise ValueError(
                "an empty prompt, and this model has no beginning-of-sequence token: give it a word"
            )
        check_fits(model, len(row) + max_new_tokens, render(model, prompt))
    return rows
