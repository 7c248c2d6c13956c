"""The command: `python -m analyses.registered`."""

from pathlib import Path
from typing import Annotated, Any

import typer

import analyses.registered as study
import lens_steer as ls
from analyses.registered import figures, tables
from analyses.registered.command import (
    LEAST_TASKS,
    TOKENS,
    Draws,
    DryRun,
    Shuffled,
    Sst2,
    check_asked,
    measure_all,
)
from analyses.registered.contrasts import contrasts_table
from analyses.registered.costs import Cost
from analyses.registered.journals import Run
from analyses.registered.measuring import Terms
from analyses.registered.methods import CONTRASTS, DRAWS
from analyses.registered.tasks import task, task_names
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, show, start
from lens_steer.arguments import Text
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in


def main(  # noqa: PLR0913 - a command's options
    model: Model = "organism",
    tasks: Annotated[
        str,
        option(
            Text,
            "The tasks: all, or names separated by commas (sentiment, refusal, sea, food, "
            "question, present tense, first person, and organism:NAME for the embedded model).",
            check=task_names,
            metavar="LIST",
        ),
    ] = "all",
    data: Sst2 = None,
    draws: Draws = DRAWS,
    tokens: Tokens = TOKENS,
    shuffled: Shuffled = False,
    others: Annotated[
        bool,
        typer.Option(
            "--others",
            help="When the nine methods are done, measure the others on sentiment, question and "
            "present tense.",
        ),
    ] = False,
    dry_run: DryRun = False,
    out: Out = Path("out/registered"),
    seed: Seed = 0,
) -> None:
    """Run the registered comparison of one model, or go on with it."""
    chosen = [task(name, data) for name in task_names(tasks)]
    terms = Terms(tokens, draws, seed, shuffled)
    with writing_in(out):
        loaded = ls.load_model(model)
        run = Run.of(loaded, chosen, terms, out / "journal.jsonl", others=others)
        check_asked(run, tasks, out)
        typer.echo(str(Cost.of(run)))
        if dry_run:
            return
        origin = {"model": model, "fingerprint": fingerprint(loaded)} | vars(terms)
        write_gates(run, out, origin)
        measure_all(run, model, lambda unit: unit[-1] == "gate" and write_gates(run, out, origin))
        write(run, out, origin)
        show(tables.progress(run))


def write_gates(run: Run, out: Path, origin: dict[str, Any]) -> None:
    """Write the gates, once that of every task has been measured."""
    table = tables.gates(run)
    if all(run.entered(task) is not None for task in run.usable()) and "change" in table:
        save_figure(figures.gates_figure(table), out / "gates.png", table, origin)


def write(run: Run, out: Path, origin: dict[str, Any]) -> None:
    """Write every table and figure of a run in which nothing is missing.

    With fewer than two tasks that entered there are no contrasts: the gates say why.
    """
    write_gates(run, out, origin)
    save_table(tables.progress(run), out / "progress.csv")
    entered = [task for task in run.usable() if run.entered(task)]
    if not entered:
        return
    every = tables.gains(run)
    best, kept = tables.best_of_n(every), tables.by_task(every)
    save_table(every, out / "gains.csv")
    save_table(tables.failures(run), out / "failures.csv")
    save_table(tables.likelihood(run, seed=run.terms.seed), out / "likelihood.csv")
    save_figure(figures.gains_figure(tables.chosen(every)), out / "by_task.png", kept, origin)
    save_figure(figures.frontier_figure(kept), out / "frontier.png", kept, origin)
    save_figure(figures.best_of_n_figure(best), out / "best_of_n.png", best, origin)
    if any(unit in run.journal.done for unit in run.other_units()):
        beside = tables.other_gains(run)
        save_table(beside, out / "others.csv")
        shown, figure = tables.by_task(beside), figures.gains_figure(tables.chosen(beside))
        save_figure(figure, out / "others_by_task.png", shown, origin)
    if len(entered) >= LEAST_TASKS:
        table = contrasts_table(tables.cells(run, every), CONTRASTS)
        save_figure(figures.contrasts_figure(table), out / "contrasts.png", table, origin)
        show(
            table,
            [
                "method",
                "less",
                "difference",
                "difference_low",
                "difference_high",
                "p_holm",
                "verdict",
            ],
        )


if __name__ == "__main__":
    start(main, study.__doc__)
