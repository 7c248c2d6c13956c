"""What the tables measure: questions to choose from and prompts to answer, from published files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

import lens_steer as ls
from analyses.papers.reading import answers, file_in, spread, train_and_test, with_shots
from analyses.studies import drawn
from lens_steer.activations import ReadPosition
from lens_steer.data import Example, Questions
from lens_steer.evaluation import ChoiceScores, Judge, RefusalPhrases, TextClassifier
from lens_steer.models import Prompt

Metrics = Mapping[str, Callable[[ChoiceScores], Tensor]]


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a task: what methods are fitted to, and what they are measured on.

    Attributes:
        train: Contrastive pairs.
        questions: Questions to choose from, where the task has some.
        prompts: Prompts to answer, where the task has some.
        judge: Of the answers.
        read: Where activations of `train` are read.
        notes: What is to be said of the part.
    """

    train: ls.ContrastivePairs
    questions: Questions | None = None
    prompts: tuple[Prompt, ...] = ()
    judge: Judge | None = None
    read: ReadPosition = "last"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts) if self.questions is None else len(self.questions)


@runtime_checkable
class Task(Protocol):
    """What a table measures; `files` are paths inside the data folder."""

    @property
    def name(self) -> str:
        """As the paper calls the task."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files it reads."""
        ...

    @property
    def writes(self) -> bool:
        """Whether texts are written."""
        ...

    def parts(
        self, model: ls.SteerableModel, data: Path, limit: int | None, seed: int
    ) -> tuple[Part, ...]:
        """The parts, at most `limit` questions and training pairs in each; None is all."""
        ...


@dataclass(frozen=True, eq=False)
class ChoiceTask:
    """Multiple-choice questions.

    Attributes:
        name: As the paper calls the task.
        set_name: Of the published set, as `lens_steer.benchmark.load` takes it.
        files: The file to fit on and the file to report on; one file is halved at random, and each
            half reported on with what was fitted to the other.
        metrics: What is measured, by name: one value in [0, 1] for each question.
        template: How questions are put; None is the usual way of the set.
        most_pairs: At most so many training pairs, drawn at random.
        shots: So many training questions, with their answers, stand before every question asked.
        exact_match: Whether to ask as well if the likeliest tokens are the right answer.
    """

    name: str
    set_name: str
    files: tuple[str, ...]
    metrics: Metrics = field(default_factory=lambda: {"accuracy": lambda s: s.accuracy})
    template: str | None = None
    most_pairs: int = 1000
    shots: int = 0
    exact_match: bool = False
    writes: bool = False

    def parts(
        self, model: ls.SteerableModel, data: Path, limit: int | None, seed: int
    ) -> tuple[Part, ...]:
        """See `Task`."""
        del model
        most = self.most_pairs if limit is None else min(limit, self.most_pairs)
        parts = []
        for train, test, notes in train_and_test(self, data, seed):
            asked = spread(test, limit)
            if self.shots:
                asked = with_shots(train, asked, self.shots, seed)
            parts.append(Part(drawn(train.pairs(), most, seed), asked, notes=notes))
        return tuple(parts)


@dataclass(frozen=True, eq=False)
class TruthfulAnswers:
    """Answers to TruthfulQA's questions, judged by words: a stand-in for the papers' judges.

    Attributes:
        name: As the paper calls the task.
        files: One file, which is halved as by `ChoiceTask`.
        most_pairs: At most so many training pairs, drawn at random.
    """

    name: str
    files: tuple[str, ...] = ("truthfulqa/TruthfulQA.csv",)
    most_pairs: int = 1000
    set_name: str = "truthfulqa-mc"
    template: str | None = "qa"
    writes: bool = True

    def parts(
        self, model: ls.SteerableModel, data: Path, limit: int | None, seed: int
    ) -> tuple[Part, ...]:
        """See `Task`; the judge is fitted to every answer of the training half."""
        del model
        most = self.most_pairs if limit is None else min(limit, self.most_pairs)
        parts = []
        for train, test, notes in train_and_test(self, data, seed):
            judge = TextClassifier.fit(*answers(train), seed=seed).tested(*answers(test))
            right = judge.errors
            note = (
                f"the stand-in judge knows {right.desired_right} of {right.desired} true and "
                f"{right.undesired_right} of {right.undesired} false answers of the half it was "
                "not fitted to."
            )
            prompts = tuple(spread(test, limit).prompts)
            pairs = drawn(train.pairs(), most, seed)
            parts.append(Part(pairs, prompts=prompts, judge=judge, notes=(*notes, note)))
        return tuple(parts)


@dataclass(frozen=True)
class NotRefused:
    """Scores 1 where a text does not open with a phrase of refusal: a stand-in for HarmBench's."""

    def __call__(self, prompts: Any, texts: Any) -> Tensor:
        """1 for each text that is no refusal, whatever else it says."""
        return 1 - RefusalPhrases()(prompts, texts)


@dataclass(frozen=True, eq=False)
class HarmfulRequests:
    """Harmful requests, of which those count that are not refused.

    Attributes:
        name: As the paper calls the task.
        files: Harmless and harmful requests to fit on, and harmful ones to report on.
        most_pairs: At most so many requests of each kind.
    """

    name: str
    files: tuple[str, ...] = (
        "refusal/harmless_train.json",
        "refusal/harmful_train.json",
        "refusal/harmful_test.json",
    )
    most_pairs: int = 200
    writes: bool = True

    def parts(
        self, model: ls.SteerableModel, data: Path, limit: int | None, seed: int
    ) -> tuple[Part, ...]:
        """See `Task`; activations are read at the last token of the request."""
        del seed  # the first requests, as the paper's code takes them
        chats = ls.describe(model).chat_template
        notes = () if chats else ("the model has no chat template: requests are put as they are",)
        template = "chat" if chats else "completion"
        found = [
            ls.benchmark.load("refusal", file_in(data, file), template=template).prompts
            for file in self.files
        ]
        harmless, harmful, test = (list(prompts or ()) for prompts in found)
        most = self.most_pairs if limit is None else min(limit, self.most_pairs)
        # What continues the request is not read.
        sides = [tuple(Example(p, " I") for p in side[:most]) for side in (harmless, harmful)]
        train = ls.ContrastivePairs(*sides, paired=False, name="refusal")
        count = len(test) if limit is None else min(limit, len(test))
        asked = tuple(test[i * len(test) // count] for i in range(count))
        return (Part(train, None, asked, NotRefused(), "prompt_last", notes),)
