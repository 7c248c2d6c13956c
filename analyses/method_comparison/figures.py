"""Figures of the comparison, each made of one table."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.plots import DOTTED, MARKERS, Series, dot_plot, legend, series_by, short
from lens_steer.benchmark import BASELINE
from lens_steer.figures import canvas

BUDGET = 0.1  # nats per token
_LINES = ("-", "--", ":")


def forest_figure(table: Any, budget: float = BUDGET) -> Figure:
    """Behaviour at one budget of every method, a panel for each behaviour."""
    methods = _methods(table)
    rows = {name: _rows(table, name).set_index("method") for name in _names(table)}
    panels = {
        name: [Series("", part.reindex(methods), f"at_{budget:g}")] for name, part in rows.items()
    }
    with dot_plot(panels, methods, titled=True, **_size(panels, methods)) as (figure, axes):
        for place, (name, part) in zip(axes, rows.items(), strict=True):
            place.axvline(100 * float(part.loc["unsteered", "behaviour"]), **DOTTED)
            place.set(xlim=(0, 100), title=_heading(name, int(part["models"].max())))
            of_methods = part.reindex(methods)
            for i in np.flatnonzero(of_methods[f"at_{budget:g}"].isna()):
                why = _why(of_methods.iloc[i])
                place.text(2, i, why, va="center", fontsize=6.5, color="0.5")
        figure.supxlabel(_axis(budget) + "\n95 % intervals; dotted: unsteered")
    return figure


def strip_figure(table: Any, budget: float = BUDGET) -> Figure:
    """The same by model: every model a mark, their mean a bar."""
    methods, column = _methods(table), f"at_{budget:g}"
    panels = {
        name: series_by(_rows(table, name), "model", column, methods, markers=MARKERS)
        for name in _names(table)
    }
    with dot_plot(panels, methods, titled=True, **_size(panels, methods)) as (figure, axes):
        for place, name in zip(axes, _names(table), strict=True):
            by_model = _rows(table, name).pivot_table(
                index="method", columns="model", values=column, dropna=False
            )
            mean = by_model.mean(axis=1, skipna=False).reindex(methods)
            place.plot(100 * mean.to_numpy(), range(len(methods)), "|", color="k", ms=11)
            place.set(xlim=(0, 100))
        note = "a mark is a model, 95 % intervals; bar: mean,\nwhere all reach the cost"
        figure.supxlabel(f"{_axis(budget)}\n{note}")
        legend(figure, axes[0], "models", where="upper")
    return figure


def cost_figure(table: Any) -> Figure:
    """The cost that was realised on test, and texts that were spoilt."""
    methods = _methods(table)
    scores = {
        "kl": ("cost on test, nats per token", 1),
        "efficiency": ("efficiency, least nats / nats paid", 1),
        "failed": ("ill-formed texts, %", 100),
    }
    panels = {
        label: series_by(table, "behaviour_name", score, methods, scale=scale)
        for score, (label, scale) in scores.items()
    }
    size: dict[str, Any] = {"width": 2.2 + 2.4 * len(scores), "height": 1.9 + 0.26 * len(methods)}
    with dot_plot(panels, methods, **size) as (figure, axes):
        axes[0].axvline(BUDGET, **DOTTED)
        axes[0].set_xscale("symlog", linthresh=0.1)
        axes[0].set_xticks([0, 0.1, 0.3, 1], ["0", "0.1", "0.3", "1"])
        axes[0].set_xlim(left=0)
        title = "at the strength calibrated to 0.1 nats per token on dev; 95 % intervals"
        legend(figure, axes[0], title)
    return figure


def search_figure(table: Any) -> Figure:
    """Behaviour on test of the best on dev of n trials of random search; mean over models."""
    names, methods = _names(table), list(dict.fromkeys(table["method"]))
    width = max(5.0, 1.2 + 2.3 * len(names))
    size: dict[str, Any] = {"width": width, "height": 4.2, "squeeze": False}
    with canvas(1, len(names), sharey=True, **size) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            rows = _rows(table, name)
            for i, method in enumerate(methods):
                mean = rows[rows["method"] == method].groupby("n")["behaviour"].mean()
                style: dict[str, Any] = {"color": f"C{i % 10}", "ls": _LINES[i // 10 % 3]}
                place.plot(mean.index, 100 * mean.to_numpy(), label=method, **style)
            place.set(title=_heading(name, rows["model"].nunique()), xlabel="trials")
            place.xaxis.get_major_locator().set_params(integer=True)
        grid[0, 0].set(ylabel="share on test of the best on dev, %")
        title = "random search from each method's prior; at most 0.1 nats per token on dev"
        legend(figure, grid[0, 0], fill(title, int(12 * width)), min(7, int(width / 1.6)))
    return figure


def searched_figure(table: Any) -> Figure:
    """The best on dev of all trials of random search, less CAA's; a mark for each model."""
    methods = [name for name in dict.fromkeys(table["method"]) if name != BASELINE]
    last = table[table["n"] == table.groupby("method")["n"].transform("max")]
    column = f"less_{BASELINE}"
    panels = {
        name: series_by(_rows(last, name), "model", column, methods, markers=MARKERS)
        for name in _names(table)
    }
    with dot_plot(panels, methods, titled=True, **_size(panels, methods)) as (figure, axes):
        for place in axes:
            place.axvline(0, **DOTTED)
        figure.supxlabel(
            f"share of texts on test, points, less {BASELINE}: the best on dev of\n"
            f"{last['n'].max():.0f} trials of random search each; 95 %, choice redrawn"
        )
        if table["model"].nunique() > 1:
            legend(figure, axes[0], "models", where="upper")
    return figure


def _size(panels: Any, rows: Sequence[str]) -> dict[str, Any]:
    """Inches of panels side by side with one list of methods."""
    return {"width": 2.2 + 1.9 * len(panels), "height": 1.7 + 0.23 * len(rows)}


def _axis(budget: float) -> str:
    return f"share of texts, %, that show the behaviour\nat {budget:g} nats per token on test"


def _heading(name: str, models: int) -> str:
    return f"{short(name)}\n{models} model{'s' * (models > 1)}"


def _names(table: Any) -> list[str]:
    return list(dict.fromkeys(table["behaviour_name"]))


def _rows(table: Any, name: str) -> Any:
    return table[table["behaviour_name"] == name]


def _methods(table: Any) -> list[str]:
    return [name for name in dict.fromkeys(table["method"]) if name != "unsteered"]


def _why(row: Any) -> str:
    return "left out" if np.isnan(row["behaviour"]) else f"only {row['kl']:.2g} nats tried"
