"""The figure of a run: shares of variance, and beside them what changing one factor changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.variance.tables import ALL, WITHIN, main_sources
from lens_steer.figures import canvas

_UNITS = {"preference": "nats per token", "texts": "points of the share of texts"}
_NAMES = {"preference": "change of preference", "texts": "texts that show it"}


def variance_figure(found: Mapping[str, tuple[Any, Any]]) -> Figure:
    """A row for each measure: shares within a behaviour and over behaviours, and differences.

    Args:
        found: By measure, a table of shares and one of differences.
    """
    rows = max(len(main_sources(shares)) for shares, _ in found.values())
    with canvas(
        len(found), 3, width=10.5, height=(1.0 + 0.19 * rows) * len(found), squeeze=False
    ) as (figure, grid):
        for panels, (measure, (table, changed)) in zip(grid, found.items(), strict=True):
            for axes, version in zip(panels, (WITHIN, ALL), strict=False):
                part = table[table["version"] == version]
                part = part[part["source"].isin(main_sources(part))]
                if len(part):
                    _dots(axes, part, "source", "share", 100)
                axes.axvline(0, color="k", lw=0.8)
                axes.set(xlabel="share of variance, %", title=f"{_NAMES[measure]}, {version}")
            both = changed.dropna(subset=["difference"])
            _dots(panels[2], both, "factor", "difference", 1)
            panels[2].set(xlim=(0, None), xlabel=_UNITS[measure], title="one factor changed")
        figure.suptitle(
            "methods at 0.1 nats per token; 95 % intervals over behaviours (jackknife)", fontsize=9
        )
    return figure


def _dots(axes: Any, table: Any, key: str, column: str, scale: float | int) -> None:
    """Rows of dots with intervals, the first on top; a dot alone where there is no interval."""
    mean, low, high = (
        scale * table[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high")
    )
    y = np.arange(len(table))
    bars = np.nan_to_num([mean - low, high - mean])
    axes.errorbar(mean, y, xerr=bars, fmt="o", color="C0", ms=3, lw=0.9)
    axes.set_yticks(y, list(table[key]))
    axes.set_ylim(len(table) - 0.5, -0.5)
