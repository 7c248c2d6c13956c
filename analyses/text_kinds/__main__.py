"""The command: `python -m analyses.text_kinds`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

import analyses.text_kinds as study
import lens_steer as ls
from analyses.studies import Model, Out, Seed, fingerprint, show, start
from analyses.text_kinds.chats import CHATS
from analyses.text_kinds.code import CODE
from analyses.text_kinds.fields import field_rows
from analyses.text_kinds.figures import field_by_layer_figure, skill_figure
from analyses.text_kinds.measures import FittedKind, KindParts, measured
from analyses.text_kinds.predictions import OTHER, OWN, SAME
from analyses.text_kinds.prose import PROSE
from analyses.text_kinds.tables import (
    field_summary,
    layer_rows,
    of_errors,
    of_kinds,
    rounded,
    summary,
)
from lens_steer.data import ContrastivePairs
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.models import looked_at

KINDS = (PROSE, CHATS, CODE)
LINES = {
    OWN: "the text's own Jacobian",
    SAME: "mean of its class",
    OTHER: "mean of the other class",
}


def main(
    model: Model = "organism",
    out: Out = Path("out/text_kinds"),
    seed: Seed = 0,
) -> None:
    """Measure every kind of text on one model."""
    with writing_in(out):
        loaded = ls.load_model(model)
        tokenizer: Any = loaded.tokenizer
        template = getattr(tokenizer, "chat_template", None) is not None
        pairs = {kind.name: kind.pairs(template=template) for kind in KINDS}
        origin: dict[str, Any] = {"model": model, "seed": seed, "chat_template": template}
        origin["fingerprint"] = fingerprint(loaded)
        tables: dict[str, Any] = {}
        for tables in tables_of(loaded, pairs, seed):
            write(tables, list(pairs), out, origin)
        for name in ("summary", "field_summary"):
            show(rounded(tables[name]))


def tables_of(
    model: ls.SteerableModel, pairs: Mapping[str, ContrastivePairs], seed: int
) -> Iterator[dict[str, Any]]:
    """All tables by name, of kinds of pairs by name: of one kind, then of two, and so on."""
    kinds = list(pairs)
    parts = {kind: KindParts.of(each, seed) for kind, each in pairs.items()}
    layers: list[dict[str, Any]] = []
    fields: list[dict[str, Any]] = []
    with looked_at(model):  # once, not for each product
        fitted = {kind: FittedKind.of(model, each.fit) for kind, each in parts.items()}
        for kind, each in parts.items():
            blocks = measured(model, fitted, kind, each, seed)
            for block in tqdm(blocks, desc=kind, total=model.cfg.n_layers):
                layers += layer_rows(kind, kinds, block)
            fields += field_rows(model, kind, each, seed)
            of_layers, of_fields = pd.DataFrame(layers), pd.DataFrame(fields)
            yield {
                "layers": of_layers,
                "summary": summary(of_layers, kinds),
                "fields": of_fields,
                "field_summary": field_summary(of_fields),
            }


def write(
    tables: Mapping[str, Any], kinds: Sequence[str], out: Path, origin: Mapping[str, Any]
) -> None:
    """Write every table and figure."""
    small = {name: rounded(table) for name, table in tables.items()}
    layers, fields = small["layers"], small["fields"]
    tested = list(dict.fromkeys(layers["kind"]))
    means = {kind: f"mean of {kind}" for kind in kinds}
    skill, across = skill_figure(layers, LINES, tested), skill_figure(layers, means, tested)
    save_figure(skill, out / "skill.png", of_errors(layers), origin)
    save_figure(across, out / "kinds.png", of_kinds(layers, kinds), origin)
    save_figure(field_by_layer_figure(fields, tested), out / "field.png", fields, origin)
    for name in ("summary", "field_summary"):
        save_table(small[name], out / f"{name}.csv")


if __name__ == "__main__":
    start(main, study.__doc__)
