"""What steering costs where answers are scored by likelihood: nats off the task and on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Count, Seed
from lens_steer.data import Questions
from lens_steer.evaluation.answer_likelihoods import AnswerLikelihoods
from lens_steer.evaluation.divergence import least_nats
from lens_steer.evaluation.fixed_texts import FixedTexts
from lens_steer.evaluation.sampled_texts import SampledText
from lens_steer.models import SteerableModel, encode
from lens_steer.reports import short_repr
from lens_steer.steering import Decoding, Methods, Scope, check_scope


@dataclass(frozen=True, eq=False)
class AnswerCosts:
    """Costs of every setting of some `AnswerLikelihoods`, the unsteered first: 0 there; float64.

    Attributes:
        kl_fixed: Off the task, nats per token: KL(steered || unsteered) along 32 tokens that the
            unsteered model continues each prompt with. It is what `calibrate` holds fixed.
        reference_kl: On the task, nats: KL(steered || unsteered) of next-token distributions,
            summed over the positions of the first right answer of each question.
        choices_kl: On the task, nats: KL between the distributions over the choices of a question.
        least: The least `choices_kl` that moves as much probability to the right choices, nats:
            binary kl of their shares.

    Values are NaN where a method makes logits NaN or infinite.
    """

    kl_fixed: Float[Tensor, " setting"]
    reference_kl: Float[Tensor, "setting question"]
    choices_kl: Float[Tensor, "setting question"]
    least: Float[Tensor, "setting question"]

    __repr__ = short_repr


def answer_costs(
    model: SteerableModel,
    found: AnswerLikelihoods,
    *,
    scope: Scope = "last",
    sink: bool = False,
    tokens: Count = 32,
    seed: Seed,
) -> AnswerCosts:
    """What every setting costs, off the task and on it.

    Args:
        found: The likelihoods, and the questions and settings that they are of.
        scope: Where the settings steer, the same as for `answer_log_probs`.
        sink: See `steered`.
        tokens: The length of the unsteered continuations, at most.
        seed: Of the unsteered continuations.

    Raises:
        ValueError: If a method does not fit the model.
        NotFinite: If the unsteered logits are NaN or infinite.

    Example:
        >>> costs = ls.evaluation.answer_costs(model, found, seed=0)
        >>> costs.kl_fixed, costs.reference_kl.mean(dim=1)
    """
    where = check_scope(scope, sink=sink)
    pairs, settings = found.questions.pairs(), found.settings[1:]
    continued = FixedTexts.sample(model, pairs, max_new_tokens=tokens, scope=where, seed=seed)
    off_task = continued.kl(model, settings) if settings else []
    right = [torch.tensor(question.correct) for question in found.questions]
    rows = [found.rows(k) for k in range(len(found))]
    couples = [list(zip(of_setting, rows[0], right, strict=True)) for of_setting in rows]
    return AnswerCosts(
        torch.tensor([0.0, *off_task]).double(),
        _with_unsteered(reference_kl(model, found.questions, settings, scope=where)),
        torch.tensor([[choices_kl(p, q) for p, q, _ in of] for of in couples]).double(),
        torch.tensor([[least_choices_kl(*triple) for triple in of] for of in couples]).double(),
    )


def reference_kl(
    model: SteerableModel,
    questions: Questions,
    settings: Sequence[Methods],
    *,
    scope: Scope = "last",
) -> Float[Tensor, "setting question"]:
    """KL(steered || unsteered) summed over the positions of the first right answer, nats, float64.

    Args:
        questions: The questions.
        settings: Each is a tuple of methods that steer together.
        scope: Where they steer, see `steered`.

    Raises:
        ValueError: If a method does not fit the model.
        NotFinite: If the unsteered logits are NaN or infinite.

    Example:
        >>> nats = ls.evaluation.reference_kl(model, questions, [(method,)])
    """
    rows = [encode(model, question.prompt, question.right) for question in questions]
    texts = tuple(SampledText(row.ids, row.prompt_length, ended=False) for row in rows)
    answers = FixedTexts(texts, Decoding(temperature=1.0, scope=check_scope(scope)))
    return answers.nats(model, settings)


def choices_kl(steered: Float[Tensor, " choice"], unsteered: Float[Tensor, " choice"]) -> float:
    """KL(steered || unsteered) between the distributions over the choices of a question, nats.

    Args:
        steered: Log-probability of each choice, nats; only differences count.
        unsteered: The same without steering.

    Returns:
        0 where both are equal; NaN where a log-probability is.

    Raises:
        ValueError: If there are not as many of either.

    Example:
        >>> choices_kl(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -4.0]))
        0.0
    """
    _check_as_many(steered, unsteered)
    log_p, log_q = (x.double().log_softmax(dim=-1) for x in (steered, unsteered))
    return float((log_p.exp() * (log_p - log_q)).sum())


def least_choices_kl(
    steered: Float[Tensor, " choice"],
    unsteered: Float[Tensor, " choice"],
    correct: Bool[Tensor, " choice"],
) -> float:
    """The floor of `choices_kl`: binary kl of the probability that the right choices have, nats.

    No distribution over the choices that gives as much to the right ones is nearer (data
    processing). It is `choices_kl` itself where there are two choices.

    Raises:
        ValueError: If there are not as many of each.

    Example:
        >>> right = torch.tensor([True, False])
        >>> least_choices_kl(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -4.0]), right)
        0.0
    """
    _check_as_many(steered, unsteered, correct)
    share, reference = (
        float(x.double().softmax(dim=-1)[correct].sum()) for x in (steered, unsteered)
    )
    if share != share or reference != reference:
        return float("nan")
    return float(least_nats(min(share, 1.0), min(reference, 1.0)))  # sums may round above 1


def _check_as_many(*values: Tensor) -> None:
    sizes = [len(x) for x in values]
    if len(set(sizes)) > 1 or sizes[0] < 2:
        raise ValueError(f"got {sizes} choices, expected as many of each, and at least two")


def _with_unsteered(
    nats: Float[Tensor, "setting question"],
) -> Float[Tensor, "more_settings question"]:
    return torch.cat([nats.new_zeros(1, nats.shape[1]), nats])
