"""The figure of the study: what one switch changes, behaviour by behaviour."""

from typing import Any

from matplotlib.figure import Figure

from analyses.plots import DOTTED, Series, dot_plot, legend
from analyses.unification.methods import BASELINE, COMPARED

SCORES = {"change": "at the cost on test", "at_0.1": "at 0.1 nats per token"}


def differences_figure(table: Any) -> Figure:
    """Share of the behaviour, a member less what it is compared with, in points."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    measured = set(zip(table["method"], table["other"], strict=True))
    rows = [pair for pair in COMPARED if pair in measured]
    panels = {}
    for name in names:
        part = table[table["behaviour_set"] == name].set_index(["method", "other"]).reindex(rows)
        panels[name] = [
            Series(label, part, score, marker=marker)
            for (score, label), marker in zip(SCORES.items(), "os", strict=True)
        ]
    labels = [label_of(*pair) for pair in rows]
    size: dict[str, Any] = {"width": 3.2 + 2.1 * len(names), "height": 4.4, "titled": True}
    with dot_plot(panels, labels, **size) as (figure, axes):
        for place in axes:
            place.axvline(0, **DOTTED)
            place.set(xlabel="texts with the\nbehaviour, points")
        title = f"paired differences to {BASELINE} on test; right of 0: the switch helps;"
        legend(figure, axes[0], f"{title} 95 % intervals", 2)
    return figure


def label_of(method: str, other: str) -> str:
    """The label of a row."""
    return method if other == BASELINE else f"{method},\nless not pulled back"
