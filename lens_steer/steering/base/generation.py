"""Texts that follow prompts, steered or not."""

from collections.abc import Sequence
from typing import Any

from lens_steer.models import (
    Prompt,
    SteerableModel,
    as_prompt,
    check_fits,
    decode_continuation,
    encode_prompt,
    render,
)
from lens_steer.steering.base.decoding import continuations
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.sampling import Sampling
from lens_steer.steering.base.scope import Scope


def generate(  # noqa: PLR0913 - each is a knob of decoding that users know
    model: SteerableModel,
    prompts: Sequence[Prompt | Sequence[Any]],
    *methods: Intervention,
    max_new_tokens: int = 40,
    temperature: float | int = 1.0,
    top_p: float | int = 1.0,
    seed: int | None = None,
    scope: Scope = "last",
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    stop: Sequence[str] = (),
    progress: bool = False,
) -> list[str]:
    """Continue prompts, steered by `methods` if any are given.

    Prompts of different lengths are batched; a row's text does not depend on its batch.

    Args:
        prompts: Texts, or chats (lists of messages); a chat whose last message is the assistant's
            is continued, any other answered.
        max_new_tokens: At most; a text ends earlier at any end token that the tokenizer or the
            model's generation config names.
        temperature: 0 is greedy, 1 samples the model as it is.
        top_p: Share of the probability that is sampled from.
        seed: Needed unless greedy; row i draws from a generator seeded by (seed, i).
        scope: Where to steer, see `steered`.
        token_budget: Tokens of a batch, prompts and continuations together; only speed and memory
            depend on it. None: as many as have their keys and values in a gigabyte.
        first_row: Number of the first row, to continue a list in parts.
        use_cache: False recomputes everything for each token: slow, the same text.
        stop: A text ends before the first of these strings, however it is tokenised.

    Returns:
        The continuations only, a leading space kept.

    Raises:
        ValueError: If there are no prompts, one has no tokens or does not fit the context with what
            is to be generated, sampling has no seed, a method does not fit the model, or logits
            become NaN or infinite (the layer, the dtype and the methods are named).
    """
    sampling = Sampling(temperature, top_p, seed, stop)
    rows = prompt_rows(model, prompts, max_new_tokens)
    found = continuations(
        model,
        rows,
        *methods,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        first_row=first_row,
        use_cache=use_cache,
        progress=progress,
    )
    return [
        decode_continuation(model, row, new, sampling.stop)
        for row, new in zip(rows, found, strict=True)
    ]


def prompt_rows(
    model: SteerableModel, prompts: Sequence[Prompt | Sequence[Any]], max_new_tokens: int
) -> list[list[int]]:
    """The tokens of each prompt, checked against the context.

    Raises:
        ValueError: As `generate`.
    """
    if isinstance(prompts, str):
        raise ValueError(f"got one text {prompts!r}, expected a list of prompts: write [prompt]")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens}: expected at least 1")
    given = [as_prompt(prompt) for prompt in prompts]
    if not given:
        raise ValueError("no prompts: expected at least one")
    rows = [encode_prompt(model, prompt) for prompt in given]
    for row, prompt in zip(rows, given, strict=True):
        if not row:
            raise ValueError(
                "an empty prompt, and this model has no beginning-of-sequence token: give it a word"
            )
        check_fits(model, len(row) + max_new_tokens, render(model, prompt))
    return rows
