"""The embedded model's recipe over several seeds: one table of all, one of mean and range.

python -m analyses.organism_seeds out/seed0/card out/seed1/card ... --out analyses/results
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from analyses.organism.card import fill
from lens_steer.cli import run_command
from lens_steer.figures import save_table
from lens_steer.files import write_whole, writing_in

TABLES = ("unsteered", "steering", "doses")
_KEYS = {
    "unsteered": ["behaviour", "prompts", "temperature"],
    "steering": ["task", "scope", "temperature"],
}
_SHOWN = {
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
    """Mean over the runs with the least and the most, as per cent."""
    grouped: Any = table.groupby(_KEYS[name], sort=False)[_SHOWN[name]]
    mean, low, high = (100 * part for part in (grouped.mean(), grouped.min(), grouped.max()))
    cells: Any = (
        mean.map("{:.0f}".format) + low.map(" [{:.0f}, ".format) + high.map("{:.0f}]".format)
    )
    return cells.reset_index()


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders that analyses.organism wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path(
        "analyses/results/organism"
    ),
    card: Annotated[
        Path | None, typer.Option(help="A model card whose table of seeds is brought up to date.")
    ] = None,
) -> None:
    """Gather the tables of several seeds, in the order given."""
    with writing_in(out):
        found = {name: gathered(runs, name) for name in TABLES}
        for name, table in found.items():
            save_table(table, out / f"{name}.csv")
        shown = [ranges(found[name], name).to_string(index=False) for name in _KEYS]
        text = "\n\n".join(shown)
        typer.echo(text)
        if card is not None:
            whole = fill(card.read_text(encoding="utf-8"), "seeds", text)
            write_whole(card, lambda place: place.write_text(whole, encoding="utf-8"))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
