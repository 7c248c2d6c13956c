"""The tables of the embedded model's card, as text between its markers."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from lens_steer.arguments import Expected
from lens_steer.cli import option

_SCORES = ("behaviour_mean", "low", "high", "well_formed")
_COLUMNS = {
    "unsteered": ["behaviour", "prompts", "temperature", "n", *_SCORES, "perplexity"],
    "steering": [
        "task",
        "scope",
        "temperature",
        "read",
        "layer",
        "size",
        "n",
        "unsteered",
        *_SCORES,
        "random",
        "random_low",
        "random_high",
    ],
}


def _is_card(path: Path) -> bool:
    return os.path.isfile(path) and "<!-- begin " in path.read_text(encoding="utf-8")


Card = Annotated[
    Path | None,
    option(
        Annotated[Path, Expected("a model card with places for tables (begin ...)", _is_card)],
        "A model card whose tables are brought up to date; left out: none.",
        metavar="FILE",
    ),
]


def fill(card: str, name: str, text: str) -> str:
    """The card with `text` between the markers of that name.

    Raises:
        ValueError: If the card has no such markers.
    """
    place = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not place.search(card):
        raise ValueError(f"the card has no markers 'begin {name}' and 'end {name}'")
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return place.sub(lambda marks: f"{marks[1]}\n{indented}\n{marks[2]}", card)


def filled(card: str, tables: dict[str, pd.DataFrame], training: dict[str, Any]) -> str:
    """The card with this model's tables."""
    for name, columns in _COLUMNS.items():
        card = fill(card, name, plain(tables[name][columns]))
    by_layer = tables["layers"].pivot_table(
        index=["behaviour", "read"], columns="layer", values="accuracy", sort=False
    )
    degrees = tables["degrees"].pivot_table(
        index=["read", "probe"], columns="layer", values="accuracy", sort=False
    )
    for name, table in (("layers", by_layer), ("degrees", degrees)):
        percent = (100 * table).round().astype(int).reset_index()
        card = fill(card, name, percent.to_string(index=False))
    return fill(card, "training", trained(training))


def trained(training: dict[str, Any]) -> str:
    """The recipe, how long it took, and how the loss came down to the grammar's."""
    recipe, lines = training["recipe"], training["log"]
    table = pd.DataFrame([line for i, line in enumerate(lines) if (i + 1) % 2 == 0])
    table["above_floor"] = table["loss"] - table["floor"]
    size = f"{recipe['steps']} steps of {recipe['texts']} texts"
    took = f"{lines[-1]['seconds'] / 60:.0f} minutes, torch {training['torch']}"
    losses = plain(table[["step", "loss", "floor", "above_floor"]])
    head = f"seed {recipe['seed']}, {size}, peak rate {recipe['peak']:g}; {took}\n"
    return f"{head}held-out nats per token, the model's and the grammar's own\n{losses}"


def plain(table: Any) -> str:
    """A table as text, with three digits."""
    return table.to_string(index=False, float_format="{:.3f}".format)


def training_of(folder: Path) -> dict[str, Any]:
    """The record of the training, which lies beside the weights."""
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))
