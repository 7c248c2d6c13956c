"""The command: `python -m analyses.recommendations`."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

import analyses.recommendations as study
import lens_steer as ls
from analyses.forecast.__main__ import EMBEDDED, Tasks
from analyses.forecast.measuring import Run as Forecasts
from analyses.recommendations import figures, tables
from analyses.recommendations.measuring import Run
from analyses.registered.command import TOKENS, Sst2, check_folder
from analyses.registered.tasks import task, task_names
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, show, start
from lens_steer.arguments import Expected
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in


def main(  # noqa: PLR0913 - the options of a command
    forecasts: Annotated[
        Path,
        option(
            Path,
            "The folder of `python -m analyses.forecast --out DIRECTORY`, with the same model, "
            "tasks, tokens and seed.",
            metavar="DIRECTORY",
        ),
    ],
    model: Model = "organism",
    tasks: Tasks = EMBEDDED,
    data: Sst2 = None,
    tokens: Tokens = TOKENS,
    minutes: Annotated[
        float,
        option(
            Annotated[float | int, Expected("a number of minutes above 0", lambda x: 0 < x <= 1e5)],
            "That each recommendation may take: with little time fewer settings are forecast.",
            metavar="NUMBER",
        ),
    ] = 5.0,
    out: Out = Path("out/recommendations"),
    seed: Seed = 0,
) -> None:
    """Judge recommendations, or go on with a run that was stopped."""
    check_folder(data)
    journal = forecasts / "journal.jsonl"
    if not journal.is_file():
        raise ValueError(
            f"--forecasts {forecasts}: expected a folder with journal.jsonl, which "
            f"python -m analyses.forecast --out {forecasts} writes"
        )
    chosen = [task(name, data) for name in task_names(tasks)]
    with writing_in(out):
        loaded = ls.load_model(model)
        searched = Forecasts.of(loaded, chosen, tokens, seed, journal)
        missing = [unit for unit in searched.units() if unit not in searched.journal.done]
        if missing:
            raise ValueError(
                f"--forecasts {forecasts}: {len(missing)} cells are not measured yet, expected all "
                "of these tasks: let python -m analyses.forecast end first"
            )
        run = Run.of(loaded, chosen, tokens, minutes, seed, out / "journal.jsonl")
        typer.echo(f"{len(run.units())} recommendations; the bar has the time")
        for _ in tqdm(run.measure(), total=len(run.units()), desc=f"recommendations, {model}"):
            pass
        write(run, searched, out, {"model": model, "fingerprint": fingerprint(loaded)})


def write(run: Run, searched: Forecasts, out: Path, origin: dict[str, object]) -> None:
    """Write every table and the figure."""
    cells = tables.cells(run.rows(), searched.cells(), seed=run.seed)
    lost = tables.regrets(cells, searched.cells(), seed=run.seed)
    refused = tables.refusals(cells)
    terms = {"seed": run.seed, "minutes": run.minutes}
    save_figure(figures.lost_figure(lost), out / "regrets.png", lost, origin | terms)
    save_table(cells, out / "cells.csv")
    save_table(refused, out / "refusals.csv")
    show(lost)
    show(refused)


if __name__ == "__main__":
    start(main, study.__doc__)
