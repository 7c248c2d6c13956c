"""The embedded model's recipe over several seeds: the tables of all runs, and their ranges.

Reads what analyses.organism wrote for each run. Writes unsteered, steering and doses, each with the
number of the run in the order of the folders, and prints means with the least and the most of all
runs. With --card, the table of seeds in a model card is brought up to date. It takes seconds.

    python -m analyses.organism_seeds out/seed0/card out/seed1/card --out analyses/results/organism
"""

import os
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from analyses.organism.card import Card, fill
from analyses.studies import Out, start
from lens_steer.arguments import Expected
from lens_steer.cli import option
from lens_steer.figures import save_table
from lens_steer.files import write_whole, writing_in

TABLES = ("unsteered", "steering", "doses")
_KEYS = {
    "unsteered": ["behaviour", "prompts", "temperature"],
    "steering": ["task", "scope", "temperature"],
}
_SCORES = {
    "unsteered": ["behaviour_mean", "well_formed"],
    "steering": ["unsteered", "behaviour_mean", "well_formed", "random"],
}


def gathered(folders: list[Path], name: str) -> pd.DataFrame:
    """One table of all runs, with the number of the run."""
    parts = []
    for run, folder in enumerate(folders):
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise ValueError(f"no {path}: expected what analyses.organism writes to its --out")
        parts.append(pd.read_csv(path).assign(run=run))
    return pd.concat(parts, ignore_index=True)


def ranges(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Means over the runs with the least and the most, in percent."""
    grouped: Any = table.groupby(_KEYS[name], sort=False)[_SCORES[name]]
    mean, low, high = (100 * part for part in (grouped.mean(), grouped.min(), grouped.max()))
    cells: Any = (
        mean.map("{:.0f}".format) + low.map(" [{:.0f}, ".format) + high.map("{:.0f}]".format)
    )
    return cells.reset_index()


def _has_tables(folder: Path) -> bool:
    return all(os.path.isfile(folder / f"{name}.csv") for name in TABLES)


def main(
    runs: Annotated[
        list[Path],
        option(
            Annotated[Path, Expected("a folder that analyses.organism wrote", _has_tables)],
            "The folders that analyses.organism wrote.",
            kind=typer.Argument,
            metavar="RUNS...",
        ),
    ],
    out: Out = Path("analyses/results/organism"),
    card: Card = None,
) -> None:
    """Gather the tables of several runs."""
    if len(set(runs)) < len(runs):
        raise ValueError(f"RUNS {[*map(str, runs)]}: expected every folder once")
    with writing_in(out):
        tables = {name: gathered(runs, name) for name in TABLES}
        for name, table in tables.items():
            save_table(table, out / f"{name}.csv")
        text = "\n\n".join(ranges(tables[name], name).to_string(index=False) for name in _KEYS)
        typer.echo(text)
        if card is not None:
            whole = fill(card.read_text(encoding="utf-8"), "seeds", text)
            write_whole(card, lambda place: place.write_text(whole, encoding="utf-8"))


if __name__ == "__main__":
    start(main, __doc__)
