"""Questions read from published files: what to fit on, what to report on, and examples before."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

import lens_steer as ls
from lens_steer.data import Questions, without_near_duplicates


@runtime_checkable
class QuestionFiles(Protocol):
    """What reading needs to know of a task: see `ChoiceTask`, which has all of it."""

    @property
    def name(self) -> str:
        """As the paper calls the task."""
        ...

    @property
    def set_name(self) -> str:
        """Of the published set."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """One file, which is halved, or one to fit on and one to report on."""
        ...

    @property
    def template(self) -> str | None:
        """How questions are put."""
        ...


def spread(questions: Questions, most: int | None) -> Questions:
    """At most so many questions, evenly spaced; all of them for None."""
    total = len(questions)
    if most is None or most >= total:
        return questions
    return replace(questions, items=tuple(questions[i * total // most] for i in range(most)))


def with_shots(train: Questions, asked: Questions, shots: int, seed: int) -> Questions:
    """The questions after some training questions with their first right answers.

    Raises:
        ValueError: If prompts are chats, or there are too few training questions.
    """
    if len(train) < shots:
        raise ValueError(f"got {len(train)} training questions, expected at least {shots}")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = [train[i] for i in order[:shots].tolist()]
    if not all(isinstance(question.prompt, str) for question in (*chosen, *asked)):
        raise ValueError("got prompts that are chats, expected texts that examples can precede")
    before = "".join(f"{question.prompt}{question.right}\n\n" for question in chosen)
    items = tuple(replace(question, prompt=f"{before}{question.prompt}") for question in asked)
    return replace(asked, items=items)


def train_and_test(
    task: QuestionFiles, data: Path, seed: int
) -> list[tuple[Questions, Questions, tuple[str, ...]]]:
    """What to fit on and to report on, and what was left out of the latter.

    Raises:
        ValueError: If a file is missing or of another form.
    """
    loaded = [_questions(task, data, file) for file in task.files]
    if len(loaded) == 1:
        first, second = loaded[0].split(0.5, 0.5, seed=seed)
        return [(first, second, ()), (second, first, ())]
    train, test = without_near_duplicates(*loaded)
    count = len(loaded[1]) - len(test)
    note = f"{task.name}: {count} of {len(loaded[1])} test questions share five words in a row with"
    return [(train, test, (f"{note} a training question and are left out.",))]


def _questions(task: QuestionFiles, data: Path, file: str) -> Questions:
    read = ls.benchmark.load(task.set_name, file_in(data, file), template=task.template)
    if read.questions is None:
        raise ValueError(f"{file} has no questions to choose from")
    return read.questions


def file_in(data: Path, name: str) -> Path:
    """The path of a file in the data folder.

    Raises:
        ValueError: If it is not there.
    """
    path = data / name
    if not path.is_file():
        raise ValueError(
            f"no file {path}: expected it in --data, as it is published (--list names the files)"
        )
    return path


def answers(questions: Questions) -> list[list[str]]:
    """All right and all wrong answers."""
    sides: list[list[str]] = [[], []]
    for question in questions:
        for choice, right in zip(question.choices, question.correct, strict=True):
            sides[not right].append(choice.strip())
    return sides
