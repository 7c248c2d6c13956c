"""The command: `python -m analyses.organism`."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

import analyses.organism as study
import lens_steer as ls
from analyses.organism import figures, probes
from analyses.organism.card import Card, filled, training_of
from analyses.organism.steering import FORM, steer, unsteered
from analyses.organism.tasks import tasks
from analyses.studies import Out, Seed, fingerprint, show, start
from lens_steer import organism
from lens_steer.arguments import Text
from lens_steer.cli import option
from lens_steer.figures import save_figure, save_table
from lens_steer.files import write_whole, writing_in
from lens_steer.models import SteerableModel, model_directory

POLARITY_READS = ("last", "mean")


def tables_of(model: SteerableModel, seed: int) -> dict[str, pd.DataFrame]:
    """Every table of the card, by name."""
    parts: dict[str, list[pd.DataFrame]] = {"steering": [], "doses": [], "candidates": []}
    for task in tasks():
        for tables, table in zip(parts.values(), steer(model, task, seed=seed), strict=True):
            tables.append(table)
    degrees = [
        probes.by_degree(model, "polarity", seed=seed, read=read).assign(read=read)
        for read in POLARITY_READS
    ]
    return {
        "unsteered": unsteered(model, seed=seed),
        **{name: pd.concat(each, ignore_index=True) for name, each in parts.items()},
        "layers": probes.by_layer(model, seed=seed),
        "heads": probes.by_head(model, seed=seed),
        "degrees": pd.concat(degrees, ignore_index=True),
    }


def write(tables: dict[str, pd.DataFrame], out: Path, origin: dict[str, Any]) -> list[Path]:
    """Save every table, and every figure with its data; returns the files of the figures."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("unsteered", "steering", "candidates"):
        save_table(tables[name], out / f"{name}.csv")
    drawn = {
        "doses": figures.doses(tables["doses"]),
        "layers": figures.layers(tables["layers"], tables["candidates"], FORM),
        "heads": figures.heads(tables["heads"]),
        "degrees": figures.degrees(tables["degrees"], "polarity"),
    }
    for name, figure in drawn.items():
        save_figure(figure, out / f"{name}.png", tables[name], origin)
    return [out / f"{name}.png" for name in drawn]


def main(
    model: Annotated[
        str,
        option(
            Text,
            "The model: organism, or the folder of the weights of one trained anew.",
            check=model_directory,
            metavar="MODEL",
        ),
    ] = "organism",
    out: Out = Path("out/organism"),
    seed: Seed = 0,
    card: Card = None,
) -> None:
    """Make the tables and figures of the embedded model's card."""
    with writing_in(out):
        loaded = ls.load_model(model)
        tables = tables_of(loaded, seed)
        origin = {"model": model, "seed": seed, "fingerprint": fingerprint(loaded)}
        drawn = write(tables, out, origin)
        if card is not None:
            folder = organism.weights() if model == "organism" else Path(model)
            text = filled(card.read_text(encoding="utf-8"), tables, training_of(folder))
            write_whole(card, lambda place: place.write_text(text, encoding="utf-8"))
            (card.parent / "figures").mkdir(exist_ok=True)
            for path in drawn:
                shutil.copy(path, card.parent / "figures")
        for name in ("unsteered", "steering"):
            show(tables[name])


if __name__ == "__main__":
    start(main, study.__doc__)
