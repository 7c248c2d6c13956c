"""Which assumption buys the gain: one family of methods, one switch at a time.

A push at one layer along M J' w: readout w, Jacobian J to where w reads, metric M, taken in one
step. CAA is the class difference with J = M = I; each other member changes one of these (the LDA
readout with the covariance metric changes two, and is CAA again: a check). Layer and read position
of each are chosen on dev from one grid at 0.1 nats per token, and shown on test, less CAA.

    python -m analyses.unification --out out/unification
    python -m analyses.unification --pairs organism:sentiment,organism:toxicity
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from torch.nn.functional import cosine_similarity

import lens_steer as ls
from analyses.lqr.measures import Case
from analyses.odesteer.measures import Matched
from analyses.odesteer.methods import Way
from analyses.studies import names_of, one_by_one, origin_of, show
from analyses.unification.figures import differences_figure
from analyses.unification.methods import AGAINST, BASE, MEMBERS, PUSHES
from lens_steer import organism
from lens_steer.benchmark import ComparisonConfig, FitCache, holm
from lens_steer.cli import run_command
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

MULTIPLES = (1.0, 1.4)


def directions(inputs: FitCache, layers: tuple[int, ...]) -> Any:
    """Cosine of every member's push with CAA's, wherever it may be chosen."""
    rows = []
    for setting in Way(BASE, MEMBERS[BASE], layers).grid(inputs):
        vectors = {}
        for name, (readout, metric) in PUSHES.items():
            vectors[name] = metric(inputs, setting, readout(inputs, setting))
        for name, vector in vectors.items():
            cosine = float(cosine_similarity(vector, vectors[BASE], dim=0))
            rows.append({**setting, "method": name, "cosine": cosine})
    return pd.DataFrame(rows)


def study(case: Case, layers: tuple[int, ...]) -> dict[str, Any]:
    """All that is measured of one behaviour."""
    matched = Matched.of(case, layers, MEMBERS)
    missing = [{"method": name, "why": why} for name, why in matched.missing.items()]
    tables = {
        "matched": matched.table(),
        "differences": matched.differences(AGAINST),
        "directions": directions(case.inputs, layers),
        "missing": pd.DataFrame(missing, columns=["method", "why"]),
    }
    return {name: table.assign(behaviour_set=case.name) for name, table in tables.items()}


def report(tables: dict[str, Any], out: Path, origin: dict[str, Any]) -> None:
    """Tables and the figure; p-values are corrected over all behaviours and switches."""
    differences = tables["differences"]
    differences = differences.assign(p_holm=holm(list(differences["p"])))
    save_figure(differences_figure(differences), out / "differences.png", differences, origin)
    for name in ("matched", "directions", "missing"):
        save_table(tables[name], out / f"{name}.csv")


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    reads: Annotated[str, typer.Option(help="Of `mean`, `last`; chosen on dev.")] = "mean,last",
    layers: Annotated[str, typer.Option(help="Blocks, with commas; chosen on dev.")] = "1,3",
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path(
        "out/unification"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """Which assumption of a steering method buys its gain."""
    with writing_in(out):
        loaded = ls.load_model(model)
        texts = {"temperature": 0.7, "max_new_tokens": tokens}
        terms = ComparisonConfig(seed=seed, multiples=MULTIPLES, randoms=1, best_of=2, **texts)
        origin = origin_of(loaded, model=model, seed=seed, reads=reads, layers=layers)
        blocks, positions = tuple(map(int, layers.split(","))), tuple(reads.split(","))
        found = one_by_one(
            names_of(pairs),
            "unification",
            lambda name: study(Case.of(loaded, name, positions, terms), blocks),
            lambda tables: report(tables, out, origin),
        )
        columns = ["method", "behaviour", "kl", "failed", "read", "layer", "behaviour_set"]
        show(found["matched"], columns)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
