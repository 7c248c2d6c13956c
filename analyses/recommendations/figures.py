"""The figure of the study: what each rule's choice loses to the exhaustive winner."""

from typing import Any

from matplotlib.figure import Figure

from lens_steer.figures import canvas

TARGET = 2  # points, of the mean; its upper end is to stay below 4


def lost_figure(table: Any) -> Figure:
    """Regrets of all rules in points of texts, with the target as a dashed line."""
    rows = table.to_dict("records")[::-1]
    with canvas(width=5.6, height=1.0 + 0.28 * len(rows)) as (figure, axes):
        for y, row in enumerate(rows):
            colour = "C0" if row["rule"].startswith("recommend") else "C1"
            axes.plot([row["regret_low"], row["regret_high"]], [y, y], color=colour)
            axes.plot(row["regret"], y, "o", color=colour, ms=4)
        axes.axvline(0, color="k", lw=0.8)
        axes.axvline(TARGET, color="k", lw=0.8, ls="--")
        axes.set_yticks(range(len(rows)), [row["rule"] for row in rows])
        axes.set(
            xlabel="texts lost to the exhaustive winner, points\n(95 % over tasks; dashed: target)"
        )
    return figure
