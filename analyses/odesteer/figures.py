"""Figures of all behaviours, a colour for each, 95 % intervals on all."""

from typing import Any

from matplotlib.figure import Figure

from analyses.odesteer.methods import GATED
from analyses.plots import DOTTED, Series, band, dot_plot, legend, series_by, short
from lens_steer.figures import canvas

ORDER = (
    "unsteered",
    "random",
    "best of n",
    "CAA",
    GATED,
    "linear probe",
    "published sketch",
    "one step",
    "ODESteer",
)
SCORES = {
    "behaviour": ("texts with the behaviour, %", 100),
    "kl": ("cost, nats per token", 1),
    "failed": ("empty or ill-formed texts, %", 100),
}
CHANGES = {
    "change": "texts with the behaviour, points,\nat the cost on test",
    "at_0.1": "texts with the behaviour, points,\nat 0.1 nats per token",
}


def differences_figure(table: Any) -> Figure:
    """ODESteer less each of the other methods, prompt by prompt."""
    others = [name for name in ORDER if name in set(table["other"])]
    panels = {
        label: series_by(table, "behaviour_name", column, others, key="other")
        for column, label in CHANGES.items()
    }
    with dot_plot(panels, others, width=8.5, height=3.8) as (figure, axes):
        for place in axes:
            place.axvline(0, **DOTTED)
        axes[0].set(ylabel="ODESteer less")
        title = "paired differences on test; right of 0: ODESteer does more; 95 % intervals"
        legend(figure, axes[0], title, 6)
    return figure


def angle_figure(table: Any) -> Figure:
    """Behaviour, cost and spoilt texts against the angle."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    width = max(5.5, 1.2 + 1.9 * len(names))
    size: dict[str, Any] = {"width": width, "height": 5.6, "squeeze": False}
    methods = [name for name in ORDER[1:] if name in set(table["method"])]
    with canvas(len(SCORES), len(names), sharex=True, sharey="row", **size) as (figure, grid):
        for column, name in zip(grid.T, names, strict=True):
            rows = table[table["behaviour_set"] == name]
            for i, method in enumerate(methods):
                line = rows[rows["method"].isin(["unsteered", method])].sort_values("angle")
                for axes, (score, (_, scale)) in zip(column[:2], SCORES.items(), strict=False):
                    band(axes, line["angle"], Series(method, line, score, scale), f"C{i}")
                # 0 failed of 8 groups may be up to 37 %: bands would hide the lines
                column[2].plot(line["angle"], 100 * line["failed"], "o-", ms=3, color=f"C{i}")
            column[0].set(title=short(name))
            column[1].set_yscale("symlog", linthresh=0.01)
            column[-1].set(xlabel="angle, rad")
        grid[-1, 0].set_ylim(-0.5, max(5.0, 110 * float(table["failed"].max())))
        for axes, (label, _) in zip(grid[:, 0], SCORES.values(), strict=True):
            axes.set(ylabel=label.replace(" texts", "\ntexts").replace(" with", "\nwith"))
        title = "each at its chosen layer, test prompts; 95 % bands (lowest row: in the CSV)\n"
        legend(figure, grid[0, 0], title + "CAA: |edit| / |activation| = 2 sin(angle / 2)")
    return figure


def field_figure(table: Any) -> Figure:
    """How linear the exact barrier's field is, layer by layer."""
    panels = {
        "cos_linear": ("field of the exact barrier", "cosine to the field of its linear part"),
        "apart_step": ("flow and one step by 0.5 rad", "angle between ends / angle turned"),
    }
    reads = list(dict.fromkeys(table["read"]))
    with canvas(1, 2, width=8.5, height=3.8) as (figure, both):
        for axes, (score, (title, label)) in zip(both, panels.items(), strict=True):
            for i, name in enumerate(dict.fromkeys(table["behaviour_set"])):
                for read, line in zip(reads, ("o-", "o--"), strict=False):
                    rows = table[(table["behaviour_set"] == name) & (table["read"] == read)]
                    series = Series(f"{short(name)}, {read}", rows, score, 1)
                    band(axes, rows["layer"], series, f"C{i}", line)
            axes.set(xlabel="layer", ylabel=label, title=title)
        legend(figure, both[0], "test activations, undesired class; 95 % bands")
    return figure
