"""What flows along barriers do, against one step, against lines, and against vectors.

For every behaviour: ODESteer on the exact cross-validated barrier, the same barrier in one
rotation, the published sketch in Euler steps, the flow along a linear probe, and CAA; for
`organism:polarity` also two CAA vectors, told which is wanted. Layer and read position of each are
chosen on dev from one grid, at 0.1 nats per token, and shown on test; the grid has the layers of
`--layers` alone, to save time. Then all turn by the same angles; and how linear the fields are.

    python -m analyses.odesteer --out out/odesteer
    python -m analyses.odesteer --model ../shared/models/stories260k --pairs stories:sad --tokens 40
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import lens_steer as ls
from analyses.lqr.measures import Case
from analyses.odesteer.figures import (
    angle_figure,
    differences_figure,
    field_figure,
    matched_figure,
)
from analyses.odesteer.measures import AGAINST, Matched, by_angle, of_fields
from analyses.odesteer.methods import ways
from analyses.studies import names_of, one_by_one, origin_of, show
from lens_steer import organism
from lens_steer.benchmark import ComparisonConfig, holm
from lens_steer.cli import run_command
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

MULTIPLES = (1.0, 1.4)
_FIGURES = {
    "matched": matched_figure,
    "angle": angle_figure,
    "differences": differences_figure,
    "fields": field_figure,
}


def study(case: Case, layers: tuple[int, ...]) -> dict[str, Any]:
    """All that is measured of one behaviour."""
    matched = Matched.of(case, layers, ways(case.name))
    missing = [{"method": name, "why": why} for name, why in matched.missing.items()]
    tables = {
        "matched": matched.table(),
        "differences": matched.differences(AGAINST),
        "angle": by_angle(case, matched),
        "fields": of_fields(case),
        "missing": pd.DataFrame(missing, columns=["method", "why"]),
    }
    return {name: table.assign(behaviour_set=case.name) for name, table in tables.items()}


def report(tables: dict[str, Any], out: Path, origin: dict[str, Any]) -> None:
    """Tables and figures of all behaviours; p-values are corrected over all of them."""
    corrected = tables["differences"].assign(p_holm=holm(list(tables["differences"]["p"])))
    for name, table in {**tables, "differences": corrected}.items():
        if name in _FIGURES:
            save_figure(_FIGURES[name](table), out / f"{name}.png", table, origin)
        else:
            save_table(table, out / f"{name}.csv")


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    reads: Annotated[str, typer.Option(help="Of `mean`, `last`; chosen on dev.")] = "mean,last",
    layers: Annotated[str, typer.Option(help="Blocks, with commas; chosen on dev.")] = "1,3",
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path(
        "out/odesteer"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """What flows along barriers do at equal cost and at equal angle."""
    with writing_in(out):
        loaded = ls.load_model(model)
        texts = {"temperature": 0.7, "max_new_tokens": tokens}
        terms = ComparisonConfig(seed=seed, multiples=MULTIPLES, randoms=1, best_of=2, **texts)
        origin = origin_of(loaded, model=model, seed=seed, reads=reads, layers=layers)
        blocks, positions = tuple(map(int, layers.split(","))), tuple(reads.split(","))
        found = one_by_one(
            names_of(pairs),
            "odesteer",
            lambda name: study(Case.of(loaded, name, positions, terms), blocks),
            lambda tables: report(tables, out, origin),
        )
        columns = ["method", "behaviour", "kl", "failed", "read", "layer", "behaviour_set"]
        show(found["matched"], columns)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
