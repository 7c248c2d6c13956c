"""How likely a model finds given continuations, steered or not."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.sampled_texts import draw_logits, draws_of
from lens_steer.models import Encoded, Prompt, SteerableModel, batches, encode
from lens_steer.steering import Intervention, Scope, check_scope


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
    log_probs = [torch.zeros(0)] * len(rows)
    for batch in batches([len(row.ids) for row in rows], token_budget):
        some = [rows[i] for i in batch]
        row_of, column_of = draws_of(some)
        if not len(row_of):
            continue  # prompts alone
        logits, _ = draw_logits(model, some, [methods] * len(some), scope, numbers=batch)
        tokens = torch.tensor([some[i].ids[k + 1] for i, k in zip(row_of, column_of, strict=True)])
        # Not log_softmax: in float32 that is off by up to 2e-5 nats a token at a vocabulary of
        # 50,000, and by 6e-5 at 262,144, always to one side.
        drawn = logits.gather(-1, tokens[:, None].to(logits.device))[:, 0]
        chosen = (drawn - logits.logsumexp(dim=-1)).cpu()
        counts = row_of.bincount(minlength=len(some)).tolist()
        for i, scores in zip(batch, chosen.split(counts), strict=True):
            log_probs[i] = scores
    return log_probs


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
