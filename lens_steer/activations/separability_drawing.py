"""The figure of separability: area under ROC by layer, and d' below it, each beside chance."""

from typing import TYPE_CHECKING, Any

from lens_steer.figures import canvas, name_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAND: dict[str, Any] = {"alpha": 0.25, "lw": 0}


def draw_separability(report: Any) -> "Figure":
    """Area under the curve and d' against the layer, the band that chance stays in grey.

    Args:
        report: A `SeparabilityReport`; one without `distance` has the area and its control alone.
    """
    apart = report.distance
    size = {"width": 5.0, "height": 3.6 if apart is None else 5.2, "sharex": True}
    with canvas(1 if apart is None else 2, 1, squeeze=False, **size) as (figure, panels):
        above, last = panels[0, 0], panels[-1, 0]
        _draw_area(above, report)
        if apart is not None:
            _draw_line(last, apart.d_prime, apart.low, apart.high, "held-out d'")
            last.axhspan(-apart.chance_d_prime, apart.chance_d_prime, color="C7", **_BAND)
            last.axhline(0, color="k", lw=0.8, ls=":")
        name_layers(last.xaxis, report.labels)
        last.set(xlabel="layer (output of the block)")
        desired, undesired = report.held_out
        title = f"{desired} desired, {undesired} undesired, 95 % bands"
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2 if apart is None else -0.28)}
        last.legend(*above.get_legend_handles_labels(), title=title, **place)
    return figure


def _draw_area(axes: Any, report: Any) -> None:
    """The area under ROC, beside what it is by chance."""
    label, apart = "mean difference of training pairs", report.distance
    _draw_line(axes, report.auc, report.low, report.high, "held-out area under ROC", label)
    axes.axhline(0.5, color="k", lw=0.8, ls=":")
    by_chance = "the same, classes swapped at random"
    if apart is None:
        places = range(len(report.labels))
        axes.fill_between(places, report.control_low, report.control_high, color="C7", **_BAND)
        axes.set(ylim=(0, 1.03))
    else:
        by_chance = "95 % by chance: the largest of all layers,\nheld-out classes swapped"
        low, high = 0.5 - apart.chance_auc, 0.5 + apart.chance_auc
        axes.axhspan(low, high, color="C7", **_BAND)
        axes.set(ylim=(min(low, float(report.low.min())) - 0.05, 1.03))
    axes.plot([], [], color="C7", lw=6, alpha=0.25, label=by_chance)


def _draw_line(
    axes: Any, values: Any, low: Any, high: Any, name: str, label: str | None = None
) -> None:
    places = range(len(values))
    axes.fill_between(places, low, high, color="C0", **_BAND)
    axes.plot(places, values, "o-", color="C0", label=label)
    axes.set(ylabel=name)
