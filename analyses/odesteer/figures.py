"""Figures of `analyses.odesteer`: every behaviour a colour, 95 % intervals on all."""

from typing import Any

from matplotlib.figure import Figure

from lens_steer.figures import canvas

ORDER = (
    *("unsteered", "random", "best of n", "CAA", "two CAA, told which", "linear probe"),
    *("published sketch", "one step", "ODESteer"),
)
_SCORES = {"behaviour": "behaviour, %", "kl": "nats per token", "failed": "empty or ill-formed, %"}
_PAIRS = {
    "change": "behaviour, points, at the cost on test",
    "at_0.1": "behaviour, points, at 0.1 nats per token",
}


def matched_figure(table: Any) -> Figure:
    """Behaviour, realised cost and spoilt texts on test of every method."""
    names = list(dict.fromkeys(table["behaviour_name"]))
    methods = [name for name in ORDER if name in set(table["method"])]
    with canvas(1, len(_SCORES), width=10.5, height=4.4, sharey=True) as (figure, axes):
        for place, (score, label) in zip(axes, _SCORES.items(), strict=True):
            scale = 1 if score == "kl" else 100
            for i, name in enumerate(names):
                own = table[table["behaviour_name"] == name].set_index("method").reindex(methods)
                _dots(place, own, score, scale, (i, len(names)), _short(name))
            place.set(xlabel=label)
        axes[1].axvline(0.1, color="k", lw=0.8, ls=":")
        axes[0].set_yticks(range(len(methods)), methods)
        axes[0].invert_yaxis()
        lines = axes[0].get_legend_handles_labels()
        title = "chosen on dev at 0.1 nats per token, shown on test; 95 % intervals"
        figure.legend(*lines, loc="outside lower center", ncols=6, title=title)
    return figure


def differences_figure(table: Any) -> Figure:
    """ODESteer less each of the others, prompt by prompt."""
    names = list(dict.fromkeys(table["behaviour_name"]))
    others = [name for name in ORDER if name in set(table["other"])]
    with canvas(1, len(_PAIRS), width=8.5, height=3.8, sharey=True) as (figure, axes):
        for place, (column, label) in zip(axes, _PAIRS.items(), strict=True):
            for i, name in enumerate(names):
                own = table[table["behaviour_name"] == name].set_index("other").reindex(others)
                _dots(place, own, column, 100, (i, len(names)), _short(name))
            place.axvline(0, color="k", lw=0.8, ls=":")
            place.set(xlabel=label)
        axes[0].set_yticks(range(len(others)), others)
        axes[0].set(ylabel="ODESteer less")
        axes[0].invert_yaxis()
        lines = axes[0].get_legend_handles_labels()
        title = "paired differences on test; right of 0: ODESteer does more; 95 % intervals"
        figure.legend(*lines, loc="outside lower center", ncols=6, title=title)
    return figure


def angle_figure(table: Any) -> Figure:
    """Behaviour, cost and spoilt texts against the angle."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    width = max(5.5, 1.2 + 1.9 * len(names))
    size: dict[str, Any] = {"width": width, "height": 5.6, "squeeze": False}
    methods = [name for name in ORDER[1:] if name in set(table["method"])]
    with canvas(len(_SCORES), len(names), sharex=True, sharey="row", **size) as (figure, grid):
        for column, name in zip(grid.T, names, strict=True):
            here = table[table["behaviour_set"] == name]
            for place, score in zip(column, _SCORES, strict=True):
                for i, method in enumerate(methods):
                    own = here[here["method"].isin(["unsteered", method])].sort_values("angle")
                    _band(place, own, score, 1 if score == "kl" else 100, f"C{i}", method)
            column[0].set(title=_short(name))
            column[1].set_yscale("symlog", linthresh=0.01)
            column[-1].set(xlabel="angle, rad")
        grid[-1, 0].set_ylim(-0.5, max(5.0, 110 * float(table["failed"].max())))
        for place, label in zip(grid[:, 0], _SCORES.values(), strict=True):
            place.set(ylabel=label)
        lines = grid[0, 0].get_legend_handles_labels()
        title = "each at its own layer, test prompts; bands 95 % (lowest row: in the CSV)\n"
        title += "CAA: |edit| / |a| = 2 sin(angle / 2)"
        figure.legend(*lines, loc="outside lower center", ncols=4, title=title)
    return figure


def field_figure(table: Any) -> Figure:
    """How linear the exact barrier's field is, layer by layer."""
    labels = {"cos_linear": "cosine to the linear part", "apart_step": "ends apart, of the way"}
    titles = ("field of the exact barrier", "flow against one step, 0.5 rad")
    names = list(dict.fromkeys(table["behaviour_set"]))
    reads = list(dict.fromkeys(table["read"]))
    with canvas(1, 2, width=8.5, height=3.8) as (figure, axes):
        for place, title, (score, label) in zip(axes, titles, labels.items(), strict=True):
            for i, name in enumerate(names):
                for read, line in zip(reads, ("-", "--"), strict=False):
                    own = table[(table["behaviour_set"] == name) & (table["read"] == read)]
                    style = {"ls": line, "label": f"{_short(name)}, {read}", "color": f"C{i}"}
                    place.plot(own["layer"].to_numpy(), own[score].to_numpy(), "o", **style)
                    ends = (own[f"{score}_{end}"].to_numpy() for end in ("low", "high"))
                    place.fill_between(own["layer"].to_numpy(), *ends, color=f"C{i}", alpha=0.1)
            place.set(xlabel="layer", ylabel=label, title=title)
        lines = axes[0].get_legend_handles_labels()
        title = "test activations, undesired class; bands 95 %"
        figure.legend(*lines, loc="outside lower center", ncols=4, title=title)
    return figure


def _dots(  # noqa: PLR0913 - one row of dots
    place: Any, own: Any, score: str, scale: int, order: tuple[int, int], label: str
) -> None:
    i, count = order
    x, low, high = (scale * own[f"{score}{end}"] for end in ("", "_low", "_high"))
    bars = [(x - low).clip(lower=0).to_numpy(), (high - x).clip(lower=0).to_numpy()]
    y = [row + 0.11 * (i - (count - 1) / 2) for row in range(len(own))]
    style = {"fmt": "o", "ms": 3, "lw": 0.8, "color": f"C{i}", "label": label}
    place.errorbar(x.to_numpy(), y, xerr=bars, **style)


def _band(  # noqa: PLR0913 - one line with its band
    place: Any, own: Any, score: str, scale: int, color: str, label: str
) -> None:
    x = own["angle"].to_numpy()
    place.plot(x, scale * own[score].to_numpy(), "o-", ms=3, color=color, label=label)
    if score != "failed":  # of none of 8 groups up to 37 %: the bands would hide the lines
        ends = (scale * own[f"{score}_{end}"].to_numpy() for end in ("low", "high"))
        place.fill_between(x, *ends, color=color, alpha=0.12, lw=0)


def _short(name: str) -> str:
    return name.partition(":")[2] or name
