"""Figures of all behaviours: methods at equal cost, and behaviour against lambda."""

from typing import Any

from matplotlib.figure import Figure

from analyses.lqr.laws import LAWS
from analyses.plots import Series, band, legend, short
from lens_steer.figures import canvas

ORDER = ("unsteered", "random", "CAA", *LAWS)
SCORES = {
    "behaviour": ("texts with the behaviour, %", 100),
    "probe": ("desired by a fresh probe, %", 100),
    "kl": ("cost, nats per token", 1),
}


def lambda_figure(table: Any) -> Figure:
    """Behaviour and cost on test against lambda, at strength 1."""
    names = list(dict.fromkeys(table["behaviour_set"]))
    width = max(5.5, 1.2 + 1.9 * len(names))
    size: dict[str, Any] = {"width": width, "height": 4.4, "squeeze": False}
    with canvas(2, len(names), sharex=True, sharey="row", **size) as (figure, grid):
        for (above, below), name in zip(grid.T, names, strict=True):
            for i, law in enumerate(dict.fromkeys(table["law"])):
                rows = table[(table["behaviour_set"] == name) & (table["law"] == law)]
                x = rows["lambda"].to_numpy()
                band(above, x, Series(law, rows, "share"), f"C{i}")
                below.plot(x, rows["kl"], "o-", ms=3, color=f"C{i}")
            above.set(title=short(name))
            below.set(xlabel="set-point $\\lambda$,\nclass differences")
            below.set_yscale("symlog", linthresh=0.1)
        grid[0, 0].set(ylabel="texts with the behaviour, %")
        grid[1, 0].set(ylabel="nats per token")
        title = "strength 1, test prompts; 95 % bands\n1 is the desired mean, if centred"
        legend(figure, grid[0, 0], title)
    return figure
