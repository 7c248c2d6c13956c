"""The command: `python -m analyses.registered_answers`."""

from pathlib import Path
from typing import Annotated, Any

import typer

import analyses.registered_answers as study
import lens_steer as ls
from analyses.registered import figures as registered
from analyses.registered.command import (
    LEAST_TASKS,
    TOKENS,
    Draws,
    DryRun,
    Shuffled,
    check_asked,
    measure_all,
)
from analyses.registered.contrasts import contrasts_table
from analyses.registered.measuring import Terms
from analyses.registered.methods import CONTRASTS, DRAWS
from analyses.registered.tables import best_of_n, cells
from analyses.registered_answers import figures, tables
from analyses.registered_answers.costs import AnswerCost
from analyses.registered_answers.journals import AnswerRun
from analyses.registered_answers.tasks import LEAST_ITEMS, answer_tasks, task_names
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, show, start
from lens_steer.arguments import Count, Text
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

ITEMS = 128


def check_items(n: int) -> None:
    """Raise a ValueError where a task of so few questions could not be parted."""
    if n < LEAST_ITEMS:
        raise ValueError(f"got {n} questions a task, expected at least {LEAST_ITEMS}")


def main(  # noqa: PLR0913 - a command's options
    model: Model = "organism",
    tasks: Annotated[
        str,
        option(
            Text,
            "The tasks: all (truthfulqa, copa, sst2, interest-in-science and survival-instinct), "
            "or names separated by commas, of other files of evals too.",
            check=task_names,
            metavar="LIST",
        ),
    ] = "all",
    data: Annotated[
        Path | None,
        option(
            Path,
            "A folder with the published files: truthfulqa/TruthfulQA.csv, copa/*.jsonl, "
            "sst2/test.tsv, evals/*.jsonl. What it lacks is left out.",
            metavar="DIRECTORY",
        ),
    ] = None,
    items: Annotated[
        int,
        option(Count, "Questions of each task, at most.", check=check_items, metavar="INTEGER"),
    ] = ITEMS,
    draws: Draws = DRAWS,
    tokens: Tokens = TOKENS,
    shuffled: Shuffled = False,
    dry_run: DryRun = False,
    out: Out = Path("out/registered_answers"),
    seed: Seed = 0,
) -> None:
    """Run the secondary comparison of one model by likelihood, or go on with it."""
    chosen, missing = answer_tasks(task_names(tasks), data, items, seed=seed)
    if missing:
        typer.echo(f"left out, as they are not in {data}: {', '.join(missing)}")
    terms = Terms(tokens, draws, seed, shuffled)
    with writing_in(out):
        loaded = ls.load_model(model)
        run = AnswerRun.of(loaded, chosen, terms, out / "journal.jsonl", items=items)
        check_asked(run, tasks, out)
        typer.echo(str(AnswerCost.of(run)))
        if dry_run:
            return
        measure_all(run, model)
        origin = {"model": model, "items": items, "fingerprint": fingerprint(loaded)} | vars(terms)
        write(run, out, origin)
        show(tables.progress(run))


def write(run: AnswerRun, out: Path, origin: dict[str, Any]) -> None:
    """Write every table and figure of a run in which nothing is missing.

    Contrasts are over the tasks that something moves; with fewer than two there are none.
    """
    every = tables.gains(run)
    kept, chosen = tables.by_task(every), tables.chosen_of(every)
    save_table(every, out / "gains.csv")
    save_table(tables.headroom(run), out / "headroom.csv")
    save_figure(registered.gains_figure(chosen), out / "by_task.png", kept, origin)
    save_figure(registered.frontier_figure(kept), out / "frontier.png", kept, origin)
    best = best_of_n(every)
    save_figure(registered.best_of_n_figure(best), out / "best_of_n.png", best, origin)
    intercepts = tables.intercepts(every)
    if len(intercepts):
        figure = figures.intercepts_figure(intercepts)
        save_figure(figure, out / "intercepts.png", intercepts, origin)
    if sum(bool(run.entered(task)) for task in run.tasks) >= LEAST_TASKS:
        table = contrasts_table(cells(run, every), CONTRASTS)
        save_figure(registered.contrasts_figure(table), out / "contrasts.png", table, origin)
        show(table, ["method", "less", "difference", "p_holm", "verdict"])


if __name__ == "__main__":
    start(main, study.__doc__)
