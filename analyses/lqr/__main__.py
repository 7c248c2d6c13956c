"""Regulators at equal cost, what set-points do, and what is promised about them.

For every behaviour: the published law, ours and the baselines, each chosen on dev at 0.1 nats per
token and judged on test by behaviour and by a probe that none has seen; behaviour against lambda;
features over layers and tokens beside their set-points; whether the loops in use contract, and how
wide bounds on feature errors are; what last-token Jacobians leave out where all tokens are steered.

    python -m analyses.lqr --out out/lqr
    python -m analyses.lqr --model ../shared/models/stories260k --pairs stories:sad --tokens 40
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure

import lens_steer as ls
from analyses.lqr.laws import LAWS
from analyses.lqr.measures import Case, Matched, by_lambda
from analyses.lqr.tracking import followed
from analyses.studies import Tables, names_of, one_by_one, origin_of, show
from lens_steer import organism
from lens_steer.benchmark import ComparisonConfig
from lens_steer.cli import run_command
from lens_steer.figures import canvas, save_figure, save_table
from lens_steer.files import writing_in

ORDER = ("unsteered", "random", "CAA", *LAWS)
MULTIPLES = (0.5, 1.0, 1.4)
_SCORES = {"behaviour": "behaviour, %", "probe": "fresh probe, %", "kl": "nats per token"}


def matched_figure(table: Any) -> Figure:
    """Behaviour, probe and realised cost on test of every method, every behaviour a dot."""
    names = list(dict.fromkeys(table["behaviour_name"]))
    methods = [name for name in ORDER if name in set(table["method"])]
    with canvas(1, len(_SCORES), width=10.5, height=4.4, sharey=True) as (figure, axes):
        for place, (score, label) in zip(axes, _SCORES.items(), strict=True):
            scale = 1 if score == "kl" else 100
            for i, name in enumerate(names):
                own = table[table["behaviour_name"] == name].set_index("method")
                own = own.reindex(methods)
                y = [methods.index(m) + 0.11 * (i - (len(names) - 1) / 2) for m in own.index]
                x, low, high = (scale * own[f"{score}{end}"] for end in ("", "_low", "_high"))
                bars = [(x - low).clip(lower=0).to_numpy(), (high - x).clip(lower=0).to_numpy()]
                short = name.partition(":")[2] or name
                style = {"fmt": "o", "ms": 3, "lw": 0.8, "color": f"C{i}", "label": short}
                place.errorbar(x.to_numpy(), y, xerr=bars, **style)
            place.set(xlabel=label)
        axes[-1].axvline(0.1, color="k", lw=0.8, ls=":")
        axes[0].set_yticks(range(len(methods)), methods)
        axes[0].invert_yaxis()
        lines = axes[0].get_legend_handles_labels()
        title = "chosen on dev at 0.1 nats per token, shown on test; 95 % intervals"
        figure.legend(*lines, loc="outside lower center", ncols=6, title=title)
    return figure


def lambda_figure(table: Any) -> Figure:
    """Behaviour and cost against lambda, at strength 1."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    width = max(5.5, 1.2 + 1.9 * len(names))
    size: dict[str, Any] = {"width": width, "height": 4.4, "squeeze": False}
    with canvas(2, len(names), sharex=True, sharey="row", **size) as (figure, grid):
        for column, name in zip(grid.T, names, strict=True):
            for i, law in enumerate(dict.fromkeys(table["law"])):
                own = table[(table["behaviour_set"] == name) & (table["law"] == law)]
                x = own["lambda"].to_numpy()
                column[0].plot(x, 100 * own["share"], "o-", ms=3, color=f"C{i}", label=law)
                ends = (100 * own[f"share_{end}"] for end in ("low", "high"))
                column[0].fill_between(x, *ends, color=f"C{i}", alpha=0.15, lw=0)
                column[1].plot(x, own["kl"], "o-", ms=3, color=f"C{i}")
            column[0].set(title=name.partition(":")[2] or name)
            column[1].set(xlabel="$\\lambda$")
            column[1].set_yscale("symlog", linthresh=0.1)
        grid[0, 0].set(ylabel="behaviour, %")
        grid[1, 0].set(ylabel="nats per token")
        lines = grid[0, 0].get_legend_handles_labels()
        title = "strength 1, test prompts; bands 95 %\n1 is the desired mean, if centred"
        figure.legend(*lines, loc="outside lower center", ncols=4, title=title)
    return figure


def study(case: Case, out: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """All that is measured of one behaviour; its own figures are saved at once."""
    stem = case.name.replace(":", "-")
    matched = Matched.of(case)
    tables = {"matched": matched.table(case), "lambda": by_lambda(case)}
    features, figures = followed(case, matched.methods)
    for name, (figure, table) in figures.items():
        save_figure(figure, out / f"{stem}-{name}.png", table, origin)
    tables["tracking"] = features
    missing = [{"method": name, "why": why} for name, why in matched.missing.items()]
    tables["missing"] = pd.DataFrame(missing, columns=["method", "why"])
    return {name: table.assign(behaviour_set=case.name) for name, table in tables.items()}


def report(tables: Tables, out: Path, origin: dict[str, Any]) -> None:
    """Tables and figures of all behaviours so far."""
    for key, table in tables.items():
        save_table(table, out / f"{key}.csv")
    for key, draw in (("matched", matched_figure), ("lambda", lambda_figure)):
        save_figure(draw(tables[key]), out / f"{key}.png", tables[key], origin)


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    reads: Annotated[str, typer.Option(help="Of `mean`, `last`; chosen on dev.")] = "mean,last",
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path("out/lqr"),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """What regulators do at equal cost, and how far their set-points and bounds hold."""
    with writing_in(out):
        loaded = ls.load_model(model)
        texts = {"temperature": 0.7, "max_new_tokens": tokens}
        terms = ComparisonConfig(seed=seed, multiples=MULTIPLES, randoms=2, best_of=2, **texts)
        origin = origin_of(loaded, model=model, seed=seed, reads=reads)
        positions = tuple(reads.split(","))
        found = one_by_one(
            names_of(pairs),
            "lqr",
            lambda name: study(Case.of(loaded, name, positions, terms), out, origin),
            lambda tables: report(tables, out, origin),
        )
        show(
            found["matched"], ["method", "behaviour", "probe", "kl", "efficiency", "behaviour_set"]
        )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
