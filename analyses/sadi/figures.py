"""The figure of all behaviours: what each way of steering the same elements gains on test."""

from typing import Any

from matplotlib.figure import Figure

from analyses.plots import DOTTED, dot_plot, legend, series_by, short
from analyses.sadi.measures import STEERED


def ways_figure(table: Any) -> Figure:
    """The change on test of each way, at the same cost on dev, for every behaviour and kind."""
    kinds = list(dict.fromkeys(table["kind"]))
    names = list(dict.fromkeys(table["behaviour_set"]))
    steered = table[table["way"] != "unsteered"]
    panels = {
        f"{kind}, k = {STEERED[kind]}": series_by(
            steered[steered["kind"] == kind], "way", "change", names, key="behaviour_set"
        )
        for kind in kinds
    }
    labels = [short(name) for name in names]
    size: dict[str, Any] = {"width": 3.2 * len(kinds), "height": 1.2 + 0.55 * len(names)}
    with dot_plot(panels, labels, titled=True, **size) as (figure, axes):
        for place in axes:
            place.axvline(0, **DOTTED)
            place.set(xlabel="change on test, points")
        legend(figure, axes[0], "0.1 nats per token on dev; 95 % intervals")
    return figure
