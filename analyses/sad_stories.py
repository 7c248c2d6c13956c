"""Does CAA make stories sad, over several splits, and does a random direction of the same cost?

Each seed splits the pairs anew by name, fits on train, chooses layer and strength on dev, and
reports on test: the paired change in the share of stories with a sad word, with its interval, at
the perplexity it costs. Writes sad_stories.png with its data and their origin; a seed takes about
as long as `lens-steer demo`.

    python -m analyses.sad_stories --model ../shared/models/stories260k --out out/sad_stories
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from matplotlib.figure import Figure

from analyses.plots import DOTTED, Series
from analyses.studies import Model, Out, Seed, fingerprint, show, start
from lens_steer.arguments import Count
from lens_steer.benchmark import SHARES
from lens_steer.cli import DemoSettings, examine, option
from lens_steer.data import ContrastivePairs
from lens_steer.figures import canvas, legend_outside, save_figure
from lens_steer.files import writing_in
from lens_steer.models import load_model


def table_of(settings: DemoSettings, seeds: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A row for each seed and direction, and where the numbers come from."""
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    pairs = ContrastivePairs.load(settings.pairs)
    rows = []
    for seed in range(settings.seed, settings.seed + seeds):
        train, dev, test = pairs.split(*SHARES, seed=seed)
        report = examine(model, (train, dev, test), replace(settings, seed=seed))
        unsteered = report.sweep.method[0]
        trials = {"CAA": report.sweep.method, "random": report.sweep.reference}
        for name, doses in trials.items():
            trial = doses[report.chosen]
            row = {"seed": seed, "direction": name, "method": repr(report.method)}
            row |= {"prompts": len(unsteered.behaviour)}
            row |= {"unsteered": unsteered.behaviour.mean().item()}
            row |= trial.minus(unsteered, seed=seed).columns("change")
            rows.append(row | {"perplexity_ratio": trial.perplexity / unsteered.perplexity})
    origin = {"settings": asdict(settings), "seeds": seeds, "fingerprint": fingerprint(model)}
    return pd.DataFrame(rows), origin


def figure_of(table: pd.DataFrame) -> Figure:
    """The change of every seed with its interval, and what it costs."""
    colour = {"CAA": "C0", "random": "C7"}
    with canvas(1, 2, width=6.4, height=3.0) as (figure, (left, right)):
        for offset, (name, part) in zip((-0.12, 0.12), table.groupby("direction"), strict=True):
            x, style = part["seed"] + offset, {"fmt": "o", "color": colour[str(name)]}
            change, bars = Series(str(name), part, "change").values()
            left.errorbar(x, change, yerr=bars, **style)
            right.errorbar(x, part["perplexity_ratio"], label=name, **style)
        left.axhline(0, color="k", lw=0.8)
        left.set(xlabel="seed of split and texts", ylabel="change in sad stories, points")
        right.axhline(2, **DOTTED)
        right.set(xlabel="seed of split and texts", ylabel="perplexity / unsteered", ylim=(0, None))
        for axes in (left, right):
            axes.set_xticks(sorted(table["seed"].unique()))
        title = f"{table['prompts'].iloc[0]} test prompts each, 95 % intervals"
        legend_outside(figure, right, title=title)
    return figure


def main(
    model: Model,
    out: Out = Path("out/sad_stories"),
    seed: Seed = 0,
    seeds: Annotated[
        int, option(Count, "The number of seeds, from --seed on.", metavar="INTEGER")
    ] = 5,
) -> None:
    """Measure the change in the share of sad stories under CAA and a random direction."""
    settings = DemoSettings(model, "stories:sad", out, seed)
    with writing_in(out):
        table, origin = table_of(settings, seeds)
        save_figure(figure_of(table), out / "sad_stories.png", table, origin)
        show(table.drop(columns="method"))


if __name__ == "__main__":
    start(main, __doc__)
