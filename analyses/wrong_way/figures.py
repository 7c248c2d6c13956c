"""The figure of the study: what turns slopes, and what goes with them."""

from typing import Any

from matplotlib.figure import Figure

from lens_steer.figures import canvas

_RELATED = "all: correlation with "


def paths_figure(table: Any) -> Figure:
    """Parts below 0, of pairs of the wrong way and of the others; correlations over all pairs."""
    by_name = table.set_index("what")
    wrong, related = (
        [what.removeprefix(prefix) for what in by_name.index if what.startswith(prefix)]
        for prefix in ("wrong: ", _RELATED)
    )
    rows = max(len(wrong), len(related))
    with canvas(1, 2, width=8.4, height=1.2 + 0.32 * rows) as (figure, (left, right)):
        _draw(left, by_name, "wrong: ", wrong, "C0", 0.12)
        _draw(left, by_name, "right: ", wrong, "C1", -0.16)
        left.set(
            xlabel="share of pairs (95 % over tasks): blue of the wrong way,\norange of the right"
        )
        _draw(right, by_name, _RELATED, related, "C0", 0.0)
        right.set(xlabel="rank correlation with the slope,\nall pairs")
    return figure


def _draw(axes: Any, table: Any, prefix: str, names: list[str], colour: str, above: float) -> None:
    axes.axvline(0, color="k", lw=0.8)
    for y, name in enumerate(reversed(names)):
        if prefix + name in table.index:
            row = table.loc[prefix + name]
            axes.plot([row["value_low"], row["value_high"]], [y + above] * 2, color=colour)
            axes.plot(row["value"], y + above, "o", color=colour, ms=4)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in reversed(names)])
