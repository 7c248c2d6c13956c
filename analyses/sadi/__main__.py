"""SADI, element by element: which are chosen, how far to trust it, and what scaling them does.

For every behaviour and kind of element (heads, neurons, MLP outputs): the published choice, its
stability against the number of pairs, what ablating it costs beside random elements of the same
layers and beside the choice by true effect, the signs of what is scaled, the grid of k and delta
with KL beside accuracy (on dev), and the paper's ablation {mask, random mask, fixed vector} at
equal nats per token (on test).

    python -m analyses.sadi --out out/sadi
    python -m analyses.sadi --model ../shared/models/stories260k --pairs stories:sad --read last
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.sadi.measures import STEERED, Case, Findings, findings
from analyses.studies import names_of, origin_of
from lens_steer import organism
from lens_steer.benchmark import SHARES
from lens_steer.cli import run_command
from lens_steer.evaluation import judge_of
from lens_steer.figures import canvas, save_figure, save_table
from lens_steer.files import writing_in

COLOURS = {"mask": "C0", "signed mask": "C2", "random mask": "C7", "fixed vector": "C1"}


def case_of(model: ls.SteerableModel, name: str, read: Any, tokens: int, seed: int) -> Case:
    """One behaviour's parts."""
    pairs = ls.ContrastivePairs.load(name)
    train, dev, test = pairs.split(*SHARES, seed=seed)
    texts = {"temperature": 0.7, "max_new_tokens": tokens}
    return Case(model, name, train, dev.first(48), test, judge_of(name), read, texts, seed)


def summary(name: str, kind: str, found: Findings) -> dict[str, Any]:
    """One row: what there is to be said of a kind on a behaviour."""
    k = STEERED[kind]
    beyond = found.ablation.beyond_random(k) if k in found.ablation.ks else None
    row: dict[str, Any] = {"behaviour": name, "kind": kind, "k": k}
    row |= found.signs.share.columns("right_sign")
    halves = found.stability.table()["halves"].dropna()
    row |= {"overlap_of_halves": float(halves.iloc[-1]) if len(halves) else float("nan")}
    row |= beyond.columns("ablation_beyond_random") if beyond else {}
    if found.true_ablation is not None and found.agreement is not None:
        row |= found.true_ablation.beyond_random(k).columns("true_beyond_random")
        table: Any = found.agreement.table()
        with_truth = table[table["b"] == "true effect"].set_index("a")["rank_correlation"]
        row |= {f"rank_{name}_effect": value for name, value in with_truth.items()}
    return row


def figure_of(table: Any) -> Figure:
    """What each way gains on test at the same cost on dev, every behaviour and kind."""
    kinds = list(dict.fromkeys(table["kind"]))
    names = list(dict.fromkeys(table["behaviour_set"]))
    size = {"width": 3.2 * len(kinds), "height": 1.2 + 0.55 * len(names)}
    with canvas(1, len(kinds), squeeze=False, sharey=True, **size) as (figure, axes):
        for place, kind in zip(axes.flat, kinds, strict=True):
            for offset, (way, colour) in enumerate(COLOURS.items()):
                part = table[(table["kind"] == kind) & (table["way"] == way)]
                y = [names.index(n) + 0.18 * (offset - 1.5) for n in part["behaviour_set"]]
                span = [part["change"] - part["change_low"], part["change_high"] - part["change"]]
                bars = [(100 * side).to_numpy() for side in span]
                style = {"fmt": "o", "color": colour, "label": way}
                place.errorbar(100 * part["change"], y, xerr=bars, **style)
            place.axvline(0, color="k", lw=0.8)
            place.set(title=f"{kind}, k = {STEERED[kind]}", xlabel="change on test, points")
        axes.flat[0].set_yticks(range(len(names)), names)
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(COLOURS),
            title="0.1 nats per token on dev; 95 % intervals",
        )
    return figure


def save_findings(found: Findings, stem: str, out: Path, origin: dict[str, Any]) -> None:
    """A figure with its numbers for each report."""
    scores: Any = found.scores
    save_figure(scores.figure(found.mask), out / f"{stem}-scores.png", scores.table(), origin)
    save_figure(found.mask.figure(), out / f"{stem}-layers.png", found.mask.table(), origin)
    for name in ("ablation", "stability", "grid", "agreement", "true_ablation"):
        report = getattr(found, name)
        if report is not None:
            save_figure(report.figure(), out / f"{stem}-{name}.png", report.table(), origin)
    save_figure(found.grid.dose_figure(), out / f"{stem}-dose.png", found.grid.table(), origin)


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    kinds: Annotated[str, typer.Option(help="Of head, neuron, mlp_out.")] = "head,neuron,mlp_out",
    read: Annotated[str, typer.Option(help="`mean` or `last`.")] = "mean",
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path("out/sadi"),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """Which elements carry a behaviour, and what scaling them does."""
    with writing_in(out):
        loaded = ls.load_model(model)
        names = names_of(pairs)
        origin = origin_of(loaded, model=model, read=read, seed=seed)
        rows: list[dict[str, Any]] = []
        tables: list[pd.DataFrame] = []
        for name, kind in tqdm([(n, k) for n in names for k in kinds.split(",")], desc="sadi"):
            found = findings(case_of(loaded, name, read, tokens, seed), kind)
            save_findings(found, f"{name.replace(':', '-')}-{kind}", out, origin)
            rows.append(summary(name, kind, found))
            tables.append(found.compared.assign(behaviour_set=name, kind=kind))
            whole = pd.concat(tables, ignore_index=True)
            save_figure(figure_of(whole), out / "ways.png", whole, origin)
            save_table(pd.DataFrame(rows), out / "summary.csv")
        typer.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))
        typer.echo(pd.concat(tables).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
