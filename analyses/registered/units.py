"""The units of a run, kept one by one in a journal, whatever a unit measures."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lens_steer as ls
from analyses.registered.measuring import Fold, Rows, Terms
from analyses.registered.methods import METHODS
from analyses.registered.parts import FOLDS, Parted
from lens_steer.benchmark import Journal, content, made_on

REFERENCES = "references"
PARTS = (REFERENCES, *METHODS)  # of a fold
_SAME = ("tokens", "draws", "seed", "shuffled")


@dataclass(frozen=True, eq=False)
class Units(ABC):
    """All units of one model.

    Attributes:
        model: The model.
        tasks: Those that are asked for.
        terms: What is the same for all units.
        journal: What has been measured.
    """

    model: ls.SteerableModel
    tasks: Sequence[Parted]
    terms: Terms
    journal: Journal

    @abstractmethod
    def usable(self) -> Sequence[Parted]:
        """The tasks that can be put to the model."""

    @abstractmethod
    def units(self) -> list[tuple[Any, ...]]:
        """The units that are known to be wanted, in order."""

    @abstractmethod
    def entered(self, task: Any) -> bool | None:
        """Whether a task counts in contrasts; None where that has not been measured."""

    @abstractmethod
    def fold(self, task: Any, number: int) -> Fold:
        """A fold of a task."""

    @abstractmethod
    def measured(self, fold: Any, part: Any, which: str) -> Rows:
        """What one unit measures; `which` is empty where the unit has no such part."""

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
            fold = folds.setdefault((name, number), self.fold(by_name[name], number))
            rows = self.measured(fold, part, which[0] if which else "")
            self.journal.add(unit, [row | {"code": code_digest()} for row in rows])
            yield unit

    def left_out(self) -> list[str]:
        """The tasks that were measured, but are not among those asked for now."""
        asked = {task.name for task in self.tasks}
        return sorted({str(unit[0]) for unit in self.journal.done} - asked)

    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(unit in self.journal.done for unit in self.units())

    def fold_rows(
        self, parts: Sequence[str] = PARTS
    ) -> Iterator[tuple[Any, int, Mapping[str, Any]]]:
        """Every row of these parts of every fold that has been measured, with its task and fold."""
        for task in self.tasks:
            for fold in range(FOLDS):
                for part in parts:
                    for row in self.rows(self.unit(task, fold, part)):
                        yield task, fold, row

    def unit(self, task: Parted, *part: Any) -> tuple[Any, ...]:
        """The name of a unit in the journal; of another task that was called the same, another."""
        made_of = json.dumps(task.made_of)
        return (task.name, hashlib.sha256(made_of.encode()).hexdigest()[:12], *part)


def journal_of(model: ls.SteerableModel, terms: Terms, path: Path, **more: Any) -> Journal:
    """A journal that goes on only with the same model, versions and terms.

    Args:
        model: Its weights count.
        terms: What is the same for all units.
        path: The file.
        more: Other terms.

    Raises:
        ValueError: If the journal is of a run on other terms.
    """
    same = {name: getattr(terms, name) for name in _SAME}
    return Journal(path, made_on(model, []) | same | {"methods": list(METHODS)} | more)


@cache
def code_digest() -> str:
    """What measured a row: the sources of the package and of these studies, in a few letters."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for folder in (Path(ls.__file__).parent, here, here.parent / "registered_answers"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
