"""What a steering method does to a set of prompts: behaviour, texts, and what they cost."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import Count
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.judges import FormJudge, Judge, judgement_of
from lens_steer.evaluation.likelihood import preference
from lens_steer.evaluation.result import Evaluation
from lens_steer.evaluation.sampled_texts import SampledText
from lens_steer.evaluation.text_costs import TextCosts, sample_with_kl
from lens_steer.models import SteerableModel, decode_continuation, render
from lens_steer.steering import (
    Decoding,
    DecodingOptions,
    Intervention,
    Methods,
    NotFinite,
    Scope,
    decoding_of_call,
    prompt_rows,
)


def evaluate(
    model: SteerableModel,
    pairs: ContrastivePairs,
    *methods: Intervention,
    judge: Judge | None = None,
    token_budget: Count | None = None,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Evaluation:
    """Continue the prompts of `pairs`, steered, and score what comes.

    Args:
        judge: Scores the texts; what it cannot score counts as 0 and is named in `unjudged`. None:
            the behaviour is the share of pairs whose desired continuation has the higher
            log-probability per token.
        token_budget: As `generate`.
        decoding: How texts are written; or the same as keywords. The same seed gives every method
            the same random draws, so that differences are paired.
        options: The fields of `Decoding`, see `generate`; but for `top_p` and `top_k`, with which
            the divergence from the unsteered model is infinite.

    Returns:
        The scores. A text whose logits become NaN or infinite because of steering has failed: its
        behaviour is NaN, and `failure` says why.

    Raises:
        ValueError: As `generate` (NaN or infinite logits, if the model has them without steering
            too); without a judge, if the pairs are unpaired.
        TypeError: If a keyword is unknown.

    Example:
        >>> judge = ls.WordList(("happy", "glad"))
        >>> trial = ls.evaluate(model, test, method, judge=judge, seed=0, max_new_tokens=20)
        >>> trial.share, trial.kl, trial.interval(seed=0)
    """
    decoding = decoding_of_call(evaluate, decoding, options)
    [trial] = _evaluated(
        model, pairs, [methods], decoding, judge=judge, token_budget=token_budget, progress=False
    )
    return trial


def evaluate_each(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention | None],
    *,
    judge: Judge | None = None,
    token_budget: Count | None = None,
    progress: bool = False,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> list[Evaluation]:
    """What `evaluate` gives for each method alone (None: unsteered), many to a batch.

    Args:
        methods: They may be of different kinds, layers and strengths.
        token_budget: As `generate`, prompts and continuations of all methods together.
        decoding: As `evaluate`.
        options: As `evaluate`.

    Raises:
        ValueError: As `evaluate`.
        TypeError: If a keyword is unknown.

    Example:
        >>> plain, steered = ls.evaluate_each(model, test, [None, method], judge=judge, seed=0)
        >>> steered.minus(plain, seed=0)  # the paired difference with its interval
    """
    decoding = decoding_of_call(evaluate_each, decoding, options)
    alone: list[Methods] = [() if method is None else (method,) for method in methods]
    return _evaluated(
        model, pairs, alone, decoding, judge=judge, token_budget=token_budget, progress=progress
    )


def _evaluated(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Methods],
    decoding: Decoding,
    *,
    judge: Judge | None,
    token_budget: int | None,
    progress: bool,
) -> list[Evaluation]:
    check_scorable(pairs, judge)
    rows = prompt_rows(model, pairs.prompts, decoding.max_new_tokens)
    failures: dict[int, str] = {}
    texts, costs = sample_with_kl(
        model,
        rows,
        methods,
        decoding,
        token_budget=token_budget,
        progress=progress,
        failures=failures,
    )
    parts = [slice(len(rows) * i, len(rows) * (i + 1)) for i in range(len(methods))]
    scope, stop = decoding.steered_scope, decoding.stop
    trials = [
        evaluation_of(
            model, pairs, combination, texts[part], costs[part], judge=judge, scope=scope, stop=stop
        )
        for combination, part in zip(methods, parts, strict=True)
    ]
    for k in sorted({number // len(rows) for number in failures}):
        numbers = [number for number in failures if number // len(rows) == k]
        failed = [number % len(rows) for number in numbers]
        trials[k] = trials[k].without(failed, failures[numbers[0]], judged=judge is not None)
    return trials


def check_pairs(pairs: ContrastivePairs) -> None:
    """Raise a ValueError for anything but `ContrastivePairs`."""
    if not isinstance(pairs, ContrastivePairs):
        raise ValueError(
            f"got {pairs!r}, expected ContrastivePairs: write ContrastivePairs.of(...)"
        )


def check_scorable(pairs: ContrastivePairs, judge: Judge | None) -> None:
    """Raise a ValueError for pairs that cannot be scored, before any text is written."""
    check_pairs(pairs)
    if judge is None and not pairs.paired:
        raise ValueError(
            f"{pairs!r}: a preference needs both continuations of each prompt; pass judge="
        )


def evaluation_of(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Methods,
    texts: Sequence[SampledText],
    costs: TextCosts,
    *,
    judge: Judge | None,
    scope: Scope,
    stop: Sequence[str] = (),
) -> Evaluation:
    """Score texts that were written, one for each prompt of the pairs.

    Without a judge, a method that makes the logits of the pairs NaN or infinite has behaviour NaN.

    Args:
        methods: What steered the texts: without a judge, also what steers the pairs.
        texts: One per prompt, as they were sampled.
        costs: Of these texts, in nats.
        judge: As `evaluate`.
        scope: Where the methods steer.
        stop: As `generate`.

    Raises:
        ValueError: If the judge's scores cannot be used, see `scores_of`.
    """
    well_formed, failure, unjudged = None, "", ()
    words = [
        decode_continuation(model, t.ids[: t.prompt_length], t.ids[t.prompt_length :], stop)
        for t in texts
    ]
    if judge is None:
        behaviour, failure = _preferred(model, pairs, methods, scope)
        groups = pairs.groups
    else:
        asked = [render(model, prompt) for prompt in pairs.prompts]
        found = judgement_of(judge, asked, words)
        behaviour, groups = found.scores, pairs.prompt_groups
        unjudged = found.reasons if any(found.reasons) else ()
        if isinstance(judge, FormJudge):
            well_formed = judge.well_formed(asked, words)
    return Evaluation(
        behaviour,
        groups,
        costs.perplexity,
        tuple(words),
        well_formed,
        text_costs=costs,
        text_groups=pairs.prompt_groups,
        failure=failure,
        unjudged=unjudged,
    )


def _preferred(
    model: SteerableModel, pairs: ContrastivePairs, methods: Methods, scope: Scope
) -> tuple[Float[Tensor, " pair"], str]:
    """Whether each desired continuation is preferred; NaN, and why, if steering breaks logits."""
    try:
        return (preference(model, pairs, *methods, scope=scope) > 0).float(), ""
    except NotFinite as error:
        if not any(method.strength != 0 for method in methods) or error.anyway:
            raise
        return torch.full((len(pairs.desired),), torch.nan), str(error)
