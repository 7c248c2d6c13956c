"""A fold whose measure is what is read: the choices of questions, by their likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from analyses.registered.measuring import CALIBRATED_ON, Fold, Rows, numbers, short
from analyses.registered.references import steered_references
from analyses.registered_answers.tasks import AnswerTask
from lens_steer.benchmark import with_another_question, with_instruction, without_question
from lens_steer.data import Questions
from lens_steer.evaluation import AnswerLikelihoods, FixedTexts, answer_log_probs
from lens_steer.steering import Intervention

_DECIMALS = 6  # of nats


@dataclass(frozen=True, eq=False)
class AnswerFold(Fold):
    """A fold of a task whose choices are scored."""

    task: AnswerTask

    @cached_property
    def asked(self) -> dict[str, Questions]:
        """The questions that are read under every method, by the column that keeps them.

        Those of test and, where it is one for all, the prompt without a question.
        """
        asked = {"answers": self.task.asked(self.test)}
        return asked if self.task.emptied is None else asked | {"prior": self.task.emptied}

    @cached_property
    def asked_of_dev(self) -> Questions:
        """The dev pairs as questions: the first right choice of each, and the first wrong one."""
        questions = self.task.asked(self.dev)
        if self.task.answers is not None:
            return questions
        both = [replace(q, choices=(q.right, q.wrong), correct=(True, False)) for q in questions]
        return replace(questions, items=tuple(both))

    @cached_property
    def plain(self) -> dict[str, AnswerLikelihoods]:
        """Of the model as it is."""
        return {name: answer_log_probs(self.model, each) for name, each in self.asked.items()}

    @cached_property
    def plain_of_dev(self) -> AnswerLikelihoods:
        """The same of the dev pairs."""
        return answer_log_probs(self.model, self.asked_of_dev)

    @cached_property
    def test_texts(self) -> FixedTexts:
        """Unsteered texts after test prompts, along which it is measured what methods cost."""
        few = self.test.spread(CALIBRATED_ON)
        return FixedTexts.sample(self.model, few, decoding=self.terms.decoding)

    @override
    def promises(self, methods: Sequence[Intervention]) -> Rows:
        """The change of preference of each dev pair, nats per token; of two answers also the nats.

        It is what `preference` says, but every prompt is read once for all methods.
        """
        plain = self.plain_of_dev
        found = answer_log_probs(self.model, self.asked_of_dev, methods, unsteered=plain)
        before = preferences(found, 0)
        rows: Rows = []
        for i in range(1, len(found)):
            row: dict[str, Any] = {"dev_gain": numbers(preferences(found, i) - before)}
            rows.append(row | self._of_two(found, i))
        return rows

    def _of_two(self, of_dev: AnswerLikelihoods, setting: int) -> dict[str, Any]:
        """What a bias is fitted to, where there are two answers."""
        return {} if self.task.answers is None else {"dev_answers": kept(of_dev, setting)}

    @override
    def tested(self, rows: Rows, methods: Sequence[Intervention], k: int = 0) -> Rows:
        """The rows with the likelihoods of all choices under each method, and its cost."""
        if not rows:
            return []
        read = {
            name: answer_log_probs(self.model, each, methods, unsteered=self.plain[name])
            for name, each in self.asked.items()
        }
        costs = self.test_texts.kl(self.model, [(method,) for method in methods])
        return [
            row
            | {"seed": k, "kl": short(cost)}
            | {name: kept(found, i) for name, found in read.items()}
            for i, (row, cost) in enumerate(zip(rows, costs, strict=True), start=1)
        ]

    def reference_rows(self) -> Rows:
        """The model as it is, other prompts, a learned vector, other pairs, and chance."""
        plain: dict[str, Any] = {name: kept(found, 0) for name, found in self.plain.items()}
        lengths = [list(row) for row in self.plain["answers"].tokens]
        plain |= self._of_two(self.plain_of_dev, 0)
        rows: Rows = [{"method": "unsteered", "lengths": lengths} | plain]
        test = self.asked["answers"]
        others = {
            "no question": without_question(test),
            "another question": with_another_question(test, seed=self.source),
            "prompting": with_instruction(test, self.task.instruction),
        }
        for name, questions in others.items():
            found = answer_log_probs(self.model, questions)
            rows.append({"method": name, "answers": kept(found, 0)})
        return rows + steered_references(self)


def preferences(found: AnswerLikelihoods, setting: int) -> Float[Tensor, " question"]:
    """How much likelier the right one of two choices is per token than the wrong one, nats."""
    nats = found.nats[setting] / torch.tensor(found.tokens)
    right = torch.tensor([q.correct[0] for q in found.questions])
    return torch.where(right, nats[:, 0] - nats[:, 1], nats[:, 1] - nats[:, 0])


def kept(found: AnswerLikelihoods, setting: int) -> list[list[float]]:
    """The nats of every choice under one setting, as a journal keeps them."""
    return [[round(x, _DECIMALS) for x in row.tolist()] for row in found.rows(setting)]


def likelihoods(
    questions: Questions, nats: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]
) -> AnswerLikelihoods:
    """What `kept` was made of, as the only setting.

    Args:
        questions: The questions.
        nats: What a journal keeps of one reading of them.
        lengths: The tokens of every choice.
    """
    most = max(len(question.choices) for question in questions)
    padded: Any = torch.full((1, len(questions), most), -torch.inf).double()
    for i, row in enumerate(nats):
        padded[0, i, : len(row)] = torch.tensor(row).double()
    return AnswerLikelihoods(questions, ((),), padded, tuple(map(tuple, lengths)))
