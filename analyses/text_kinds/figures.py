"""Figures of the study: skill by block, and how much of a line the field of a barrier is."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from analyses.plots import DOTTED, Series, band
from analyses.text_kinds.fields import LINE
from analyses.text_kinds.predictions import FRACTIONS, UNITS
from lens_steer.figures import canvas, legend_outside, whole_numbers

SHOWN = FRACTIONS[1]
_UNIT = {"|z|": f"|d| = {SHOWN:g} |z|", "nats": f"|d| = {SHOWN:g} s,\ns costs 0.1 nats"}


def skill_figure(layers: Any, predictors: Mapping[str, str], kinds: Sequence[str]) -> Figure:
    """Skill over the identity by block: a column for each kind of text, a row for each unit.

    Linear from -1 to 1, logarithmic below.

    Args:
        layers: The table of all blocks.
        predictors: What the lines are called, by column.
        kinds: The columns of the grid.
    """
    size: dict[str, Any] = {"width": 2.4 * len(kinds) + 0.8, "height": 5.0, "squeeze": False}
    table = layers[layers["fraction"] == SHOWN]
    with canvas(len(UNITS), len(kinds), sharex=True, sharey=True, **size) as (figure, grid):
        for unit, places in zip(UNITS, grid, strict=True):
            for kind, axes in zip(kinds, places, strict=True):
                part = table[(table["kind"] == kind) & (table["unit"] == unit)]
                for i, (column, label) in enumerate(predictors.items()):
                    series = Series(label, part, column, 1)
                    band(axes, part["layer"], series, f"C{i}")
                axes.axhline(0, **DOTTED)
                whole_numbers(axes.xaxis)
            places[0].set_ylabel(f"skill over the identity\n{_UNIT[unit]}")
        grid[0, 0].set_yscale("symlog", linthresh=1)
        grid[0, 0].set_ylim(_least(table, predictors), 1.05)
        grid[0, 0].yaxis.set_major_formatter("{x:g}")
        grid[0, 0].minorticks_off()
        for kind, axes in zip(kinds, grid[0], strict=True):
            axes.set_title(f"tested on {kind}")
        for axes in grid[-1]:
            axes.set_xlabel("block")
        legend_outside(figure, title="95 % intervals over groups of texts", columns=len(predictors))
    return figure


def _least(table: Any, predictors: Mapping[str, str]) -> float:
    """The lower end of the axis: no lower than the intervals need."""
    lowest = table[[f"{name}{end}" for name in predictors for end in ("", "_low")]].min().min()
    return min(-0.1, 1.1 * float(lowest))


def field_by_layer_figure(fields: Any, kinds: Sequence[str]) -> Figure:
    """The cosine of the field and its linear part by block, and how well the barrier tells classes.

    Args:
        fields: The table of all blocks and kinds.
        kinds: A line for each.
    """
    panels = {"linearity": "cosine of the field\nand its linear part", "accuracy": "right on test"}
    with canvas(1, 2, width=7.2, height=3.2) as (figure, places):
        for (column, label), axes in zip(panels.items(), places, strict=True):
            for i, kind in enumerate(kinds):
                part = fields[fields["kind"] == kind]
                band(axes, part["layer"], Series(kind, part, column, 1), f"C{i}")
            axes.set(xlabel="behind block", ylabel=label)
            whole_numbers(axes.xaxis)
        places[0].axhline(LINE, **DOTTED)
        places[1].axhline(0.5, **DOTTED)
        legend_outside(figure, places[0], title="95 % intervals over groups of texts", columns=3)
    return figure
