"""A fold whose measure is what is read: the choices of questions, by their likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from typing_extensions import override

from analyses.registered.measuring import CALIBRATED_ON, Fold, Rows, short
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

        Those of test; where there are two answers also those of dev, to which a bias is fitted, and
        the prompt without a question.
        """
        asked = {"answers": self.task.asked(self.test)}
        if self.task.answers is not None:
            asked["dev_answers"] = self.task.asked(self.dev)
        if self.task.emptied is not None:
            asked["prior"] = self.task.emptied
        return asked

    @cached_property
    def plain(self) -> dict[str, AnswerLikelihoods]:
        """Of the model as it is."""
        return {name: answer_log_probs(self.model, each) for name, each in self.asked.items()}

    @cached_property
    def test_texts(self) -> FixedTexts:
        """Unsteered texts after test prompts, along which it is measured what methods cost."""
        few = self.test.spread(CALIBRATED_ON)
        return FixedTexts.sample(self.model, few, decoding=self.terms.decoding)

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
        plain = {name: kept(found, 0) for name, found in self.plain.items()}
        lengths = [list(row) for row in self.plain["answers"].tokens]
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
    import torch

    most = max(len(question.choices) for question in questions)
    padded: Any = torch.full((1, len(questions), most), -torch.inf).double()
    for i, row in enumerate(nats):
        padded[0, i, : len(row)] = torch.tensor(row).double()
    return AnswerLikelihoods(questions, ((),), padded, tuple(map(tuple, lengths)))
