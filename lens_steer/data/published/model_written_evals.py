"""Questions with an answer that matches a behaviour and one that does not."""

from typing import Any

from lens_steer.data.prompts import Prompts
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, LeaveOutError, gathered, text_in
from lens_steer.data.questions import Question, Questions
from lens_steer.data.templates import Template

_MATCHING, _OTHER = "answer_matching_behavior", "answer_not_matching_behavior"
_COLUMNS = (frozenset({"question", _MATCHING, _OTHER}),)
EVALS = About(
    "model-written-evals",
    "CC-BY 4.0",
    "Perez et al. 2022, Discovering Language Model Behaviors with Model-Written Evaluations, "
    "arXiv:2212.09251",
    _COLUMNS,
    counts="up to 1,000 questions a behaviour",
)
CAA = About(
    "caa",
    "MIT",
    "Panickssery et al. 2023, Steering Llama 2 via Contrastive Activation Addition, "
    "arXiv:2312.06681",
    _COLUMNS,
    only=(frozenset({"question"}),),
    counts="a few hundred pairs a behaviour to make a vector with, about 50 to test",
)
_CHOICES = "\n\nChoices:"


def model_written_evals(file: FileRows, template: Template) -> PublishedSet:
    """Anthropic's model-written evaluations: Yes or No about a statement, or a letter of a list.

    The answer that matches the behaviour counts as correct, whether or not it is a good one. The
    two choices stand in the order of the alphabet, so that their order gives nothing away. The
    bare question is the statement, or what stands before the list of choices.

    A line of `.jsonl` has question, answer_matching_behavior and answer_not_matching_behavior.

    Licence: CC-BY 4.0. Source: Perez et al. 2022, arXiv:2212.09251.
    """
    return PublishedSet.of_questions(EVALS, _questions(file, template, file.name))


def caa(file: FileRows, template: Template) -> PublishedSet:
    """CAA's three files of a behaviour, each a `.json` list.

    `generate_dataset.json` and `test_dataset_ab.json` have a question with lettered choices,
    answer_matching_behavior and answer_not_matching_behavior, "(A)" or "(B)" (a space is put before
    them); `test_dataset_open_ended.json` has the question alone, and gives prompts.

    Licence: MIT. Source: Panickssery et al. 2023, arXiv:2312.06681.
    """
    name = file.name_with_folder
    if _MATCHING in file.columns:
        return PublishedSet.of_questions(CAA, _questions(file, template, name))
    items, left_out = gathered(file, lambda row: template.prompt(text_in(row, "question")))
    prompts = Prompts(tuple(items), name=name, left_out=left_out)
    return PublishedSet(CAA, prompts=prompts, left_out=left_out)


def _questions(file: FileRows, template: Template, name: str) -> Questions:
    def question(row: Any) -> Question:
        text = text_in(row, "question")
        matching, other = (
            template.answer(text, text_in(row, column)) for column in (_MATCHING, _OTHER)
        )
        if matching == other:
            raise LeaveOutError("one answer on both sides")
        choices = tuple(sorted((matching, other)))
        return Question(
            template.prompt(text),
            choices,
            tuple(choice == matching for choice in choices),
            instruction=template.instruction,
            bare=_bare(row, text),
        )

    items, left_out = gathered(file, question)
    return Questions(tuple(items), name, left_out)


def _bare(row: Any, text: str) -> str:
    statement = row.get("statement")
    if isinstance(statement, str) and statement and statement in text:
        return statement
    return text.partition(_CHOICES)[0] if _CHOICES in text else text
