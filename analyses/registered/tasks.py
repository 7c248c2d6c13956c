"""The registered tasks: what texts methods are fitted to, and who judges what is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.registered import texts
from analyses.registered.parts import FOLDS as FOLDS
from analyses.registered.parts import Parted
from lens_steer import organism
from lens_steer.benchmark import Rewrite, instructed
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    FallibleJudge,
    FirstPerson,
    IsQuestion,
    Judge,
    Judgement,
    PastTense,
    RefusalPhrases,
    TextClassifier,
    WordList,
    judge_of,
)
from lens_steer.models import Message

_EMBEDDED = "organism:"


@dataclass(frozen=True)
class Opposite:
    """Scores 1 where another judge scores 0, and 0 where it scores 1 or cannot score a text.

    Example:
        >>> Opposite(PastTense())(["p"], [" She walks home."])
        tensor([1.])
    """

    judge: FallibleJudge

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 less the other's score for each text that it can score, else 0."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """The opposite of each score, or why there is none."""
        found = self.judge.judged(prompts, texts)
        return Judgement((1 - found.scores).masked_fill(found.failed, 0.0), found.reasons)


@dataclass(frozen=True)
class AfterPronoun:
    """Judges `She` with each text after it, for prompts that end with the name of the subject.

    A judge of English forms knows a verb by the pronoun before it; it does not look at prompts.
    """

    judge: FallibleJudge

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """The other's score of each text with its subject."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """What the other says of each text with its subject."""
        return self.judge.judged(prompts, [f"She{text}" for text in texts])


@dataclass(frozen=True, eq=False)
class Task(Parted):
    """What is to be brought about, and who says whether it was.

    Attributes:
        judge: Of what is written after their prompts.
        asking: Rewrites a prompt so that it asks for the behaviour in words; None if there is none.
        chat: Whether prompts are chats.
        likelihood: Whether the likelihood of the pairs is read at every strength too.
    """

    judge: Judge
    asking: Rewrite | None
    chat: bool = False
    likelihood: bool = False

    @property
    def made_of(self) -> Any:
        """The pairs and the judge, as plain JSON: another unit where they are others."""
        return [super().made_of, repr(self.judge)]


# Judges, made when a task is: that of sentiment is fitted.


def sentiment_judge(data: Path | None) -> TextClassifier:
    """A classifier of the Stanford Sentiment Treebank, its errors counted on `test.tsv`.

    Raises:
        ValueError: If the folder was not given or lacks a file.
    """
    files = [] if data is None else [data / "sst2" / f"{part}.tsv" for part in ("train", "test")]
    if not files or not all(path.is_file() for path in files):
        raise ValueError(
            f"--data {data}: expected a folder with sst2/train.tsv and sst2/test.tsv, which the "
            "task sentiment needs: give it, or leave the task out (--tasks)"
        )
    train, test = (_sides(ls.benchmark.load("sst2", path).pairs) for path in files)
    return TextClassifier.fit(*train, seed=0).tested(*test)


def _sides(pairs: Any) -> list[list[str]]:
    return [[e.continuation for e in side] for side in (pairs.desired, pairs.undesired)]


_JUDGES: dict[str, Callable[[Path | None], Judge]] = {
    "sentiment": sentiment_judge,
    "refusal": lambda _: RefusalPhrases(),
    "sea": lambda _: WordList(texts.SEA_WORDS),
    "food": lambda _: WordList(texts.FOOD_WORDS),
    "question": lambda _: IsQuestion(),
    "present tense": lambda _: Opposite(AfterPronoun(PastTense())),
    "first person": lambda _: FirstPerson(),
}
_TEXTS = {
    "sentiment": texts.SENTIMENT,
    "refusal": texts.REFUSAL,
    "sea": texts.SEA,
    "food": texts.FOOD,
    "question": texts.QUESTION,
    "present tense": texts.PRESENT,
    "first person": texts.FIRST_PERSON,
}
TASKS = tuple(_TEXTS)
_CHATS = ("refusal",)
_LIKELIHOOD = ("sentiment", "refusal")


def task_names(names: str) -> list[str]:
    """Names of tasks separated by commas; `all` is every registered one.

    Raises:
        ValueError: If there is no such task, or one comes twice.
    """
    if names == "all":
        return list(TASKS)
    chosen = [name.strip() for name in names.split(",")]
    embedded = [f"{_EMBEDDED}{name}" for name in organism.behaviours()]
    unknown = [name for name in chosen if name not in (*TASKS, *embedded)]
    if unknown or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"got the tasks {names!r}, expected all, or some of {', '.join((*TASKS, *embedded))}, "
            "none twice"
        )
    return chosen


def task(name: str, data: Path | None) -> Task:
    """A registered task, or a behaviour of the embedded model (`organism:*`) as one.

    Args:
        name: One of `TASKS`, or a named set of the embedded model.
        data: The folder of published data.

    Raises:
        ValueError: If there is no such task, or its data are missing.
    """
    if name.startswith(_EMBEDDED):
        return _embedded_task(name)
    made = _TEXTS[name]
    chat = name in _CHATS
    rows = [(_as_chat(p) if chat else p, *rest) for p, *rest in made.rows()]
    return Task(
        name,
        ContrastivePairs.of(rows, name=name),
        _JUDGES[name](data),
        instructed(made.instruction),
        chat,
        name in _LIKELIHOOD,
    )


def _as_chat(request: str) -> tuple[Message, ...]:
    return (Message("user", request),)


def _embedded_task(name: str) -> Task:
    """128 pairs of a behaviour of the embedded model, in 16 groups of neighbours."""
    behaviour = name.partition(":")[2]
    every = ls.ContrastivePairs.load(name).spread(128)
    sides = [
        [(e.prompt, e.continuation) for e in side] for side in (every.desired, every.undesired)
    ]
    rows = [
        (prompt, desired, undesired, f"group {i // 8}")
        for i, ((prompt, desired), (_, undesired)) in enumerate(zip(*sides, strict=True))
    ]
    judge: Any = judge_of(name)
    spoken = organism.persona_prompts(behaviour, organism.behaviour(behaviour).desired)
    plain = [prompt for prompt, *_ in organism.rows(behaviour)]
    asking = partial(_looked_up, dict(zip(plain, spoken, strict=True)))
    return Task(name, ContrastivePairs.of(rows, name=name), judge, asking)


def _looked_up(persona: dict[str, str], prompt: Any) -> Any:
    return persona[prompt]
