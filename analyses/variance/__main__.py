"""The command: `python -m analyses.variance`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from tqdm.auto import tqdm

import analyses.variance as study
import lens_steer as ls
from analyses.studies import Model, Out, Seed, Tokens, fingerprint, names_of, show, start
from analyses.variance import tables
from analyses.variance.design import (
    METHODS,
    READS,
    Behaviour,
    Design,
    Read,
    check_behaviours,
    layers_of,
    method_names,
)
from analyses.variance.figures import variance_figure
from analyses.variance.journals import Run
from lens_steer import arguments
from lens_steer.arguments import Count, CountFromZero, Expected, Text, Texts
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

TOKENS = 24


def main(  # noqa: PLR0913 - a command's options
    model: Model = "organism",
    pairs: Annotated[
        Any,
        option(
            Texts,
            "Named sets of contrastive pairs, files, or registered tasks (sea, food, question, "
            "present tense, first person, refusal), separated by commas. Left out: all six "
            "organism:* sets.",
            check=check_behaviours,
            show_default=False,
        ),
    ] = None,
    fits: Annotated[
        int,
        option(
            Annotated[int, Expected("a whole number of at least 2", lambda n: n >= 2)],
            "Halves of train that every method is made from, drawn by group.",
            metavar="INTEGER",
        ),
    ] = 3,
    reads: Annotated[
        Any,
        option(
            Sequence[Read],
            "Where activations are read: at the continuation's last token (last), at the one "
            "before it (last but one), or as the mean over the continuation (mean).",
        ),
    ] = READS,
    layers: Annotated[
        Any,
        option(
            arguments.Layers,
            "The blocks, counted from 0 and separated by commas. Left out: all, or six that are "
            "spread over the model.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str,
        option(
            Text,
            f"The methods: all, or some of {', '.join(METHODS)}, separated by commas.",
            check=method_names,
            metavar="LIST",
        ),
    ] = "all",
    prompts: Annotated[
        int,
        option(Count, "The largest number of test pairs that are read.", metavar="INTEGER"),
    ] = 32,
    text_prompts: Annotated[
        int,
        option(
            CountFromZero,
            "The largest number of test prompts that texts are written after, in every second "
            "layer and by two fits; 0 writes none.",
            metavar="INTEGER",
        ),
    ] = 32,
    tokens: Tokens = TOKENS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count tokens and minutes, and measure nothing else.")
    ] = False,
    out: Out = Path("out/variance"),
    seed: Seed = 0,
) -> None:
    """Measure every cell of the design on one model, or go on with a run."""
    with writing_in(out):
        loaded = ls.load_model(model)
        chosen = [Behaviour.of(name, seed) for name in names_of(pairs)]
        places, names = layers_of(loaded, layers), method_names(methods)
        design = Design(fits, tuple(reads), places, names, prompts, text_prompts, tokens, seed)
        run = Run.of(loaded, chosen, design, out / "journal.jsonl")
        typer.echo(run.cost())
        if dry_run:
            return
        with tqdm(desc=f"units of {model}", total=len(run.units())) as bar:
            bar.update(len(run.journal.done))
            for _ in run.measure():
                bar.update()
        write(run, out, {"model": model, "fingerprint": fingerprint(loaded)} | vars(design))


def write(run: Run, out: Path, origin: dict[str, Any]) -> None:
    """Write every table and the figure of a run in which nothing is missing, and print shares."""
    rows = run.rows()
    save_table(tables.cells_table(rows), out / "cells.csv")
    shares: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    levels, left_out = [], []
    for measure in tables.MEASURES:
        found = tables.grid(rows, measure)
        if found is None:
            continue
        found, without = tables.balanced(found)
        left_out += [{"measure": measure} | row for row in without]
        shares[measure] = tables.shares_table(found)
        changed[measure] = tables.changed_table(found)
        levels.append(tables.levels_table(found).assign(measure=measure))
    save_table(pd.concat(levels, ignore_index=True), out / "levels.csv")
    columns = ["measure", "factor", "level", "lacking"]
    save_table(pd.DataFrame(left_out, columns=columns), out / "left_out.csv")
    together = {
        name: pd.concat([t.assign(measure=m) for m, t in each.items()], ignore_index=True)
        for name, each in (("shares", shares), ("changed", changed))
    }
    save_table(together["changed"], out / "changed.csv")
    save_figure(variance_figure(shares, changed), out / "shares.png", together["shares"], origin)
    show(together["shares"], ["measure", "version", "source", "share", "share_low", "share_high"])
    show(together["changed"])


if __name__ == "__main__":
    start(main, study.__doc__)
