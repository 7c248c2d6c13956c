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
from analyses.variance.components import FEWEST
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
from analyses.variance.journals import UNSTEERED, Run
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
    names = method_names(methods)
    several = [len(each) > 1 for each in (reads, names, layers or READS)]
    if sum(several) < FEWEST:
        raise ValueError(
            f"--reads {','.join(reads)!r} --methods {methods!r} with these --layers: expected "
            "several values of two of them or more, there is nothing to compare"
        )
    chosen = [Behaviour.of(name, seed) for name in names_of(pairs)]
    with writing_in(out):
        loaded = ls.load_model(model)
        places = layers_of(loaded, layers)
        design = Design(fits, tuple(reads), places, names, prompts, text_prompts, tokens, seed)
        run = Run.of(loaded, chosen, design, out / "journal.jsonl")
        origin = {"model": model, "fingerprint": fingerprint(loaded)} | vars(design)
        typer.echo(run.cost())
        if dry_run:
            return
        with tqdm(desc=f"units of {model}", total=len(run.units())) as bar:
            bar.update(len(run.journal.done))
            for name, *part in run.measure():
                bar.update()
                if name == chosen[-1].name and part[-1] != UNSTEERED:  # a fit is whole
                    write(run, out, origin)
        for measure, (shares, changed) in write(run, out, origin).items():
            typer.echo(measure)
            show(shares, ["version", "source", "share", "share_low", "share_high"])
            show(changed)


def write(run: Run, out: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Write all tables and the figure of the fits that are done.

    Returns:
        By measure, the shares and the differences.

    Raises:
        ValueError: If nothing has been measured in any cell.
    """
    rows = run.rows()
    save_table(tables.cells_table(rows), out / "cells.csv")
    found: dict[str, Any] = {}
    levels, left_out = [], []
    for measure in tables.MEASURES:
        every = tables.grid(rows, measure)
        if every is None:
            continue
        kept, without = tables.balanced(every)
        left_out += [{"measure": measure} | row for row in without]
        if len(kept.varied) < FEWEST:  # so far: of one fit
            continue
        levels.append(tables.levels_table(kept).assign(measure=measure))
        found[measure] = (tables.shares_table(kept), tables.changed_table(kept))
    if not found:
        raise ValueError(
            f"{out}: in too few cells anything was measured, cells.csv says why: expected methods "
            "that can be made and calibrated"
        )
    save_table(pd.concat(levels, ignore_index=True), out / "levels.csv")
    columns = ["measure", "factor", "level", "lacking"]
    save_table(pd.DataFrame(left_out, columns=columns), out / "left_out.csv")
    shares, changed = (
        pd.concat([each[i].assign(measure=m) for m, each in found.items()], ignore_index=True)
        for i in range(2)
    )
    save_table(changed, out / "changed.csv")
    save_figure(variance_figure(found), out / "shares.png", shares, origin)
    return found


if __name__ == "__main__":
    start(main, study.__doc__)
