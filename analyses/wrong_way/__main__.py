"""The command: `python -m analyses.wrong_way`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

import analyses.wrong_way as study
import lens_steer as ls
from analyses.forecast.__main__ import EMBEDDED, Tasks
from analyses.forecast.measuring import Run
from analyses.registered.command import TOKENS, Sst2, check_folder
from analyses.registered.tasks import FOLDS, task, task_names
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, show, start
from analyses.wrong_way import figures, tables
from analyses.wrong_way.crossing import CrossedCell
from analyses.wrong_way.measuring import Cell
from lens_steer.arguments import Count
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in


def main(
    model: Model = "organism",
    tasks: Tasks = EMBEDDED,
    data: Sst2 = None,
    layers: Annotated[
        int, option(Count, "How many layers CAA is made at, half depth among them.", metavar="N")
    ] = 6,
    folds: Annotated[
        int,
        option(Count, "How many of the three folds are tested, the first ones.", metavar="N"),
    ] = FOLDS,
    tokens: Tokens = TOKENS,
    out: Out = Path("out/wrong_way"),
    seed: Seed = 0,
) -> None:
    """Split the slopes of single pairs, try repairs, or go on with a run that was stopped."""
    check_folder(data)
    if folds > FOLDS:
        raise ValueError(f"--folds {folds}: expected at most {FOLDS}")
    chosen = [task(name, data) for name in task_names(tasks)]
    with writing_in(out):
        loaded = ls.load_model(model)
        cell = partial(Cell, layers=layers)
        journal = out / "journal.jsonl"
        terms = {"study": "wrong way", "layers": layers}
        run = Run.of(loaded, chosen, tokens, seed, journal, cell, folds, **terms)
        typer.echo(
            f"{len(run.units())} cells: {len(chosen)} tasks in {folds} folds; the bar has the time"
        )
        for _ in tqdm(run.measure(), total=len(run.units()), desc=f"cells of {model}"):
            pass
        beside = Run.of(loaded, chosen, tokens, seed, out / "crossed.jsonl", CrossedCell, folds)
        for _ in tqdm(beside.measure(), total=len(run.units()), desc="crossed"):
            pass
        write(run, beside, out, {"model": model, "fingerprint": fingerprint(loaded), "seed": seed})


def write(run: Run, beside: Run, out: Path, origin: dict[str, object]) -> None:
    """Write every table and the figure."""
    cells, seed = run.cells(), run.seed
    found = {
        "counted": tables.counted(cells, seed=seed),
        "crossed": tables.crossed(beside.cells(), seed=seed),
        "repairs": tables.repairs(cells, seed=seed),
        "texts": tables.texts(cells, seed=seed),
    }
    of_paths = tables.paths(cells, seed=seed)
    save_figure(figures.paths_figure(of_paths), out / "paths.png", of_paths, origin)
    for name, table in found.items():
        save_table(table, out / f"{name}.csv")
    for table in (*found.values(), of_paths):
        show(table)


if __name__ == "__main__":
    start(main, study.__doc__)
