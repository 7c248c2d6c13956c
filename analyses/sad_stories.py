"""Does CAA make stories sad, over several splits, and does a random direction of its size?

Each seed splits the pairs anew by name, fits on train, chooses layer and strength on dev, and
reports on test: the paired change in the share of stories with a sad word, with its interval, at
the perplexity it costs.

    python -m analyses.sad_stories --model ../shared/models/stories260k --out out/sad_stories
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure

from lens_steer.benchmark import SHARES
from lens_steer.cli import DemoSettings, examine, run_command
from lens_steer.data import ContrastivePairs
from lens_steer.figures import canvas, save_figure
from lens_steer.files import writing_in
from lens_steer.models import attach, load_model


def table_of(settings: DemoSettings, seeds: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row per seed and direction, and where the numbers come from."""
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    pairs = ContrastivePairs.load(settings.pairs)
    rows = []
    for seed in range(settings.seed, settings.seed + seeds):
        train, dev, test = pairs.split(*SHARES, seed=seed)
        report = examine(model, (train, dev, test), replace(settings, seed=seed))
        unsteered = report.sweep.method[0]
        trials = {"CAA": report.sweep.method, "random": report.sweep.reference}
        for name, trial in ((name, found[report.chosen]) for name, found in trials.items()):
            change = trial.minus(unsteered, seed=seed)
            row = {"seed": seed, "direction": name, "method": repr(report.method)}
            row |= {
                "prompts": len(unsteered.behaviour),
                "unsteered": unsteered.behaviour.mean().item(),
            }
            row |= {"change": change.mean, "change_low": change.low, "change_high": change.high}
            rows.append(row | {"perplexity_ratio": trial.perplexity / unsteered.perplexity})
    origin = {"settings": asdict(settings), "seeds": seeds}
    return pd.DataFrame(rows), origin | {"fingerprint": asdict(attach(model).fingerprint)}


def figure_of(table: pd.DataFrame) -> Figure:
    """The change of every seed with its interval, and what it costs."""
    colour = {"CAA": "C0", "random": "C7"}
    with canvas(1, 2, width=6.4, height=3.0) as (figure, (left, right)):
        for offset, (name, part) in zip((-0.12, 0.12), table.groupby("direction"), strict=True):
            x = part["seed"] + offset
            size = np.stack(
                [part["change"] - part["change_low"], part["change_high"] - part["change"]]
            )
            left.errorbar(
                x, 100 * part["change"], yerr=100 * size, fmt="o", color=colour[str(name)]
            )
            right.plot(x, part["perplexity_ratio"], "o", color=colour[str(name)], label=name)
        left.axhline(0, color="k", lw=0.8)
        left.set(xlabel="seed of split and texts", ylabel="change in sad stories, points")
        right.axhline(2, color="k", lw=0.8, ls=":")
        right.set(xlabel="seed of split and texts", ylabel="perplexity / unsteered", ylim=(0, None))
        right.legend(title=f"{table['prompts'].iloc[0]} test prompts each, 95 %", loc="lower left")
        for axes in (left, right):
            axes.set_xticks(sorted(table["seed"].unique()))
    return figure


def main(
    model: Annotated[str, typer.Option(help="Hub name, or a Hugging Face directory.")],
    out: Annotated[Path, typer.Option(help="Folder for the figure and its data.")] = Path(
        "out/sad_stories"
    ),
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 5,
) -> None:
    """Change in the share of sad stories under CAA and under a random direction, over seeds."""
    settings = DemoSettings(model, "stories:sad", out, seed)
    with writing_in(out):
        table, origin = table_of(settings, seeds)
        save_figure(figure_of(table), out / "sad_stories.png", table, origin)
        typer.echo(
            table.drop(columns="method").to_string(index=False, float_format="{:.3f}".format)
        )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
