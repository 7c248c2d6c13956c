"""How likely a model finds given continuations, steered or not."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Count
from lens_steer.axes import Mask, Tokens
from lens_steer.data import ContrastivePairs
from lens_steer.models import (
    Encoded,
    Prompt,
    SteerableModel,
    batches,
    encode,
    forward,
    looked_at,
    pad,
)
from lens_steer.steering import (
    Intervention,
    Run,
    Scope,
    check_scope,
    is_distribution,
    not_finite,
    steered,
)


def log_probabilities(
    model: SteerableModel,
    rows: Sequence[Encoded],
    *methods: Intervention,
    scope: Scope = "last",
    token_budget: Count = 4096,
) -> list[Float[Tensor, " token"]]:
    """Log-probability (nats) of each token of each continuation, given what precedes it.

    Raises:
        ValueError: If a method does not fit the model.
        NotFinite: If logits are NaN or infinite; layer, dtype and methods are named.
    """
    log_probs: dict[int, Tensor] = {}
    for batch in batches([len(row.ids) for row in rows], token_budget):
        tokens, mask = pad(model, [rows[i].ids for i in batch])
        lengths = [rows[i].prompt_length for i in batch]
        run = _logits_of(model, tokens, mask, methods, lengths, scope)
        logits = run(True, nullcontext())[:, :-1].float()
        whole = is_distribution(logits).cpu()
        # Not log_softmax: in float32 that is off by up to 2e-5 nats a token at a vocabulary of
        # 50,000, and by 6e-5 at 262,144, always to one side.
        drawn = logits.gather(-1, tokens[:, 1:, None])[..., 0]
        chosen = (drawn - logits.logsumexp(dim=-1)).cpu()
        for k, i in enumerate(batch):
            start = max(rows[i].prompt_length, 1)  # a row's first token has nothing before it
            log_probs[i] = chosen[k, start - 1 : len(rows[i].ids) - 1]
            if not bool(whole[k, start - 1 : len(rows[i].ids) - 1].all()):
                of_text = partial(_of_row, k, mask[k])
                again = partial(_logits_of_text, run, of_text)
                raise not_finite(model, again, of_text, methods, f"text {i}")
    return [log_probs[i] for i in range(len(rows))]


def _logits_of_text(
    run: Run,
    of_text: Callable[[Tensor], Tensor],
    with_steering: bool,
    inside: AbstractContextManager[None],
) -> Float[Tensor, "real vocab"]:
    return of_text(run(with_steering, inside))


def _logits_of(
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask,
    methods: Sequence[Intervention],
    lengths: Sequence[int],
    scope: Scope,
) -> Run:
    """A forward pass, with the methods or without: logits `[batch pos vocab]`."""

    def run(
        with_steering: bool, inside: AbstractContextManager[None]
    ) -> Float[Tensor, "batch pos vocab"]:
        active = methods if with_steering else ()
        steering = steered(model, *active, scope=scope, prompt_lengths=lengths)
        with looked_at(model), torch.no_grad(), steering if active else nullcontext(), inside:
            return forward(model, tokens, mask)

    return run


def _of_row(
    row: int, real: Bool[Tensor, " pos"], x: Float[Tensor, "batch pos any"]
) -> Float[Tensor, "real any"]:
    return x[row][real]


def preference(
    model: SteerableModel,
    pairs: ContrastivePairs,
    *methods: Intervention,
    scope: Scope = "last",
    sink: bool = False,
) -> Float[Tensor, " pair"]:
    """Log-probability per token of the desired continuation minus that of the undesired, nats.

    Args:
        scope: See `steered`.
        sink: See `steered`.

    Raises:
        ValueError: If the pairs are unpaired, or nothing precedes a continuation's only token.

    Example:
        >>> plain, steered = ls.preference(model, test), ls.preference(model, test, method)
        >>> (steered > 0).float().mean()  # the share of pairs whose desired side is preferred
    """
    if not pairs.paired:
        raise ValueError(
            f"{pairs!r}: a preference needs both continuations of each prompt; pass a judge"
        )
    where = check_scope(scope, sink=sink)
    sides = []
    for side in (pairs.desired, pairs.undesired):
        rows = [encode(model, example.prompt, example.continuation) for example in side]
        scores = log_probabilities(model, rows, *methods, scope=where)
        bare = [e.continuation for e, score in zip(side, scores, strict=True) if len(score) == 0]
        if bare:
            raise ValueError(f"{bare[0]!r} has no token with anything before it: give it a prompt")
        sides.append(torch.stack([score.mean() for score in scores]))
    return sides[0] - sides[1]


def perplexity(model: SteerableModel, rows: Sequence[Encoded]) -> float:
    """Perplexity of continuations under the unsteered model: exp of the mean surprise per token.

    It is low for degenerate text too: read it with the text, and on both sides of the perplexity of
    the model's own texts. It is NaN if there are no rows.
    """
    if not rows:
        return float("nan")
    return float(torch.cat(log_probabilities(model, rows)).mean().neg().exp())


def second_model_perplexity(
    other_model: SteerableModel, prompts: Sequence[Prompt], texts: Sequence[str]
) -> float:
    """Perplexity of texts under another model than the one that wrote them, after their prompts.

    Prompts and texts are tokenised anew, as the other model reads them; the number is per token of
    its own, so that it is compared between methods under one model and never between models. A chat
    is written with its own template. An empty text has no tokens and adds nothing.

    Args:
        other_model: Unsteered.
        prompts: One for each text, as text or chat.
        texts: What followed each prompt.

    Returns:
        exp of the mean surprise per token; NaN if every text is empty.

    Raises:
        ValueError: If there are other numbers of prompts, or a row is longer than the model's
            context.

    Example:
        >>> trial = ls.evaluate(model, test, method, judge=judge, seed=0)
        >>> ls.evaluation.second_model_perplexity(other, test.prompts, trial.texts)
    """
    if len(prompts) != len(texts):
        raise ValueError(
            f"got {len(prompts)} prompts for {len(texts)} texts, expected one for each text"
        )
    pairs = zip(prompts, texts, strict=True)
    return perplexity(other_model, [encode(other_model, p, text) for p, text in pairs if text])
