"""What a preset is: a table of a paper as it is run here, each value with its source."""

from collections.abc import Callable
from dataclasses import dataclass

import lens_steer as ls
from analyses.papers.fitting import Fitting
from analyses.papers.judging import Judged
from analyses.papers.tasks import Task

_JUDGE = "  judge of '{0.metric}': {0.stand_in}, a stand-in; --judge chooses another"


@dataclass(frozen=True)
class Fact:
    """One choice that a table rests on.

    Attributes:
        what: What is chosen, such as `K and delta`.
        value: What it is here, in words.
        source: Where the value is from.
        verified: False where the source is not the paper or its code, or the paper's own value is
            not at hand: the table then says so.
    """

    what: str
    value: str
    source: str
    verified: bool = True

    def __str__(self) -> str:
        doubt = "" if self.verified else "; NOT VERIFIED against the paper"
        return f"{self.what}: {self.value} ({self.source}{doubt})"


@dataclass(frozen=True)
class Row:
    """One row of a table: a method as the paper sets it.

    Attributes:
        name: As the paper calls it.
        fit: Makes the method; None is the unsteered model.
        scope: Where it steers, see `lens_steer.steered`.
        note: How the row differs from the paper's, empty where it does not.
    """

    name: str
    fit: Callable[[Fitting], ls.Intervention] | None = None
    scope: ls.Scope = "last"
    note: str = ""


@dataclass(frozen=True)
class NotRun:
    """What the paper's table has and this one has not.

    Attributes:
        what: A column, a row or a task of the paper.
        why: What is missing.
    """

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Preset:
    """A table of a paper.

    Attributes:
        paper: The paper's name, with its arXiv number.
        table: The name after `--table`.
        title: What the table shows.
        model: The model that the published numbers shown beside are of.
        tasks: What is measured.
        rows: The methods; the first is the unsteered model.
        facts: The choices that the table rests on.
        not_run: What the paper's table has besides.
        decoding: How texts are written; None where none are.
    """

    paper: str
    table: str
    title: str
    model: str
    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    not_run: tuple[NotRun, ...] = ()
    decoding: ls.Decoding | None = None

    def __post_init__(self) -> None:
        for kind, names in (
            ("tasks", [task.name for task in self.tasks]),
            ("rows", [row.name for row in self.rows]),
        ):
            if not names or len(set(names)) < len(names):
                raise ValueError(f"got the {kind} {names}, expected at least one, of other names")
        if self.rows[0].fit is not None:
            raise ValueError(
                f"the first row, {self.rows[0].name!r}, has a method: expected the unsteered model"
            )
        if self.decoding is None and any(task.judged for task in self.tasks):
            raise ValueError(f"the table {self.table!r} writes texts: expected a decoding")

    @property
    def judged(self) -> Judged | None:
        """What is asked of the texts of its first task that writes some; None if none does."""
        return next((task.judged for task in self.tasks if task.judged), None)

    def describe(self) -> str:
        """What `--list` prints of the table."""
        files = dict.fromkeys(file for task in self.tasks for file in task.files)
        rows = [f"{row.name} ({row.note})" if row.note else row.name for row in self.rows]
        lines = [
            f"{self.table}: {self.title}",
            f"  published for: {self.model}",
            f"  tasks: {', '.join(task.name for task in self.tasks)}",
            f"  files in --data: {', '.join(files)}",
            f"  rows: {'; '.join(rows)}",
            *([_JUDGE.format(self.judged)] if self.judged else ()),
            *(f"  {fact}" for fact in self.facts),
            *(f"  not run: {one}" for one in self.not_run),
        ]
        return "\n".join(lines)
