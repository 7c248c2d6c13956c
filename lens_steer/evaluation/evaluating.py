"""What a steering method does to a set of prompts: behaviour, texts, and what they cost."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.judges import FormJudge, Judge, scores_of
from lens_steer.evaluation.likelihood import preference
from lens_steer.evaluation.result import Evaluation
from lens_steer.evaluation.text_costs import SampledText, TextCosts, sample_with_kl
from lens_steer.models import SteerableModel, decode_continuation, render
from lens_steer.steering import Intervention, Methods, NotFinite, Sampling, Scope, prompt_rows


def evaluate(  # noqa: PLR0913 - each is a knob of decoding
    model: SteerableModel,
    pairs: ContrastivePairs,
    *methods: Intervention,
    judge: Judge | None = None,
    seed: int,
    temperature: float | int = 1.0,
    max_new_tokens: int = 40,
    scope: Scope = "last",
    token_budget: int | None = None,
    stop: Sequence[str] = (),
) -> Evaluation:
    """Continue the prompts of `pairs`, steered, and score what comes.

    Args:
        judge: Scores the texts. None: the behaviour is the share of pairs whose desired
            continuation has the higher log-probability per token.
        seed: The same seed gives every method the same random draws, so that differences are
            paired.
        token_budget: As `generate`.
        stop: As `generate`.

    Returns:
        The scores. A text whose logits become NaN or infinite because of steering has failed: its
        behaviour is NaN, and `failure` says why.

    Raises:
        ValueError: As `generate` (NaN or infinite logits, if the model has them without steering
            too); without a judge, if the pairs are unpaired.
    """
    [found] = _evaluated(
        *(model, pairs, [methods]),
        judge=judge,
        sampling=Sampling(temperature, seed=seed, stop=stop),
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
    )
    return found


def evaluate_each(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention | None],
    *,
    judge: Judge | None = None,
    seed: int,
    temperature: float | int = 1.0,
    max_new_tokens: int = 40,
    scope: Scope = "last",
    token_budget: int | None = None,
    stop: Sequence[str] = (),
    progress: bool = False,
) -> list[Evaluation]:
    """What `evaluate` gives for each method alone (None: unsteered), many to a batch.

    Args:
        methods: They may be of different kinds, layers and strengths.
        token_budget: As `generate`, prompts and continuations of all methods together.

    Raises:
        ValueError: As `evaluate`.
    """
    each: list[Methods] = [() if method is None else (method,) for method in methods]
    return _evaluated(
        *(model, pairs, each),
        judge=judge,
        sampling=Sampling(temperature, seed=seed, stop=stop),
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        progress=progress,
    )


def _evaluated(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Methods],
    *,
    judge: Judge | None,
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope,
    token_budget: int | None,
    progress: bool = False,
) -> list[Evaluation]:
    check_scorable(pairs, judge)
    rows = prompt_rows(model, pairs.prompts, max_new_tokens)
    failures: dict[int, str] = {}
    texts, paths = sample_with_kl(
        *(model, rows, methods),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        progress=progress,
        failures=failures,
    )
    parts = [slice(len(rows) * i, len(rows) * (i + 1)) for i in range(len(methods))]
    found = [
        evaluation_of(
            *(model, pairs, own, texts[part], paths[part]),
            judge=judge,
            scope=scope,
            stop=sampling.stop,
        )
        for own, part in zip(methods, parts, strict=True)
    ]
    for k in sorted({number // len(rows) for number in failures}):
        own = [number for number in failures if number // len(rows) == k]
        texts_of_k = [number % len(rows) for number in own]
        found[k] = found[k].without(texts_of_k, failures[own[0]], judged=judge is not None)
    return found


def check_pairs(pairs: ContrastivePairs) -> None:
    """Raise a ValueError for anything else."""
    if not isinstance(pairs, ContrastivePairs):
        raise ValueError(
            f"got {pairs!r}, expected ContrastivePairs: write ContrastivePairs.of(...)"
        )


def check_scorable(pairs: ContrastivePairs, judge: Judge | None) -> None:
    """Raise a ValueError for what could not be scored, before anything is written."""
    check_pairs(pairs)
    if judge is None and not pairs.paired:
        raise ValueError(
            f"{pairs!r}: a preference needs both continuations of each prompt; pass judge="
        )


def evaluation_of(  # noqa: PLR0913 - what a text is scored with
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Methods,
    texts: Sequence[SampledText],
    paths: TextCosts,
    *,
    judge: Judge | None,
    scope: Scope,
    stop: Sequence[str] = (),
) -> Evaluation:
    """Score what was written, one text for each prompt of the pairs.

    Without a judge, a method that makes the logits of the pairs NaN or infinite has behaviour NaN.

    Raises:
        ValueError: If the judge's scores cannot be used, see `scores_of`.
    """
    well_formed, failure = None, ""
    found = [
        decode_continuation(model, t.ids[: t.prompt_length], t.ids[t.prompt_length :], stop)
        for t in texts
    ]
    if judge is None:
        behaviour, failure = _preferred(model, pairs, methods, scope)
        groups = pairs.groups
    else:
        asked = [render(model, prompt) for prompt in pairs.prompts]
        behaviour, groups = scores_of(judge, asked, found), pairs.prompt_groups
        if isinstance(judge, FormJudge):
            well_formed = judge.well_formed(asked, found)
    return Evaluation(
        *(behaviour, groups, paths.perplexity, tuple(found), well_formed),
        paths=paths,
        text_groups=pairs.prompt_groups,
        failure=failure,
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
