"""One scalar for each answer word or letter: how far its bias alone explains a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Accepts, Texts, shortened
from lens_steer.artifacts import savable
from lens_steer.data import Question
from lens_steer.evaluation import AnswerLikelihoods
from lens_steer.reports import short_repr

_ROUNDS, _SMALL = 200, 1e-6  # nats per question: the largest slope at the end of a fit


@savable
@dataclass(frozen=True, eq=False)
class AnswerBias:
    """What is added to the log-probability of each answer, whatever the question is.

    It knows nothing of the questions: what it gains over the model as it is, a method gains no
    merit by. A small model that answers always No is corrected by it alone.

    Attributes:
        answers: The answers, as they stand among the choices.
        values: Nats for each, the largest being 0; all 0 changes nothing.

    Example:
        >>> bias = AnswerBias.fit(ls.evaluation.answer_log_probs(model, train))
        >>> biased = bias.apply(ls.evaluation.answer_log_probs(model, test))
    """

    answers: Annotated[tuple[str, ...], Accepts(Texts)]
    values: Float[Tensor, " answer"]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        if len(set(self.answers)) != len(self.answers) or len(self.answers) != len(self.values):
            raise ValueError(
                f"got {len(self.values)} values for the answers {shortened(self.answers)}, "
                "expected one for each, and different answers"
            )
        if not bool(self.values.isfinite().all()):
            raise ValueError(f"got the values {self.values.tolist()}, expected finite numbers")

    @classmethod
    def fit(cls, train: AnswerLikelihoods) -> "AnswerBias":
        """The bias under which the right answers of the unsteered model are likeliest.

        Logistic regression in which the model's own log-probabilities have the weight 1 and the
        bias of each answer is free: the loss is convex and not penalised.

        Args:
            train: Of questions that all have their choices from a small set of answers, one of
                them right; others than those that are then scored.

        Raises:
            ValueError: If a question has several right choices, or a bias would be infinite: some
                answers are always right, or always wrong, beside the others.
        """
        questions = list(train.questions)
        several = next((i for i, q in enumerate(questions) if sum(q.correct) > 1), None)
        if several is not None:
            raise ValueError(
                f"question {several} has {sum(questions[several].correct)} right choices, expected "
                "one: a bias is for answers such as Yes and No, or letters"
            )
        answers = tuple(sorted({choice for q in questions for choice in q.choices}))
        number = {answer: k for k, answer in enumerate(answers)}
        which = torch.zeros(train.nats.shape[1:], dtype=torch.long)
        for i, question in enumerate(questions):
            which[i, : len(question.choices)] = torch.tensor([number[c] for c in question.choices])
        place = torch.tensor([q.correct.index(True) for q in questions])
        _check_bounded(questions, number)
        values = fitted_bias(train.nats[0], which, place, len(answers))
        return cls(answers, values - values.max())

    def apply(self, found: AnswerLikelihoods) -> AnswerLikelihoods:
        """The same with the bias added, under every setting.

        Raises:
            ValueError: If a choice is none of the answers.
        """
        added = torch.zeros(found.nats.shape[1:]).double()
        for i, question in enumerate(found.questions):
            added[i, : len(question.choices)] = self._of(question.choices)
        return replace(found, nats=found.nats + added)

    def _of(self, choices: Sequence[str]) -> Float[Tensor, " choice"]:
        unknown = [choice for choice in choices if choice not in self.answers]
        if unknown:
            raise ValueError(
                f"got the choice {shortened(unknown[0])}, expected one of the answers "
                f"{shortened(self.answers)} that the bias was fitted on"
            )
        return self.values[[self.answers.index(choice) for choice in choices]].double()


def fitted_bias(
    nats: Float[Tensor, "question choice"],
    answers: Tensor,
    right: Tensor,
    n_answers: int,
) -> Float[Tensor, " answer"]:
    """The bias of each answer that maximises the likelihood of the right choices, nats, float64.

    Args:
        nats: Log-probability of each choice; -inf where there is none.
        answers: Int `[question choice]`: which answer each choice is.
        right: Int `[question]`: which choice is right.
        n_answers: How many answers there are.

    Raises:
        ValueError: If log-probabilities are NaN, or the fit does not converge.
    """
    if bool(nats.isnan().any()):
        raise ValueError("got log-probabilities that are NaN, expected finite ones to fit a bias")
    bias = torch.zeros(n_answers, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [bias],
        max_iter=_ROUNDS,
        tolerance_grad=_SMALL / 100,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    questions = torch.arange(len(right))

    def loss() -> Tensor:
        search.zero_grad()
        with torch.enable_grad():
            scores = (nats.double() + bias[answers]).log_softmax(dim=-1)
            value = -scores[questions, right].mean()
            value.backward()
        return value

    search.step(loss)
    loss()
    assert bias.grad is not None  # `loss` has just made it
    if not float(bias.grad.abs().max()) <= _SMALL:
        raise ValueError(
            f"the fit of a bias did not converge in {_ROUNDS} steps, expected a slope of at most "
            f"{_SMALL:g} nats: fit on more questions"
        )
    return bias.detach().clone()


def _check_bounded(questions: Sequence[Question], number: Mapping[str, int]) -> None:
    """Check that the likelihood has its maximum at finite biases.

    It has if, where an answer was right beside another one, that one was right beside it too, or
    beside one that was, and so on (Ford 1957, on games that are won and lost).

    Raises:
        ValueError: If it has not.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    won = [(number[q.right], number[c]) for q in questions for c in q.choices if c != q.right]
    winners, losers = zip(*won, strict=True)
    games = coo_array(([1] * len(won), (winners, losers)), shape=(len(number), len(number)))
    _, ordered = connected_components(games, connection="strong")
    for answer, other in won:
        if ordered[answer] != ordered[other]:
            names = list(number)
            raise ValueError(
                f"the answer {shortened(names[answer])} is right whenever it, or one like it, is "
                f"offered beside {shortened(names[other])}: its bias would be infinite, expected "
                "questions in which each answer is right and wrong"
            )
