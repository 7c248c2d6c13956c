"""Figures of the study: correlations and signs by cost, reach, and what choices lose."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.forecast.measuring import NATS
from lens_steer.figures import canvas, legend_outside

_NAMES = {
    "forecast": "forecast against change",
    "clean margin": "clean margin against change",
    "sign": "share of signs foretold",
}


def prompts_figure(table: Any) -> Figure:
    """How well single prompts are foretold, against the cost."""
    with canvas(width=5.6, height=3.0) as (figure, axes):
        for i, what in enumerate(dict.fromkeys(table["what"])):
            part = table[table["what"] == what]
            x = np.sqrt(part["nats"])
            axes.plot(x, part["value"], "o-", color=f"C{i}", ms=4, label=_NAMES[what])
            axes.fill_between(x, part["value_low"], part["value_high"], color=f"C{i}", alpha=0.15)
        axes.axhline(0, color="k", lw=0.8)
        axes.set_xticks(np.sqrt(NATS), [f"{k:g}" for k in NATS])
        axes.set(xlabel="nats per token (root scale)", ylim=(None, 1.02))
        axes.set(ylabel="rank correlation, or share\n(95 % over tasks)")
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure


def reach_figure(table: Any) -> Figure:
    """Measured over foretold, medians with quartiles, against the cost."""
    names = {"strength": "strength needed", "gain": "gain at that strength"}
    names |= {"gain_at_cost": "gain at that cost"}
    with canvas(width=5.6, height=3.0) as (figure, axes):
        for i, (name, label) in enumerate(names.items()):
            x = np.sqrt(table["nats"]) * (1 + 0.02 * (i - 1))
            ends = [table[name] - table[f"{name}_quartile_1"]]
            ends.append(table[f"{name}_quartile_3"] - table[name])
            axes.errorbar(x, table[name], ends, fmt="o-", ms=4, capsize=2, label=label)
        axes.axhline(1, color="k", lw=0.8)
        axes.set_xticks(np.sqrt(NATS), [f"{k:g}" for k in NATS])
        axes.set(xlabel="nats per token (root scale)", ylabel="measured / foretold\n(quartiles)")
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure


def regret_figure(table: Any) -> Figure:
    """What each rule's choice loses on test, a panel for each measure."""
    measures = list(dict.fromkeys(table["measure"]))
    rules = list(dict.fromkeys(table["rule"]))[::-1]
    with canvas(1, len(measures), width=7.0, height=1.1 + 0.3 * len(rules), sharey=True) as (
        figure,
        panels,
    ):
        for axes, measure in zip(panels, measures, strict=True):
            part = table[table["measure"] == measure].set_index("rule")
            for y, rule in enumerate(rules):
                row = part.loc[rule]
                axes.plot([row["regret_low"], row["regret_high"]], [y, y], color="C0")
                axes.plot(row["regret"], y, "o", color="C0", ms=4)
            axes.axvline(0, color="k", lw=0.8)
            axes.set(xlabel=f"regret: {measure}")
        panels[0].set_yticks(range(len(rules)), rules)
    return figure
