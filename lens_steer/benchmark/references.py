"""What steering has to beat: another prompt, the best of several texts, a random push."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    FixedTexts,
    Judge,
    SampledText,
    best_of_n_kl,
    evaluation_of,
    scores_of,
    teacher_forced_kl,
    written,
)
from lens_steer.models import Message, Prompt, SteerableModel, decode_continuation, render
from lens_steer.sites import Site
from lens_steer.steering import (
    Additive,
    Decoding,
    DecodingOptions,
    Ending,
    Intervention,
    Random,
    continuations,
    decoding_of_call,
    prompt_rows,
)

Rewrite = Callable[[Prompt], Prompt]


def instructed(instruction: str) -> Rewrite:
    """Puts an instruction before a prompt; before a chat as its system message.

    Raises:
        ValueError: If the instruction is blank.
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
    texts = written(rows, new_tokens, max_new_tokens, ending)
    clean_texts = written(plain, new_tokens, max_new_tokens, ending)
    unsteered = [()] * len(texts)
    paths = teacher_forced_kl(model, texts, unsteered, decoding, clean_texts=clean_texts)
    if judge is not None:
        how = {"judge": judge, "stop": stop}
        return evaluation_of(model, pairs, (), clean_texts, paths, scope="last", **how)
    preferring = evaluation_of(
        model, other, (), clean_texts, paths, judge=None, scope="last", stop=stop
    )
    plainly = evaluation_of(
        model, pairs, (), clean_texts, paths, judge=None, scope="last", stop=stop
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
    n: int,
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
    texts = written([*rows] * n, new_tokens, max_new_tokens, ending)
    scores = _scores(model, pairs, texts, judge, stop).reshape(n, len(rows))
    best = scores.argmax(dim=0).tolist()  # the first of equals
    best_texts = [texts[len(rows) * k + i] for i, k in enumerate(best)]
    paths = teacher_forced_kl(model, best_texts, [()] * len(best_texts), decoding)
    paths = replace(paths, kl=torch.full_like(paths.kl, most))
    return evaluation_of(model, pairs, (), best_texts, paths, judge=judge, scope="last", stop=stop)


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


def random_like(
    model: SteerableModel, method: Intervention, texts: FixedTexts, *, seeds: Sequence[int]
) -> list[Random]:
    """Random directions in the layers that a method edits, as large as its edits on average.

    Raises:
        ValueError: If the method edits nothing along these texts.
    """
    measured = cache(partial(_as_large_as, model, method, texts))  # once for all seeds
    return [Random.like(method, measured, seed=seed) for seed in seeds]


def _as_large_as(model: SteerableModel, method: Intervention, texts: FixedTexts) -> Additive:
    """One vector in each layer that a method edits, as long as its edits along texts are."""
    [sizes] = texts.sizes(model, [(method,)])
    lengths = sizes.norm.mean(dim=0)
    if not bool(lengths.isfinite().all()):
        raise ValueError(f"the edits of {method!r} are NaN or infinite: no size to compare with")
    if not bool(lengths.any()):
        raise ValueError(f"{method!r} edits nothing along these texts: no size to compare with")
    edited = [i for i, length in enumerate(lengths.tolist()) if length > 0]
    sites = tuple(Site(sizes.layers[i]) for i in edited)
    vectors = tuple(lengths[i] * _unit(int(model.cfg.d_model)) for i in edited)
    return Additive(sites, vectors, provenance=method.provenance)


def _unit(d: int) -> Float[Tensor, " d"]:
    return torch.nn.functional.one_hot(torch.tensor(0), d).float()
