"""Figures of a registered run: contrasts with their margins, gains of every task, the frontier."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.registered.gate import LEAST
from analyses.registered.measuring import CHOSEN_AT, NATS
from analyses.registered.methods import METHODS
from analyses.registered.references import GATE_AT
from lens_steer.figures import canvas, legend_outside

_POINTS = 100
_GATES = {"CAA": "CAA", "learned": "learned vector", "prompting": "words in the prompt"}
_COLOURS = {name: f"C{i}" for i, name in enumerate(METHODS)}


def _style(method: str) -> dict[str, Any]:
    """The same in every figure; what methods stand beside is black and broken."""
    line = "-" if method in _COLOURS else "--"
    return {"color": _COLOURS.get(method, "k"), "ls": line, "marker": "o", "ms": 3, "label": method}


def gates_figure(table: Any) -> Figure:
    """How far words, a learned vector and CAA move each task's share of texts, with intervals."""
    tasks = list(dict.fromkeys(table["task"]))
    with canvas(width=6.4, height=1.3 + 0.5 * len(tasks)) as (figure, axes):
        for i, (method, label) in enumerate(_GATES.items()):
            part = table[(table["method"] == method) & table["change"].notna()]
            y = [len(tasks) - 1 - tasks.index(task) + 0.22 * (1 - i) for task in part["task"]]
            ends = [part["change"] - part["change_low"], part["change_high"] - part["change"]]
            marks: dict[str, Any] = {"fmt": "o", "ms": 4, "lw": 1.5, "color": f"C{i}"}
            axes.errorbar(
                _POINTS * part["change"], y, xerr=_POINTS * np.array(ends), label=label, **marks
            )
        axes.axvline(0, color="k", lw=0.8)
        axes.axvline(_POINTS * LEAST, color="0.6", ls="--", lw=0.8, label="least that enters")
        shares = table.groupby("task", sort=False)["unsteered"].first()
        names = [f"{task}\n({shares[task]:.0%} unsteered)" for task in tasks]
        axes.set_yticks(range(len(tasks)), names[::-1])
        axes.set(
            xlabel=f"change of the share of texts, points, at up to {GATE_AT:g} nats per token"
        )
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure


def contrasts_figure(table: Any) -> Figure:
    """Each contrast with both intervals, over the margin of equivalence."""
    rows = table.to_dict("records")
    with canvas(width=6.4, height=1.2 + 0.42 * len(rows)) as (figure, axes):
        margin = _POINTS * rows[0]["margin"]
        axes.axvspan(-margin, margin, color="0.92", label="margin of equivalence")
        axes.axvline(0, color="k", lw=0.8)
        for y, row in enumerate(reversed(rows)):
            wide = [_POINTS * row[f"over_tasks{end}"] for end in ("_low", "_high")]
            narrow = [_POINTS * row[f"difference{end}"] for end in ("_low", "_high")]
            label = {"label": "other tasks (t interval)"} if y == 0 else {}
            axes.plot(wide, [y - 0.17] * 2, color="0.6", lw=1, **label)
            label = {"label": "95 %: items and fits (t over folds)"} if y == 0 else {}
            axes.plot(narrow, [y, y], color="C0", lw=2, **label)
            axes.plot(_POINTS * row["difference"], y, "o", color="C0")
        ends = [abs(_POINTS * row[f"difference{end}"]) for row in rows for end in ("_low", "_high")]
        reach = 1.5 * max(margin, *ends)  # few tasks have intervals over tasks that go far beyond
        axes.set(xlim=(-reach, reach))
        names = [f"{row['method']}\nless {row['less']}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.set(xlabel=f"gain at 0.1 nats, points, mean over {rows[0]['tasks']} tasks")
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure


def gains_figure(table: Any) -> Figure:
    """The gain of every method in every task at 0.1 nats asked for: a dot for each fold."""
    at = table[(table["asked_nats"] == CHOSEN_AT) | table["asked_nats"].isna()]
    at = at[at["method"] != "unsteered"]
    tasks, methods = list(dict.fromkeys(at["task"])), list(dict.fromkeys(at["method"]))
    with canvas(
        1,
        len(tasks),
        width=2.2 + 1.5 * len(tasks),
        height=1.1 + 0.24 * len(methods),
        sharey=True,
        squeeze=False,
    ) as (figure, panels):
        for axes, task in zip(panels[0], tasks, strict=True):
            axes.axvline(0, color="k", lw=0.8)
            for y, method in enumerate(reversed(methods)):
                values = at[(at["task"] == task) & (at["method"] == method)]["gain"] * _POINTS
                axes.plot(values, np.full(len(values), y), "o", color="C0", alpha=0.5, ms=3)
                axes.plot(values.mean(), y, "|", color="k", ms=9)
            axes.set(title=task)
        panels[0][0].set_yticks(range(len(methods)), methods[::-1])
        figure.supxlabel("gain over the unsteered model, points; a dot for each fold, | their mean")
    return figure


def frontier_figure(table: Any) -> Figure:
    """Mean gain over tasks against the nats that were paid, for methods with several costs."""
    costs = table.groupby("method", sort=False)["asked_nats"].nunique()
    methods = [name for name in costs.index if costs[name] > 1]
    with canvas(width=5.8, height=3.6) as (figure, axes):
        for method in methods:
            part = table[table["method"] == method].groupby("asked_nats")[["nats", "gain"]].mean()
            x, y = [0.0, *part["nats"]], [0.0, *(_POINTS * part["gain"])]
            axes.plot(np.sqrt(x), y, **_style(method))
        axes.set(xlabel="nats per token (root scale)")
        axes.set(ylabel="gain, points,\nmean over tasks")
        ticks = [0, *NATS]
        axes.set_xticks(np.sqrt(ticks), [f"{tick:g}" for tick in ticks])
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure


def best_of_n_figure(table: Any) -> Figure:
    """What choosing among n structures is worth."""
    with canvas(width=5.6, height=3.2) as (figure, axes):
        for method in dict.fromkeys(table["method"]):
            part = table[table["method"] == method]
            axes.plot(part["n"], _POINTS * part["gain"], **_style(method))
        axes.set(xlabel="structures tried on dev", ylabel="gain at about 0.1 nats,\npoints")
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure
