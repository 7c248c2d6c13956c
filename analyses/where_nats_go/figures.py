"""The figure of the study: bars of nats per token, stacked by part, a row of panels per split."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lens_steer.figures import canvas, legend_outside

_UNSPLIT = "excess of what has no strength, or no gain at small ones"
# By split: label and colour of every part, after what is paid at least.
SPLITS: dict[str, dict[str, tuple[str, str]]] = {
    "why (first order)": {
        "floor": ("the least: the model conditioned on the judge", "0.35"),
        "off_target": ("off target: the best vector pays it too", "C0"),
        "wrong_direction": ("wrong direction", "C1"),
        "same_push": ("same push for every prompt", "C2"),
        "nonlinearity": ("nonlinearity", "C3"),
        "unsplit": (_UNSPLIT, "0.8"),
    },
    "where (exact)": {
        "floor": ("the least: the model conditioned on the judge", "0.35"),
        "allocation": ("uneven over prompts", "C4"),
        "well_formed": ("beyond the judge's bit, well-formed texts", "C9"),
        "broken": ("beyond the judge's bit, broken texts", "C5"),
    },
}


def means_figure(table: Any) -> Figure:
    """Nats per token of each method at each cost, mean over behaviours, by both ways of parting."""
    table = table.assign(unsplit=table["excess"].where(table["off_target"].isna(), 0.0))
    costs = sorted(table["asked"].dropna().unique())
    methods = list(dict.fromkeys(table["method"]))
    counts = table.groupby("method")["behaviours"].max()
    labels = [f"{method} ({counts[method]})" for method in methods]
    size: dict[str, Any] = {"width": 3.0 + 2.6 * len(costs), "height": 2.6 + 0.4 * len(methods)}
    with canvas(2, len(costs), sharex="col", sharey=True, squeeze=False, **size) as (figure, grid):
        for row, (split, parts) in zip(grid, SPLITS.items(), strict=True):
            row[0].set_ylabel(split)
            for axes, cost in zip(row, costs, strict=True):
                at = table[(table["asked"] == cost) | table["asked"].isna()]
                _bars(axes, at.set_index("method").reindex(methods), parts)
        for axes, cost in zip(grid[0], costs, strict=True):
            axes.set_title(f"{cost:g} nats per token on dev")
        for axes in grid[1]:
            axes.set_xlabel("nats per token, own texts")
        for axes in grid[:, 0]:
            axes.set_yticks(range(len(methods)), labels)
        grid[0, 0].invert_yaxis()
        title = "in brackets: behaviours that the mean is over; bars: 95 % intervals of all nats"
        legend_outside(figure, title=title, columns=2)
    return figure


def _bars(axes: Any, rows: Any, parts: dict[str, tuple[str, str]]) -> None:
    """Stacked bars: parts below 0 lie to the left of it."""
    y = np.arange(len(rows))
    right, left = np.zeros(len(rows)), np.zeros(len(rows))
    for name, (label, colour) in parts.items():
        width = np.nan_to_num(rows[name].to_numpy(float))
        start = np.where(width >= 0, right, left)
        axes.barh(y, width, left=start, height=0.7, color=colour, label=label)
        right, left = right + np.maximum(width, 0), left + np.minimum(width, 0)
    nats, low, high = (rows[f"nats{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    reach = np.maximum([nats - low, high - nats], 0)
    axes.errorbar(nats, y, xerr=reach, fmt="|", color="k", lw=0.8, capsize=2)
    axes.axvline(0, color="k", lw=0.6)
