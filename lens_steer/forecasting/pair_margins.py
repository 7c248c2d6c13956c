"""Margins: how much likelier each pair's desired continuation is than its undesired one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Count
from lens_steer.data import ContrastivePairs, Question, Questions
from lens_steer.evaluation import answer_log_probs
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, Scope

_TOGETHER: Count = 8  # methods whose blocks below the first that is steered are run once


def as_questions(pairs: ContrastivePairs) -> Questions:
    """Each pair as a question whose two choices are its continuations, the desired one first.

    Raises:
        ValueError: If the pairs are unpaired, or two continuations of a prompt are alike.
    """
    if not pairs.paired:
        raise ValueError(
            f"{pairs!r}: a margin is between two continuations of one prompt, expected pairs"
        )
    rows = zip(pairs.desired, pairs.undesired, pairs.groups, strict=True)
    return Questions(
        tuple(
            Question(a.prompt, (a.continuation, b.continuation), (True, False), group)
            for a, b, group in rows
        ),
        name=pairs.name,
    )


def margins(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention] = (),
    *,
    scope: Scope = "last",
    progress: bool = False,
) -> Float[Tensor, "setting pair"]:
    """log p(desired) - log p(undesired) of each pair, over whole continuations.

    Methods are run in batches that begin to steer at about the same block, so that what lies below
    is run once for all of a batch.

    Args:
        model: The model.
        pairs: Paired examples.
        methods: Each steers alone.
        scope: Where they steer, see `steered`.
        progress: Whether to show a bar.

    Returns:
        Nats, float64: the unsteered model first, then each method. NaN where a method makes the
        logits NaN or infinite.

    Raises:
        ValueError: If the pairs are unpaired, or as `answer_log_probs`.

    Example:
        >>> clean, steered = ls.forecasting.margins(model, test, [method])
        >>> (steered - clean).mean()  # nats
    """
    questions = as_questions(pairs)
    unsteered = answer_log_probs(model, questions, scope=scope)
    found = torch.zeros(1 + len(methods), len(pairs)).double()
    found[0] = _difference(unsteered.nats[0])
    order = sorted(range(len(methods)), key=lambda i: _first_layer(methods[i]))
    with tqdm(total=len(order), desc="margins", disable=not progress) as bar:
        for start in range(0, len(order), _TOGETHER):
            part = order[start : start + _TOGETHER]
            settings = [methods[i] for i in part]
            steered = answer_log_probs(model, questions, settings, scope=scope, unsteered=unsteered)
            for row, i in enumerate(part, start=1):
                found[1 + i] = _difference(steered.nats[row])
            bar.update(len(part))
    return found


def _difference(nats: Float[Tensor, "question choice"]) -> Float[Tensor, " question"]:
    return nats[:, 0] - nats[:, 1]


def _first_layer(method: Intervention) -> int:
    return min((site.layer for site in method.sites), default=0)
