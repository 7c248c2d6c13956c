"""Who judges the texts of a table: a stand-in for the paper's judge, or one of your own choice."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

import lens_steer as ls
from lens_steer.evaluation import Endpoint, Judge, RefusalPhrases, TextClassifier

_PHRASES = "phrases"
_SUFFIX = ".safetensors"
_KEY = "OPENAI_API_KEY"
_NO_KEY = "none"
FORMS = (
    f"{_PHRASES} (of refusal), the path of a TextClassifier saved by ls.save ({_SUFFIX}), or a URL "
    "that begins with http:// or https://"
)


@dataclass(frozen=True)
class Judged:
    """What is asked of every text that a task has written.

    Attributes:
        metric: What the share of texts is called that a judge gives 1.
        stand_in: What stands in for the paper's judge where no other is chosen.
        question: What a chat model is asked; `{prompt}` and `{text}` are those of the text. Yes is
            1, no is 0.
    """

    metric: str
    stand_in: str
    question: str


@dataclass(frozen=True)
class NotRefused:
    """Scores 1 where a text does not open with a phrase of refusal: a stand-in for HarmBench's."""

    def __call__(self, prompts: Any, texts: Any) -> Tensor:
        """1 for each text that is no refusal, whatever else it says."""
        return 1 - RefusalPhrases()(prompts, texts)


@dataclass(frozen=True, eq=False)
class ChosenJudge:
    """A judge in place of the stand-in of a table.

    Attributes:
        judge: The judge.
        name: What it is called in tables.
        note: What is to be said of it under them.
    """

    judge: Judge
    name: str
    note: str


def chosen_judge(
    judged: Judged | None, judge: str | None, model: str | None, key: str | None
) -> ChosenJudge | None:
    """The judge that the options `--judge`, `--judge-model` and `--judge-key` choose.

    Args:
        judged: What the table asks of its texts; None if it writes none.
        judge: `phrases`, the path of a saved classifier, or the URL of an endpoint; None keeps the
            stand-in of the table.
        model: The name of the chat model, with a URL only.
        key: The environment variable with the key, with a URL only; `none` sends no key, and None
            is OPENAI_API_KEY.

    Returns:
        The judge; None for the stand-in.

    Raises:
        ValueError: If the options name no judge of such texts or contradict each other, or the key
            is not set.
    """
    asks = judge is not None and judge.startswith(("http://", "https://"))
    if not asks and (model is not None or key is not None):
        name = "--judge-model" if model is not None else "--judge-key"
        raise ValueError(f"got {name} without a URL, expected --judge http://... with it")
    if judge is None:
        return None
    if judged is None:
        raise ValueError(
            f"got --judge {judge} for a table that writes no texts, expected none: leave it out"
        )
    if asks:
        return _endpoint(judged, judge, model, key)
    if judge == _PHRASES:
        return _phrases(judged)
    if Path(judge).suffix != _SUFFIX:
        raise ValueError(f"got --judge {judge}, expected {FORMS}")
    return _classifier(judge)


def tried(chosen: ChosenJudge | None) -> None:
    """Ask an endpoint about one text, so that a wrong key or address is known before the run.

    Raises:
        EndpointError: If it cannot be used; it is a ValueError.
    """
    if chosen is not None and isinstance(chosen.judge, Endpoint):
        chosen.judge(["What is one and one?"], [" Two."])


def _phrases(judged: Judged) -> ChosenJudge:
    if judged.stand_in != _PHRASES:
        raise ValueError(
            f"got --judge {_PHRASES}, which knows refusals, for texts that are asked to be "
            f"{judged.metric}: leave it out, or give {FORMS.partition(', ')[2]}"
        )
    return ChosenJudge(NotRefused(), _PHRASES, "Judge: phrases of refusal.")


def _classifier(path: str) -> ChosenJudge:
    try:
        found = ls.load(path)
    except ValueError as error:
        raise ValueError(
            f"got --judge {path}, expected a TextClassifier saved by ls.save: {error}"
        ) from error
    if not isinstance(found, TextClassifier):
        raise ValueError(
            f"got --judge {path}, which holds a {type(found).__name__}, expected a TextClassifier"
        )
    name = Path(path).name
    return ChosenJudge(found, name, f"Judge: {name}, {found!r}.")


def _endpoint(judged: Judged, url: str, model: str | None, key: str | None) -> ChosenJudge:
    if model is None:
        raise ValueError(
            f"got --judge {url} without a model, expected --judge-model, its name there"
        )
    variable = _KEY if key is None else "" if key == _NO_KEY else key
    judge = Endpoint(url, model, judged.question, key_from=variable)
    if variable and not os.environ.get(variable):
        raise ValueError(
            f"the environment variable {variable} is not set, expected the key of {url}: set it, "
            f"name another with --judge-key, or send none with --judge-key {_NO_KEY}"
        )
    question = " ".join(judged.question.split())
    note = (
        f"Judge: the model {model} at {url}, asked: {question} Its answers may differ from day to "
        "day."
    )
    return ChosenJudge(judge, model, note)


def lenient(judge: Judge) -> Judge:
    """The judge where time is measured on two texts: one that it cannot score is no reason to end.

    Args:
        judge: Any; only that of an endpoint changes.
    """
    return replace(judge, most_failed=0.99) if isinstance(judge, Endpoint) else judge
