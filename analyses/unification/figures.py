"""The figure of `analyses.unification`: what one switch changes, behaviour by behaviour."""

from typing import Any

from matplotlib.figure import Figure

from analyses.unification.methods import AGAINST, BASE
from lens_steer.figures import canvas

_SCORES = {"change": "at the cost on test", "at_0.1": "read off at 0.1 nats per token"}


def differences_figure(table: Any) -> Figure:
    """Share of the behaviour, the member less what it is compared with, in points."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    found = set(zip(table["method"], table["other"], strict=True))
    pairs = [pair for pair in AGAINST if pair in found]
    size: dict[str, Any] = {"width": 3.2 + 2.1 * len(names), "height": 4.4, "squeeze": False}
    with canvas(1, len(names), sharey=True, sharex=True, **size) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            own = table[table["behaviour_set"] == name].set_index(["method", "other"])
            own = own.reindex(pairs)
            for i, (score, label) in enumerate(_SCORES.items()):
                x, low, high = (100 * own[f"{score}{end}"] for end in ("", "_low", "_high"))
                bars = [(x - low).clip(lower=0).to_numpy(), (high - x).clip(lower=0).to_numpy()]
                y = [row + 0.22 * (i - 0.5) for row in range(len(pairs))]
                style = {"fmt": "os"[i], "ms": 3.5, "lw": 0.9, "color": f"C{i}", "label": label}
                place.errorbar(x.to_numpy(), y, xerr=bars, **style)
            place.axvline(0, color="k", lw=0.8, ls=":")
            place.set(title=name.partition(":")[2] or name, xlabel="points")
        grid[0, 0].set_yticks(range(len(pairs)), [label_of(*pair) for pair in pairs])
        grid[0, 0].invert_yaxis()
        lines = grid[0, 0].get_legend_handles_labels()
        title = f"paired differences to {BASE} on test; right of 0: the switch helps; 95 %"
        figure.legend(*lines, loc="outside lower center", ncols=2, title=title)
    return figure


def label_of(method: str, other: str) -> str:
    """A row's name."""
    return method if other == BASE else f"{method},\nless not pulled back"
