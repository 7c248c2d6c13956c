"""Are layers locally linear, and does it matter? The questions behind A-LQR, answered by layer.

For every behaviour: error of the linear prediction against radius (the text's own Jacobian, the
mean one, the identity, another layer's), predicted against true change of the logits, persistence
of the feature from layer to layer; and whether any of these radii predicts the dose at which texts
collapse. Jacobians and features come from train, diagnostics from test, collapse from dev. The
paper's spectra and subspaces: texts alike, mixed, and with their words in disorder.

    python -m analyses.linearity --out out/linearity
    python -m analyses.linearity --model ../shared/models/stories260k --pairs stories:sad
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.linearity.measures import (
    Case,
    collapses,
    diagnosed,
    rank_correlations,
    skill_by_side,
    skill_radius,
    text_sets,
)
from analyses.studies import names_of, origin_of
from lens_steer import organism
from lens_steer.cli import run_command
from lens_steer.evaluation import judge_of
from lens_steer.figures import canvas, save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.linearity import LinearityReport


def by_layer(name: str, report: LinearityReport) -> Any:
    """A row per layer: every radius, errors and skills."""
    table: Any = report.table()
    table.insert(0, "behaviour", name)
    table["skill_radius"] = skill_radius(report).numpy()
    for radius in (0.1, 1.0):
        number = report.curves.radii.index(radius)
        for predictor in ("own", "mean"):
            found = [
                report.curves.skill(layer, number, predictor, "feature")
                for layer in range(len(table))
            ]
            key = f"skill_{predictor}_{radius:g}"
            table[key] = [each.mean for each in found]
            table[f"{key}_low"], table[f"{key}_high"] = zip(
                *((each.low, each.high) for each in found), strict=True
            )
    for side, found in skill_by_side(report).items():
        key = f"skill_mean_0.1_{side}"
        table[key] = [each.mean for each in found]
        table[f"{key}_low"] = [each.low for each in found]
        table[f"{key}_high"] = [each.high for each in found]
    return table


def save_report(report: LinearityReport, stem: str, out: Path, origin: dict[str, Any]) -> None:
    """A figure with its numbers for each part."""
    curves, persistence, logits = report.curves, report.persistence, report.logits
    numbers = curves.table()
    for direction in ("feature", "contrast", "random"):
        place = out / f"{stem}-error-{direction}.png"
        save_figure(curves.figure(direction), place, numbers, origin)
    save_figure(persistence.figure(), out / f"{stem}-persistence.png", persistence.table(), origin)
    save_figure(logits.figure(), out / f"{stem}-logits.png", logits.table(), origin)


def collapse_figure(table: Any, found: pd.DataFrame) -> Figure:
    """The dose at which texts collapse against each radius, a dot for each behaviour and layer."""
    names = list(dict.fromkeys(table["behaviour"]))
    largest = table["collapse"][table["collapse"] < float("inf")].max()
    radii = list(dict.fromkeys(found["radius"]))
    with canvas(1, len(radii), width=10.5, height=3.6, sharey=True) as (figure, axes):
        for place, radius in zip(axes, radii, strict=True):
            for i, name in enumerate(names):
                part = table[table["behaviour"] == name]
                x, y = part[radius], part["collapse"].clip(upper=1.15 * largest)
                place.plot(x, y, "o", color=f"C{i}", label=name)
            own: Any = found[(found["radius"] == radius) & (found["over"] == "all cells")].iloc[0]
            place.set(xlabel=f"{radius.replace('_', ' ')}, |d| / |z|", xscale="log")
            low, high = place.get_xlim()
            place.set_xticks([x for x in (0.2, 0.3, 0.5, 1, 1.5, 2, 3, 5) if low <= x <= high])
            place.xaxis.set_major_formatter("{x:g}")
            place.minorticks_off()
            place.set_title(f"rank correlation {own.rho:.2f} [{own.low:.2f}, {own.high:.2f}]")
        axes[0].set(ylabel="dose that halves well-formed texts,\n|d| / |z| (top: not reached)")
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=min(len(names), 6))
    return figure


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    most: Annotated[int, typer.Option(min=8, help="Pairs of each part.")] = 64,
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path(
        "out/linearity"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """How linear layers are, how far, and whether it matters."""
    with writing_in(out):
        loaded = ls.load_model(model)
        names = names_of(pairs)
        origin = origin_of(loaded, model=model, pairs=most, seed=seed)
        cases = [Case.of(loaded, name, most, seed) for name in names]
        tables: list[Any] = []
        collapsed: list[Any] = []
        for case in tqdm(cases, desc="linearity"):
            _, features, report = diagnosed(case)
            save_report(report, case.name.replace(":", "-"), out, origin)
            tables.append(by_layer(case.name, report))
            save_table(pd.concat(tables), out / "layers.csv")
            if case.name.startswith("organism:"):  # its judge knows what is well formed
                found = collapses(case, features, judge_of(case.name), tokens)
                collapsed.append(tables[-1].merge(found, on="layer"))
        if collapsed:
            whole = pd.concat(collapsed, ignore_index=True)
            ranks: Any = rank_correlations(whole, seed)
            save_figure(collapse_figure(whole, ranks), out / "collapse.png", whole, origin)
            save_table(ranks, out / "ranks.csv")
            typer.echo(ranks.to_string(index=False, float_format="{:.2f}".format))
        alignment = ls.linearity.align(loaded, text_sets(cases, most, seed), seed=seed)
        save_figure(alignment.figure(), out / "alignment.png", alignment.table(), origin)
        save_figure(alignment.spectra_figure(), out / "spectra.png", alignment.table(), origin)
        shown = ["behaviour", "layer", "trust_radius", "skill_radius", "logit_radius"]
        shown += ["skill_own_0.1", "skill_mean_0.1", "cosine_own", "cosine_identity", "spread"]
        table: Any = pd.concat(tables)[shown]
        typer.echo(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
