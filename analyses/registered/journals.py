"""The units of the registered run in their order: gates, folds, and other methods if asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

import lens_steer as ls
from analyses.registered.gate import enters, gate_table
from analyses.registered.measuring import Rows, Terms
from analyses.registered.methods import OTHERS, OTHERS_ON
from analyses.registered.parts import FOLDS
from analyses.registered.references import gate_rows, reference_rows
from analyses.registered.tasks import Task
from analyses.registered.text_folds import TextFold
from analyses.registered.units import PARTS, REFERENCES, Units, journal_of


@dataclass(frozen=True, eq=False)
class Run(Units):
    """A gate for each task, then the folds of the tasks that enter.

    Attributes:
        others: Whether `OTHERS` are measured too, on `OTHERS_ON`, when all else has been.
    """

    tasks: Sequence[Task]
    others: bool = False

    @classmethod
    def of(
        cls,
        model: ls.SteerableModel,
        tasks: Sequence[Task],
        terms: Terms,
        path: Path,
        *,
        others: bool = False,
    ) -> "Run":
        """Begin a run, or go on with the one in the journal.

        Tasks, and the other methods, may be added to a journal; all else that a result depends on
        is the same in it.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        return cls(model, tasks, terms, journal_of(model, terms, path), others)

    @override
    def usable(self) -> list[Task]:
        """The tasks that can be put to the model: one without a chat template has no chats."""
        tokenizer: Any = self.model.tokenizer
        chats = getattr(tokenizer, "chat_template", None) is not None
        return [task for task in self.tasks if chats or not task.chat]

    @override
    def units(self) -> list[tuple[Any, ...]]:
        """The units that are known to be wanted, in order: folds of tasks that have entered."""
        gates: list[tuple[Any, ...]] = [self.unit(task, "gate") for task in self.usable()]
        return gates + self._folds(self.usable(), PARTS) + self.other_units()

    def other_units(self) -> list[tuple[Any, ...]]:
        """Those of the other methods; none where they are not asked for."""
        if not self.others:
            return []
        return self._folds([t for t in self.usable() if t.name in OTHERS_ON], tuple(OTHERS))

    def _folds(self, tasks: Sequence[Task], parts: Sequence[str]) -> list[tuple[Any, ...]]:
        entered = [task for task in tasks if self.entered(task)]
        return [
            self.unit(task, fold, part)
            for fold in range(FOLDS)
            for task in entered
            for part in parts
        ]

    @override
    def entered(self, task: Task) -> bool | None:
        """Whether a task passed the gate; None where that has not been measured."""
        rows = self.rows(self.unit(task, "gate"))
        return enters(gate_table(task.name, rows, seed=self.terms.seed)) if rows else None

    @override
    def fold(self, task: Task, number: int) -> TextFold:
        """A fold of a task, judged by its texts."""
        return TextFold(self.model, task, number, self.terms)

    @override
    def measured(self, fold: TextFold, part: Any, which: str) -> Rows:
        """The gate, the references, or a method."""
        if part == "gate":
            return gate_rows(fold)
        return reference_rows(fold) if which == REFERENCES else fold.method_rows(which)
