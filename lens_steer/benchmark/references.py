"""What steering has to beat: another prompt, and the best of several unsteered texts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import Count
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    Judge,
    SampledText,
    as_sampled_texts,
    best_of_n_kl,
    evaluation_of,
    scores_of,
    teacher_forced_kl,
)
from lens_steer.models import Message, Prompt, SteerableModel, decode_continuation, render
from lens_steer.steering import (
    Decoding,
    DecodingOptions,
    Ending,
    continuations,
    decoding_of_call,
    prompt_rows,
)

Rewrite = Callable[[Prompt], Prompt]


def instructed(instruction: str) -> Rewrite:
    """Puts an instruction before a prompt; before a chat as its system message.

    Raises:
        ValueError: If the instruction is blank.

    Example:
        >>> asking = ls.benchmark.instructed("This is a sad story.")
        >>> asking("Once upon a time")
        'This is a sad story. Once upon a time'
    """
    if not instruction.strip():
        raise ValueError(f"got the instruction {instruction!r}, expected text that is not blank")

    def rewrite(prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            return f"{instruction.rstrip()} {prompt}"
        return (Message("system", instruction), *prompt)

    return rewrite


def prompted(
    model: SteerableModel,
    pairs: ContrastivePairs,
    rewrite: Rewrite,
    *,
    judge: Judge | None,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Evaluation:
    """The unsteered model after other prompts, its texts judged as if after the prompts themselves.

    Its divergence is from the model after the prompts themselves: what the instruction is worth.

    Args:
        rewrite: Makes the other prompt of each.
        judge: See `evaluate`.
        decoding: How texts are written; or the same as keywords.
        options: As `evaluate`.

    Raises:
        ValueError: As `evaluate`; if n-grams are ruled out, which depend on the prompt.
        TypeError: If a keyword is unknown.
    """
    decoding = _unsteered(decoding_of_call(prompted, decoding, options))
    max_new_tokens, stop = decoding.max_new_tokens, decoding.stop
    other = _rewritten(pairs, rewrite)
    asked = [rewrite(prompt) for prompt in pairs.prompts]
    rows, plain = (
        prompt_rows(model, prompts, max_new_tokens) for prompts in (asked, pairs.prompts)
    )
    ending = Ending.of(model, stop)
    new_tokens = continuations(model, rows, decoding=decoding)
    texts = as_sampled_texts(rows, new_tokens, max_new_tokens, ending)
    clean_texts = as_sampled_texts(plain, new_tokens, max_new_tokens, ending)
    unsteered = [()] * len(texts)
    costs = teacher_forced_kl(model, texts, unsteered, decoding, clean_texts=clean_texts)
    if judge is not None:
        how = {"judge": judge, "stop": stop}
        return evaluation_of(model, pairs, (), clean_texts, costs, scope="last", **how)
    preferring = evaluation_of(
        model, other, (), clean_texts, costs, judge=None, scope="last", stop=stop
    )
    plainly = evaluation_of(
        model, pairs, (), clean_texts, costs, judge=None, scope="last", stop=stop
    )
    return replace(plainly, behaviour=preferring.behaviour)


def _unsteered(decoding: Decoding) -> Decoding:
    """The same without explicit positions, which may lie behind the end: nothing is steered."""
    return replace(decoding, scope="last")


def _rewritten(pairs: ContrastivePairs, rewrite: Rewrite) -> ContrastivePairs:
    sides = (
        tuple(replace(example, prompt=rewrite(example.prompt)) for example in side)
        for side in (pairs.desired, pairs.undesired)
    )
    return ContrastivePairs(*sides, paired=pairs.paired, name=pairs.name)


def best_of_n(
    model: SteerableModel,
    pairs: ContrastivePairs,
    n: Count,
    *,
    judge: Judge,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Evaluation:
    """For each prompt the text that the judge scores highest of n unsteered ones.

    It costs n generations, and `best_of_n_kl(n)` nats at most: that bound is what is reported.

    Args:
        n: Texts of each prompt.
        judge: See `evaluate`.
        decoding: How texts are written; or the same as keywords.
        options: As `evaluate`.

    Raises:
        ValueError: As `evaluate`, or if n is below 1.
        TypeError: If a keyword is unknown.
    """
    decoding = _unsteered(decoding_of_call(best_of_n, decoding, options))
    max_new_tokens, stop = decoding.max_new_tokens, decoding.stop
    most = best_of_n_kl(n)
    rows = prompt_rows(model, pairs.prompts, max_new_tokens)
    ending = Ending.of(model, stop)
    new_tokens = continuations(model, [*rows] * n, decoding=decoding)
    texts = as_sampled_texts([*rows] * n, new_tokens, max_new_tokens, ending)
    scores = _scores(model, pairs, texts, judge, stop).reshape(n, len(rows))
    best = scores.argmax(dim=0).tolist()  # the first of equals
    best_texts = [texts[len(rows) * k + i] for i, k in enumerate(best)]
    costs = teacher_forced_kl(model, best_texts, [()] * len(best_texts), decoding)
    costs = replace(costs, kl=torch.full_like(costs.kl, most))
    return evaluation_of(model, pairs, (), best_texts, costs, judge=judge, scope="last", stop=stop)


def _scores(
    model: SteerableModel,
    pairs: ContrastivePairs,
    texts: Sequence[SampledText],
    judge: Judge,
    stop: Sequence[str],
) -> Float[Tensor, " text"]:
    asked = [render(model, prompt) for prompt in pairs.prompts]
    words = [
        decode_continuation(model, t.ids[: t.prompt_length], t.ids[t.prompt_length :], stop)
        for t in texts
    ]
    return scores_of(judge, asked * (len(texts) // len(asked)), words)
