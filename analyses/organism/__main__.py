"""The embedded model's card: what it does, what CAA makes of it, where its latents are.

Held-out prompts, split by entity and wording; layer, size and read position chosen on dev.

    python -m analyses.organism --out out/organism                 # the model in the package
    python -m analyses.organism --model out/seed1/weights --out out/seed1/card
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import lens_steer as ls
from analyses.organism import figures, probes
from analyses.organism.card import filled, training_of
from analyses.organism.steering import FORM, steer, unsteered
from analyses.organism.tasks import tasks
from lens_steer import organism
from lens_steer.cli import run_command
from lens_steer.figures import save_figure, save_table
from lens_steer.files import write_whole, writing_in
from lens_steer.models import SteerableModel, attach

POLARITY_READS = ("last", "mean")


def tables_of(model: SteerableModel, seed: int) -> dict[str, pd.DataFrame]:
    """Every table of the card, by name."""
    parts: dict[str, list[pd.DataFrame]] = {"steering": [], "doses": [], "candidates": []}
    for task in tasks():
        for kept, found in zip(parts.values(), steer(model, task, seed=seed), strict=True):
            kept.append(found)
    degrees = [
        probes.by_degree(model, "polarity", seed=seed, read=read).assign(read=read)
        for read in POLARITY_READS
    ]
    return {
        "unsteered": unsteered(model, seed=seed),
        **{name: pd.concat(found, ignore_index=True) for name, found in parts.items()},
        "layers": probes.by_layer(model, seed=seed),
        "heads": probes.by_head(model, seed=seed),
        "degrees": pd.concat(degrees, ignore_index=True),
    }


def write(tables: dict[str, pd.DataFrame], out: Path, origin: dict[str, Any]) -> list[Path]:
    """Every table as .csv, and the figures, which are returned, with their data."""
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
        str, typer.Option(help="organism, or the weights folder of one trained anew.")
    ] = "organism",
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")] = Path(
        "out/organism"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the texts.")] = 0,
    card: Annotated[
        Path | None, typer.Option(help="A model card to bring up to date; figures go beside it.")
    ] = None,
) -> None:
    """Tables and figures of the embedded model's card; a quarter of an hour on one core."""
    with writing_in(out):
        loaded = ls.load_model(model)
        tables = tables_of(loaded, seed)
        origin = {"model": model, "seed": seed, "fingerprint": asdict(attach(loaded).fingerprint)}
        drawn = write(tables, out, origin)
        if card is not None:
            folder = organism.weights() if model == "organism" else Path(model)
            text = filled(card.read_text(encoding="utf-8"), tables, training_of(folder))
            write_whole(card, lambda place: place.write_text(text, encoding="utf-8"))
            (card.parent / "figures").mkdir(exist_ok=True)
            for path in drawn:
                shutil.copy(path, card.parent / "figures")
        for name in ("unsteered", "steering"):
            typer.echo(tables[name].to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
