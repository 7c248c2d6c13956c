"""What the commands of the registered studies share: their options, and going on with a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm.auto import tqdm

from analyses.registered.units import Units
from lens_steer.arguments import Count
from lens_steer.cli import option

TOKENS = 24
LEAST_TASKS = 2  # with contrasts

Draws = Annotated[
    int, option(Count, "Structures drawn for each method in each fold.", metavar="INTEGER")
]
Shuffled = Annotated[
    bool,
    typer.Option(
        "--shuffled",
        help="Turn half of the pairs that methods are fitted to round: nothing can be found.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Count tokens and hours, and measure nothing else.")
]
Sst2 = Annotated[
    Path | None,
    option(
        Path,
        "A folder with sst2/train.tsv and sst2/test.tsv, which the judge of sentiment needs.",
        metavar="DIRECTORY",
    ),
]


def check_folder(data: Path | None) -> None:
    """Raise a ValueError for data that are no folder."""
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data}: expected a folder")


def check_asked(run: Units, tasks: str, out: Path) -> None:
    """Raise a ValueError where the journal holds tasks that are not asked for."""
    if run.left_out():
        raise ValueError(
            f"--tasks {tasks!r}: the journal in {out} also holds {', '.join(run.left_out())}: "
            "expected those too, as results of some of the tasks are no results"
        )


def measure_all(
    run: Units, model: str, kept: Callable[[Sequence[Any]], object] = lambda _: None
) -> None:
    """Measure what is missing, under a bar; units become known as gates are passed.

    Args:
        run: The run.
        model: Its name, for the bar.
        kept: Called with each unit when it has been kept.
    """
    with tqdm(desc=f"units of {model}", total=len(run.units())) as bar:
        bar.update(len([unit for unit in run.units() if unit in run.journal.done]))
        for unit in run.measure():
            kept(unit)
            bar.total = len(run.units())
            bar.update()
