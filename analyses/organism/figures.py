"""Figures of the embedded model: behaviour against the dose, and where its latents are."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lens_steer.figures import canvas, legend_outside


def doses(table: pd.DataFrame) -> Figure:
    """Behaviour and well-formedness against the size of the push, for every task."""
    tasks = list(dict.fromkeys(table["task"]))
    columns = -(-len(tasks) // 2)
    with canvas(2, columns, width=2.3 * columns, height=4.6, sharex=True, sharey=True) as drawn:
        figure, axes = drawn
        for ax, task in zip(axes.flat, tasks, strict=False):
            for name, colour in (("CAA", "C0"), ("random", "C7")):
                part: Any = table[(table["task"] == task) & (table["direction"] == name)]
                x = part["size"]
                ax.plot(x, part["behaviour_mean"], "o-", ms=3, color=colour, label=name)
                ax.fill_between(x, part["low"], part["high"], color=colour, alpha=0.2, lw=0)
                ax.plot(x, part["well_formed"], "x:", ms=3, color=colour, lw=1)
            row: Any = table[table["task"] == task].iloc[0]
            chosen = f"layer {row['layer']}, read {row['read']}, n = {row['n']}"
            ax.set_title(f"{task}\n{chosen}", fontsize=8)
            ax.set(ylim=(-0.02, 1.02))
        for ax in axes.flat[len(tasks) :]:
            ax.set_axis_off()
        legend_outside(figure, axes.flat[0])
        for ax in axes[:, 0]:
            ax.set_ylabel("share of texts, 95 % interval\n(crosses: well formed)")
        for ax in axes.flat[len(tasks) - columns : len(tasks)]:  # nothing is below them
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("|push| / median |activation|")
    return figure


def layers(probes: pd.DataFrame, candidates: pd.DataFrame, form: float) -> Figure:
    """Held-out probe accuracy by layer, and the most that steering at the layer does on dev.

    Only candidates count that leave at least the share `form` of the texts well formed.
    """
    names = list(dict.fromkeys(probes["behaviour"]))
    with canvas(2, 3, width=7.2, height=4.4, sharex=True, sharey=True) as (figure, axes):
        for ax, name in zip(axes.flat, names, strict=True):
            for read, marker in (("told by the persona", "o-"), ("shown by the text", "s-")):
                part = probes[(probes["behaviour"] == name) & (probes["read"] == read)]
                ax.plot(part["layer"], part["accuracy"], marker, ms=3, label=f"probe: {read}")
            whole = candidates["well_formed"] >= form
            best: Any = candidates[(candidates["task"] == name) & whole]
            best = best.groupby("layer")["behaviour"].max()
            label = f"CAA on dev, {100 * form:.0f} % well formed"
            ax.plot(best.index, best, "^--", ms=3, color="k", label=label)
            ax.axhline(0.5, color="k", lw=0.6, ls=":")
            ax.set_title(name, fontsize=8)
            ax.set(ylim=(0, 1.02))
        for ax in axes[:, 0]:
            ax.set_ylabel("held-out accuracy,\nshare of steered texts")
        for ax in axes[-1]:
            ax.set_xlabel("layer (-1: embedding)")
        legend_outside(figure, axes.flat[0], columns=3)
    return figure


def heads(table: pd.DataFrame) -> Figure:
    """Held-out accuracy of a probe on each head's output."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    names, scale = list(dict.fromkeys(table["behaviour"])), Normalize(0.5, 1)
    with canvas(2, 3, width=7.2, height=5.0, sharex=True, sharey=True) as (figure, axes):
        for ax, name in zip(axes.flat, names, strict=True):
            part = table[table["behaviour"] == name]
            grid = part.pivot_table(index="layer", columns="head", values="accuracy")
            ax.imshow(grid, norm=scale, cmap="viridis", aspect="auto", origin="lower")
            for layer in grid.index:
                for head in grid.columns:
                    value = grid.loc[layer, head]
                    colour = "w" if value < 0.8 else "k"
                    text = f"{100 * value:.0f}"
                    ax.text(head, layer, text, ha="center", va="center", color=colour, fontsize=6)
            ax.set_title(name, fontsize=8)
            ax.set_xticks(list(grid.columns))
            ax.set_yticks(list(grid.index))
        for ax in axes[:, 0]:
            ax.set_ylabel("layer")
        for ax in axes[-1]:
            ax.set_xlabel("head")
        shades = ScalarMappable(scale, "viridis")
        figure.colorbar(shades, ax=axes, label="held-out accuracy of a linear probe")
    return figure


def degrees(table: pd.DataFrame, name: str) -> Figure:
    """A linear and a degree-2 probe by layer, for each read position."""
    reads = list(dict.fromkeys(table["read"]))
    with canvas(1, len(reads), width=2.8 * len(reads), height=2.8, sharey=True) as (figure, axes):
        for ax, read in zip(axes.flat, reads, strict=True):
            for probe, marker in (("linear", "o-"), ("degree 2", "s-")):
                part = table[(table["read"] == read) & (table["probe"] == probe)]
                ax.plot(part["layer"], part["accuracy"], marker, ms=3, label=probe)
            for level in (0.65, 0.9):
                ax.axhline(level, color="k", lw=0.6, ls=":")
            ax.set(xlabel="layer (-1: embedding)", ylim=(0, 1.02))
            ax.set_title(f"{name}, read {read}", fontsize=8)
        axes.flat[0].set_ylabel("held-out accuracy")
        legend_outside(figure, axes.flat[0])
    return figure
