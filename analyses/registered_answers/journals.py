"""The units of a run over questions: references and nine methods, in every fold of every task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

import lens_steer as ls
from analyses.registered.measuring import Rows, Terms
from analyses.registered.parts import FOLDS
from analyses.registered.units import PARTS, REFERENCES, Units, journal_of
from analyses.registered_answers.answer_folds import AnswerFold
from analyses.registered_answers.scores import moved
from analyses.registered_answers.tasks import AnswerTask


@dataclass(frozen=True, eq=False)
class AnswerRun(Units):
    """All folds of all tasks; there is no gate."""

    tasks: Sequence[AnswerTask]

    @classmethod
    def of(
        cls,
        model: ls.SteerableModel,
        tasks: Sequence[AnswerTask],
        terms: Terms,
        path: Path,
        *,
        items: int,
    ) -> "AnswerRun":
        """Begin a run, or go on with the one in the journal.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        journal = journal_of(model, terms, path, study="answers", items=items)
        return cls(model, tasks, terms, journal)

    @override
    def usable(self) -> Sequence[AnswerTask]:
        """All of them: no prompt is a chat."""
        return self.tasks

    @override
    def units(self) -> list[tuple[Any, ...]]:
        """Folds are the outer loop."""
        return [
            self.unit(task, fold, part)
            for fold in range(FOLDS)
            for task in self.tasks
            for part in PARTS
        ]

    @override
    def entered(self, task: AnswerTask) -> bool | None:
        """Whether something that is in no contrast moves the right answers; see `moved`."""
        found = [self.rows(self.unit(task, fold, REFERENCES)) for fold in range(FOLDS)]
        if not all(found):
            return None
        asked = [task.asked(part) for part in task.parts(self.terms.seed)[1]]
        changes = moved(asked, found, seed=self.terms.seed)
        return any(change.low > 0 for change in changes.values())

    @override
    def fold(self, task: AnswerTask, number: int) -> AnswerFold:
        """A fold of a task, read by its choices."""
        return AnswerFold(self.model, task, number, self.terms)

    @override
    def measured(self, fold: AnswerFold, part: Any, which: str) -> Rows:
        """The references, or a method."""
        return fold.reference_rows() if which == REFERENCES else fold.method_rows(which)
