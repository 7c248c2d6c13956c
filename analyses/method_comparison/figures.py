"""Figures of `analyses.method_comparison`, each made of one table."""

from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lens_steer.benchmark import AGAINST
from lens_steer.figures import canvas

_MARKS = "osv^D<>pPX*h"
_LINES = ("-", "--", ":")
_BUDGET = 0.1  # nats per token


def forest_figure(table: Any, budget: float = _BUDGET) -> Figure:
    """Behaviour at one budget of every method, a panel for each behaviour; cost realised."""
    names, methods = _names(table), _methods(table)
    column = f"at_{budget:g}"
    with canvas(1, len(names), sharey=True, **_size(len(names), len(methods))) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            own = table[table["behaviour_name"] == name].set_index("method").reindex(methods)
            _plain(place, table, name)
            x, bars = _with_bars(own, column, 100)
            place.errorbar(x, range(len(methods)), xerr=bars, fmt="o", ms=3.5, lw=0.9, color="C0")
            for row in np.flatnonzero(np.isnan(x)):
                place.text(2, row, _why(own, int(row)), va="center", fontsize=6.5, color="0.5")
            models = int(own["models"].max())
            place.set(title=f"{_short(name)}\n{models} model{'s' * (models > 1)}", xlim=(0, 100))
        _rows(grid[0, 0], methods)
        figure.supxlabel(_told(budget) + "\n95 % intervals; dotted: unsteered")
    return figure


def strip_figure(table: Any, budget: float = _BUDGET) -> Figure:
    """The same by model: every model a dot, their mean a tick."""
    names, methods, models = _names(table), _methods(table), list(dict.fromkeys(table["model"]))
    column = f"at_{budget:g}"
    with canvas(1, len(names), sharey=True, **_size(len(names), len(methods))) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            own = table[table["behaviour_name"] == name]
            for i, model in enumerate(models):
                x = own[own["model"] == model].set_index("method").reindex(methods)[column]
                y = np.arange(len(methods)) + 0.5 * ((i + 0.5) / len(models) - 0.5)
                style: dict[str, Any] = {"color": f"C{i % 10}", "ms": 4, "alpha": 0.9}
                mark = _MARKS[i % len(_MARKS)]
                place.plot(100 * x.to_numpy(), y, mark, label=_short(model), **style)
            wide = own.pivot_table(index="method", columns="model", values=column, dropna=False)
            mean = wide.mean(axis=1, skipna=False).reindex(methods)
            place.plot(100 * mean.to_numpy(), range(len(methods)), "|", color="k", ms=11)
            place.set(title=_short(name), xlim=(0, 100))
        _rows(grid[0, 0], methods)
        figure.supxlabel(
            _told(budget) + "\na mark is a model; bar: mean, where all\nreach the cost"
        )
        lines = grid[0, 0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside upper center", ncols=4, title="models")
    return figure


def cost_figure(table: Any) -> Figure:
    """What was realised on test of the cost that was set on dev, and texts that were spoilt."""
    names, methods = _names(table), _methods(table)
    columns = {"kl": "nats per token on test", "efficiency": "efficiency", "failed": "ill-formed"}
    width = 2.2 + 2.4 * len(columns)
    size: dict[str, Any] = {"width": width, "height": 1.9 + 0.26 * len(methods)}
    with canvas(1, len(columns), sharey=True, **size) as (figure, grid):
        for place, (score, label) in zip(grid, columns.items(), strict=True):
            for i, name in enumerate(names):
                own = table[table["behaviour_name"] == name].set_index("method").reindex(methods)
                y = np.arange(len(methods)) + 0.1 * (i - (len(names) - 1) / 2)
                x, bars = _with_bars(own, score)
                style: dict[str, Any] = {"fmt": "o", "ms": 3, "lw": 0.7, "color": f"C{i}"}
                place.errorbar(x, y, xerr=bars, label=_short(name), **style)
            place.set(xlabel=label)
        grid[0].axvline(_BUDGET, color="k", lw=0.8, ls=":")
        grid[0].set_xscale("symlog", linthresh=0.1)
        grid[0].set_xticks([0, 0.1, 0.3, 1], ["0", "0.1", "0.3", "1"])
        grid[0].set_xlim(left=0)
        _rows(grid[0], methods)
        title = "at the strength calibrated to 0.1 nats per token on dev; 95 % intervals"
        lines = grid[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=4, title=title)
    return figure


def search_figure(table: Any) -> Figure:
    """Behaviour on test of the best on dev of n trials of random search; mean over models."""
    names, methods = _names(table), list(dict.fromkeys(table["method"]))
    width = max(5.0, 1.2 + 2.3 * len(names))
    size: dict[str, Any] = {"width": width, "height": 4.2, "squeeze": False}
    with canvas(1, len(names), sharey=True, **size) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            own = table[table["behaviour_name"] == name]
            for i, method in enumerate(methods):
                mean = own[own["method"] == method].groupby("n")["behaviour"].mean()
                style: dict[str, Any] = {"color": f"C{i % 10}", "ls": _LINES[i // 10 % 3]}
                place.plot(mean.index, 100 * mean.to_numpy(), label=method, **style)
            models = own["model"].nunique()
            place.set(title=f"{_short(name)}\n{models} model{'s' * (models > 1)}", xlabel="trials")
            place.xaxis.get_major_locator().set_params(integer=True)
        grid[0, 0].set(ylabel="share on test of the best on dev, %")
        title = "random search from each method's prior; at most 0.1 nats per token on dev"
        lines, title = grid[0, 0].get_legend_handles_labels(), fill(title, int(12 * width))
        columns = min(7, int(width / 1.6))
        figure.legend(*lines, loc="outside lower center", ncols=columns, title=title)
    return figure


def searched_figure(table: Any) -> Figure:
    """The best on dev of all trials of random search, less CAA's; a mark for each model."""
    names, methods = _names(table), [m for m in dict.fromkeys(table["method"]) if m != AGAINST]
    column, models = f"less_{AGAINST}", list(dict.fromkeys(table["model"]))
    last = table[table["n"] == table.groupby("method")["n"].transform("max")]
    with canvas(1, len(names), sharey=True, **_size(len(names), len(methods))) as (figure, grid):
        for place, name in zip(grid[0], names, strict=True):
            for i, model in enumerate(models):
                own = last[(last["behaviour_name"] == name) & (last["model"] == model)]
                own = own.set_index("method").reindex(methods)
                y = np.arange(len(methods)) + 0.5 * ((i + 0.5) / len(models) - 0.5)
                x, bars = _with_bars(own, column, 100)
                style: dict[str, Any] = {"ms": 3.5, "lw": 0.9, "color": f"C{i % 10}"}
                mark = _MARKS[i % len(_MARKS)]
                place.errorbar(x, y, xerr=bars, fmt=mark, label=_short(model), **style)
            place.axvline(0, color="k", lw=0.8, ls=":")
            place.set(title=_short(name))
        _rows(grid[0, 0], methods)
        n = int(last["n"].max())
        figure.supxlabel(
            f"share of texts on test, points, less {AGAINST}: the best on dev of\n"
            f"{n} trials of random search each; 95 %, choice redrawn"
        )
        if len(models) > 1:
            lines = grid[0, 0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside upper center", ncols=4, title="models")
    return figure


def _with_bars(own: Any, column: str, scale: float | int = 1) -> tuple[Any, Any]:
    """Means, and how far their intervals reach down and up; none where there is no interval."""
    x, low, high = (scale * own[f"{column}{end}"].to_numpy() for end in ("", "_low", "_high"))
    return x, np.nan_to_num(np.maximum([x - low, high - x], 0))


def _size(columns: int, rows: int) -> dict[str, Any]:
    """Of panels side by side, with one list of methods."""
    return {"width": 2.2 + 1.9 * columns, "height": 1.7 + 0.23 * rows, "squeeze": False}


def _told(budget: float) -> str:
    return f"share of texts, %, that show the behaviour\nat {budget:g} nats per token on test"


def _names(table: Any) -> list[str]:
    return list(dict.fromkeys(table["behaviour_name"]))


def _methods(table: Any) -> list[str]:
    return [name for name in dict.fromkeys(table["method"]) if name != "unsteered"]


def _plain(place: Any, table: Any, name: str) -> None:
    own = table[(table["behaviour_name"] == name) & (table["method"] == "unsteered")]
    place.axvline(100 * float(own["behaviour"].iloc[0]), color="k", lw=0.8, ls=":")


def _why(own: Any, row: int) -> str:
    here = own.iloc[row]
    return "left out" if np.isnan(here["behaviour"]) else f"only {here['kl']:.2g} nats tried"


def _rows(place: Any, methods: list[str]) -> None:
    place.set_yticks(range(len(methods)), methods)
    place.invert_yaxis()


def _short(name: str) -> str:
    return (name.partition(":")[2] or name).rstrip("/")[-18:]
