"""Texts as `generate` writes them, with the numbers of every token; several strengths at once."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import Count, CountFromZero, Expected, Layer, Number
from lens_steer.evaluation.generated_text import GeneratedText, StopReason
from lens_steer.evaluation.generated_texts import Generation
from lens_steer.evaluation.sampled_texts import SampledText
from lens_steer.evaluation.strengths_side_by_side import SideBySide
from lens_steer.evaluation.token_numbers import (
    TokenNumbers,
    sites_of_methods,
    token_numbers,
    unit_directions,
)
from lens_steer.models import (
    Prompt,
    SteerableModel,
    as_prompt,
    decode_continuation,
    eos_ids,
    open_blocks,
    render,
    token_texts,
)
from lens_steer.steering import (
    DecodeStep,
    Decoding,
    DecodingOptions,
    Ending,
    Intervention,
    continuations_of_each,
    decoding_of_call,
    prompt_rows,
)

Strengths = Annotated[
    Sequence[Number],
    Expected("a list of different strengths, at least one", lambda x: 0 < len(x) == len(set(x))),
]


def generation(
    model: SteerableModel,
    prompts: Sequence[Prompt | Sequence[Any]],
    *methods: Intervention,
    directions: Mapping[Layer, Float[Tensor, " d"]] | None = None,
    decoding: Decoding | None = None,
    token_budget: Count | None = None,
    first_row: CountFromZero = 0,
    progress: bool = False,
    **options: Unpack[DecodingOptions],
) -> Generation:
    """Continue prompts as `generate` does, and say of every token what it cost.

    The texts are those of `generate` with the same arguments. When they are written, they are run
    once more, all tokens at a time, through the steered and through the unsteered model: these
    passes give the numbers, which `GeneratedText` defines. A text's numbers do not depend on its
    batch, but for rounding.

    Args:
        prompts: As `generate`.
        directions: By layer, on which to project the residual stream behind it; of any length above
            0, of which only the direction counts.
        decoding: As `generate`. It says what is drawn; probabilities and nats are those of the
            model as it is, at temperature 1.
        token_budget: As `generate`.
        first_row: As `generate`.
        options: As `generate`.

    Raises:
        ValueError: As `generate`; inside a block of `steered`, where there is no unsteered model;
            or if a direction is 0 or does not fit the model.
        TypeError: If a keyword is unknown.

    Example:
        >>> run = ls.generation(model, ["The film was"], method, max_new_tokens=40, seed=0)
        >>> run  # in a notebook: tokens coloured by nats; elsewhere print(run.colored())
        >>> run[0].nats, run[0].log_probs - run[0].clean_log_probs
    """
    decoding = decoding_of_call(generation, decoding, options)
    if open_blocks(model):
        raise ValueError(
            "got a model inside a block of `steered`, expected one that nothing steers: give the "
            "methods to `generation` itself"
        )
    rows = prompt_rows(model, prompts, decoding.max_new_tokens)
    units = unit_directions(model, directions)
    drawn: list[list[int]] = [[] for _ in rows]

    def keep(step: DecodeStep) -> None:
        for i, token in zip(step.text_index.tolist(), step.tokens.tolist(), strict=True):
            drawn[i].append(token)

    continuations_of_each(
        model,
        rows,
        [methods],
        decoding,
        token_budget=token_budget,
        first_row=first_row,
        progress=progress,
        on_step=keep,
        with_clean=False,
    )
    ending = Ending.of(model, decoding.stop)
    texts = [_sampled(row, new, ending) for row, new in zip(rows, drawn, strict=True)]
    numbers = token_numbers(model, texts, drawn, methods, decoding.steered_scope, units)
    written = [render(model, as_prompt(prompt)) for prompt in prompts]
    return Generation(
        tuple(
            _text_of(model, *parts, ending)
            for parts in zip(written, texts, drawn, numbers, strict=True)
        ),
        sites_of_methods(methods),
        tuple(units),
        tuple(f"{type(method).__name__} at strength {method.strength:g}" for method in methods),
        decoding,
    )


def _sampled(row: Sequence[int], drawn: Sequence[int], ending: Ending) -> SampledText:
    ended = drawn[-1] in ending.tokens
    return SampledText((*row, *(drawn[:-1] if ended else drawn)), len(row), ended=ended)


def _text_of(
    model: SteerableModel,
    prompt: str,
    sampled: SampledText,
    drawn: Sequence[int],
    numbers: TokenNumbers,
    ending: Ending,
) -> GeneratedText:
    start, ids = sampled.prompt_length, sampled.ids
    return GeneratedText(
        prompt=prompt,
        text=decode_continuation(model, ids[:start], ids[start:], ending.stop),
        token_ids=torch.tensor(list(drawn)),
        tokens=tuple(token_texts(model, [*ids[:start], *drawn], start)),
        stop_reason=_stop_reason(model, sampled, drawn[-1], ending),
        **vars(numbers),
    )


def _stop_reason(model: SteerableModel, text: SampledText, last: int, ending: Ending) -> StopReason:
    """A special token that the caller asks to stop at is a stop text, unless it ends all texts."""
    if text.ended:
        return "end of text" if last in eos_ids(model) else "stop text"
    start = text.prompt_length
    return "stop text" if ending.stops(text.ids[:start], text.ids[start:]) else "length"


def side_by_side(
    model: SteerableModel,
    prompts: Sequence[Prompt | Sequence[Any]],
    method: Intervention,
    strengths: Strengths = (0.0, 0.5, 1.0, 2.0),
    *,
    decoding: Decoding | None = None,
    token_budget: Count | None = None,
    progress: bool = False,
    **options: Unpack[DecodingOptions],
) -> SideBySide:
    """What a method writes at several strengths, from the same random draws.

    Args:
        prompts: As `generate`.
        method: Its own strength is left aside.
        strengths: Dimensionless; 0 is the model as it is, 1 the method as made.
        decoding: As `generation`.
        token_budget: As `generate`.
        options: As `generate`.

    Raises:
        ValueError: As `generation`; if a strength is given twice.
        TypeError: If a keyword is unknown.

    Example:
        >>> ls.side_by_side(model, prompts, method, strengths=[0, 1, 2], seed=0)
    """
    decoding = decoding_of_call(side_by_side, decoding, options)
    runs = [
        generation(
            model,
            prompts,
            method.with_strength(strength),
            decoding=decoding,
            token_budget=token_budget,
            progress=progress,
        )
        for strength in strengths
    ]
    return SideBySide(type(method).__name__, tuple(map(float, strengths)), tuple(runs))
