"""TruthfulQA: questions that people answer wrongly, with true and false answers."""

from collections.abc import Mapping
from typing import Any

from lens_steer.arguments import shortened
from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.example import read_rows
from lens_steer.data.left_out import LeftOut
from lens_steer.data.prompts import Prompts
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, LeaveOutError, gathered, text_in
from lens_steer.data.questions import Question, Questions
from lens_steer.data.templates import Template

_LICENCE = "Apache 2.0"
_CITATION = "Lin, Hilton and Evans 2022, TruthfulQA, arXiv:2109.07958"
_COLUMNS = (
    frozenset({"Question", "Best Answer", "Correct Answers", "Incorrect Answers"}),
    frozenset({"question", "mc1_targets", "mc2_targets"}),
)
_COUNTS = "817 questions"
MC = About("truthfulqa-mc", _LICENCE, _CITATION, _COLUMNS, template="qa", counts=_COUNTS)
PAIRS = About("truthfulqa-pairs", _LICENCE, _CITATION, _COLUMNS, template="qa", counts=_COUNTS)


def truthfulqa_mc(file: FileRows, template: Template) -> PublishedSet:
    """TruthfulQA's multiple choice: MC1 by the first right answer, MC2 by all of them.

    The choices are the best answer, the other correct ones and the incorrect ones, in the order of
    the file. In `TruthfulQA.csv` lists are parted by semicolons; `mc_task.json` has
    `mc1_targets` and `mc2_targets`. An answer that is listed twice is one choice; an answer that
    both lists have is no choice. The two files differ in wording here and there: say which was
    used.

    Licence: Apache 2.0. Source: Lin, Hilton and Evans 2022, arXiv:2109.07958. 817 questions.
    """

    def question(row: Any) -> Question:
        text, right, wrong = _answers(row)
        choices = tuple(template.answer(text, answer) for answer in (*right, *wrong))
        marks = (True,) * len(right) + (False,) * len(wrong)
        prompt = template.prompt(text)
        return Question(prompt, choices, marks, instruction=template.instruction, bare=text)

    items, left_out = gathered(file, question)
    both = (
        ("an answer that both lists have, which is no choice", place.removeprefix(f"{file.path} "))
        for place, row in file.rows
        if _in_both(row)
    )
    noted = LeftOut({**left_out.rows, **LeftOut.of(both).rows})
    return PublishedSet.of_questions(MC, Questions(tuple(items), MC.name, noted))


def truthfulqa_pairs(file: FileRows, template: Template) -> PublishedSet:
    """TruthfulQA's answers as pairs: true against false, as far as the shorter list goes.

    Licence: Apache 2.0. Source: Lin, Hilton and Evans 2022, arXiv:2109.07958. 817 questions.
    """
    read = read_rows(file.rows, PAIRS.name, paired=True, template=template)
    pairs = ContrastivePairs(read.desired, read.undesired, True, PAIRS.name, read.left_out)
    both = {"an answer on both sides": read.left_out} if read.left_out else {}
    prompts = Prompts(pairs.prompts, name=PAIRS.name)
    return PublishedSet(PAIRS, pairs=pairs, prompts=prompts, left_out=both)


def _in_both(row: Any) -> bool:
    try:
        _, right, wrong = _listed_answers(row)
    except LeaveOutError:  # it has been left out, and noted
        return False
    return bool(set(right) & set(wrong))


def _answers(row: Any) -> tuple[str, list[str], list[str]]:
    """The question, its right answers with the best one first, and its wrong ones."""
    question, right, wrong = _listed_answers(row)
    both = set(right) & set(wrong)
    right, wrong = ([a for a in dict.fromkeys(side) if a not in both] for side in (right, wrong))
    if not right or not wrong:
        raise LeaveOutError("no right or no wrong answer")
    return question, right, wrong


def _listed_answers(row: Any) -> tuple[str, list[str], list[str]]:
    """The question and its answers as they are listed, the best one first."""
    if isinstance(row, Mapping) and "mc1_targets" in row:
        question = text_in(row, "question")
        best, _ = _by_label(row, "mc1_targets")
        right, wrong = _by_label(row, "mc2_targets")
    else:
        question = text_in(row, "Question")
        best = [text_in(row, "Best Answer").strip()]
        right, wrong = (_listed(row, f"{kind} Answers") for kind in ("Correct", "Incorrect"))
    return question, [*best[:1], *right], wrong


def _listed(row: Any, column: str) -> list[str]:
    return [part.strip() for part in text_in(row, column).split(";") if part.strip()]


def _by_label(row: Any, column: str) -> tuple[list[str], list[str]]:
    targets = row.get(column)
    if isinstance(targets, dict) and set(targets) == {"choices", "labels"}:  # as on the hub
        targets = dict(zip(targets["choices"], targets["labels"], strict=True))
    if not isinstance(targets, dict) or not all(map(_is_marked, targets.items())):
        raise ValueError(
            f"{column!r} is {shortened(targets)}, expected {{answer: 1 if correct, else 0}}"
        )
    return [a for a, label in targets.items() if label], [a for a, n in targets.items() if not n]


def _is_marked(answer: tuple[Any, Any]) -> bool:
    return isinstance(answer[0], str) and answer[1] in (0, 1)
