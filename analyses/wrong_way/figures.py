"""The figure of the study: what turns slopes, and what goes with them."""

from typing import Any

from matplotlib.figure import Figure

from lens_steer.figures import canvas


def paths_figure(table: Any) -> Figure:
    """Pairs of the wrong way by the parts that turn them, and correlations over all pairs."""
    wrong = table[table["what"].str.startswith("wrong: ")]
    related = table[table["what"].str.startswith("all: correlation")]
    panels = [(wrong, "wrong: ", "share of pairs with\nslopes below 0 (95 % over tasks)")]
    panels.append(
        (related, "all: correlation with ", "rank correlation with the slope,\nall pairs")
    )
    rows = max(len(part) for part, _, _ in panels)
    with canvas(1, 2, width=8.4, height=1.0 + 0.3 * rows) as (figure, both):
        for axes, (part, prefix, label) in zip(both, panels, strict=True):
            names = [what.removeprefix(prefix).replace("_", " ") for what in part["what"]]
            for y, (_, row) in enumerate(part.iloc[::-1].iterrows()):
                axes.plot([row["value_low"], row["value_high"]], [y, y], color="C0")
                axes.plot(row["value"], y, "o", color="C0", ms=4)
            axes.axvline(0, color="k", lw=0.8)
            axes.set_yticks(range(len(names)), names[::-1])
            axes.set(xlabel=label)
    return figure
