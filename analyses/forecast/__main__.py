"""The command: `python -m analyses.forecast`."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

import analyses.forecast as study
import lens_steer as ls
from analyses.forecast import bounds as bounds_tables
from analyses.forecast import figures, tables
from analyses.forecast.bounds import BoundsCell
from analyses.forecast.measuring import Run
from analyses.registered.command import TOKENS, Sst2, check_folder
from analyses.registered.tasks import task, task_names
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, show, start
from lens_steer import organism
from lens_steer.arguments import Text
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

EMBEDDED = ",".join(f"organism:{name}" for name in organism.behaviours())
Tasks = Annotated[
    str,
    option(
        Text,
        "The tasks, separated by commas: organism:NAME for the embedded model; sea, food, "
        "question, present tense, first person, refusal (chats) or sentiment (needs --data) "
        "for any other.",
        check=task_names,
        metavar="LIST",
    ),
]


def main(
    model: Model = "organism",
    tasks: Tasks = EMBEDDED,
    data: Sst2 = None,
    tokens: Tokens = TOKENS,
    out: Out = Path("out/forecast"),
    seed: Seed = 0,
) -> None:
    """Set forecasts beside what steering does, or go on with a run that was stopped."""
    check_folder(data)
    chosen = [task(name, data) for name in task_names(tasks)]
    with writing_in(out):
        loaded = ls.load_model(model)
        run = Run.of(loaded, chosen, tokens, seed, out / "journal.jsonl")
        typer.echo(
            f"{len(run.units())} cells: {len(chosen)} tasks in 3 folds; the bar has the time"
        )
        for _ in tqdm(run.measure(), total=len(run.units()), desc=f"cells of {model}"):
            pass
        beside = Run.of(loaded, chosen, tokens, seed, out / "bounds.jsonl", BoundsCell)
        for _ in tqdm(beside.measure(), total=len(run.units()), desc="bounds"):
            pass
        write_bounds(run, beside, out)
        write(run, out, {"model": model, "fingerprint": fingerprint(loaded), "seed": seed})


def write(run: Run, out: Path, origin: dict[str, object]) -> None:
    """Write every table and figure."""
    cells, seed = run.cells(), run.seed
    prompts, reach = tables.prompts(cells, seed=seed), tables.strengths(cells)
    where, which = tables.where(cells, seed=seed), tables.which(cells, seed=seed)
    save_figure(figures.prompts_figure(prompts), out / "prompts.png", prompts, origin)
    save_figure(figures.reach_figure(reach), out / "reach.png", reach, origin)
    save_figure(figures.regret_figure(where), out / "where.png", where, origin)
    save_figure(figures.regret_figure(which), out / "which.png", which, origin)
    for table in (prompts, reach, where, which):
        show(table)
    if len(run.tasks) > 1:  # tau is fitted to the other tasks
        shares = tables.shares(cells, seed=seed)
        save_table(shares, out / "shares.csv")
        show(shares)


def write_bounds(run: Run, beside: Run, out: Path) -> None:
    """Write what bounds say beside forecasts."""
    cells, bounds = run.cells(), beside.cells()
    by_layer, by_task = (
        bounds_tables.by_layer(cells, bounds, seed=run.seed),
        bounds_tables.by_task(cells, bounds),
    )
    for name, table in (("bounds_by_layer", by_layer), ("bounds_by_task", by_task)):
        save_table(table, out / f"{name}.csv")
        show(table)


if __name__ == "__main__":
    start(main, study.__doc__)
