"""The units of a registered run in their order, and what its journal holds of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lens_steer as ls
from analyses.registered.gate import enters, gate_table
from analyses.registered.measuring import Fold, Rows, Terms
from analyses.registered.methods import METHODS
from analyses.registered.references import gate_rows, reference_rows
from analyses.registered.tasks import FOLDS, Task
from lens_steer.benchmark import Journal, content, made_on

REFERENCES = "references"


@dataclass(frozen=True, eq=False)
class Run:
    """All units of one model: a gate for each task, then the folds of the tasks that enter.

    Attributes:
        model: The model.
        tasks: Those that are asked for.
        terms: What is the same for all units.
        journal: What has been measured.
    """

    model: ls.SteerableModel
    tasks: Sequence[Task]
    terms: Terms
    journal: Journal

    @classmethod
    def of(cls, model: ls.SteerableModel, tasks: Sequence[Task], terms: Terms, path: Path) -> "Run":
        """Begin a run, or go on with the one in the journal.

        Tasks may be added to a journal; all else that a result depends on is the same in it.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        same = {name: getattr(terms, name) for name in ("tokens", "draws", "seed", "shuffled")}
        marks = made_on(model, []) | same | {"methods": list(METHODS)}
        return cls(model, tasks, terms, Journal(path, marks))

    def usable(self) -> list[Task]:
        """The tasks that can be put to the model: one without a chat template has no chats."""
        tokenizer: Any = self.model.tokenizer
        chats = getattr(tokenizer, "chat_template", None) is not None
        return [task for task in self.tasks if chats or not task.chat]

    def units(self) -> list[tuple[Any, ...]]:
        """The units that are known to be wanted, in order: folds of tasks that have entered."""
        gates: list[tuple[Any, ...]] = [self.unit(task, "gate") for task in self.usable()]
        entered = [task for task in self.usable() if self.entered(task)]
        return gates + [
            self.unit(task, fold, part)
            for fold in range(FOLDS)
            for task in entered
            for part in (REFERENCES, *METHODS)
        ]

    def entered(self, task: Task) -> bool | None:
        """Whether a task passed the gate; None where that has not been measured."""
        rows = self.rows(self.unit(task, "gate"))
        return enters(gate_table(task.name, rows, seed=self.terms.seed)) if rows else None

    def rows(self, unit: Sequence[Any]) -> Rows:
        """What was measured in one unit; empty if it was not."""
        return [content(row) for row in self.journal.rows if row["unit"] == list(unit)]

    def measure(self) -> Iterator[tuple[Any, ...]]:
        """Measure what is missing, unit by unit; yields each when it has been kept."""
        folds: dict[tuple[str, int], Fold] = {}
        by_name = {task.name: task for task in self.tasks}
        while missing := [u for u in self.units() if u not in self.journal.done]:
            name, _, part, *which = unit = missing[0]
            number = 0 if part == "gate" else part
            if (name, number) not in folds:
                folds = {}  # activations and Jacobians of one fold are large
            fold = folds.setdefault(
                (name, number), Fold(self.model, by_name[name], number, self.terms)
            )
            rows = _measured(fold, part, *which)
            self.journal.add(unit, [row | {"code": code_digest()} for row in rows])
            yield unit

    def left_out(self) -> list[str]:
        """The tasks that were measured, but are not among those asked for now."""
        asked = {task.name for task in self.tasks}
        return sorted({str(unit[0]) for unit in self.journal.done} - asked)

    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(unit in self.journal.done for unit in self.units())

    def fold_rows(self) -> Iterator[tuple[Task, int, Mapping[str, Any]]]:
        """Every row of every fold that has been measured, with its task and fold."""
        for task in self.tasks:
            for fold in range(FOLDS):
                for part in (REFERENCES, *METHODS):
                    for row in self.rows(self.unit(task, fold, part)):
                        yield task, fold, row

    def unit(self, task: Task, *part: Any) -> tuple[Any, ...]:
        """The name of a unit in the journal."""
        return (task.name, _digest(task), *part)


@cache
def code_digest() -> str:
    """What measured a row: the sources of the package and of this study, in a few letters."""
    digest = hashlib.sha256()
    for folder in (Path(ls.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _measured(fold: Fold, part: Any, which: str = "") -> Rows:
    if part == "gate":
        return gate_rows(fold)
    return reference_rows(fold) if which == REFERENCES else fold.method_rows(which)


def _digest(task: Task) -> str:
    """What a task is made of, in a few letters: other texts or another judge are another unit."""
    rows = [
        [repr(e.prompt), e.continuation, e.group]
        for e in (*task.pairs.desired, *task.pairs.undesired)
    ]
    text = json.dumps([rows, repr(task.judge)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
