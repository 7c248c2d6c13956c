"""Figures of a run over questions, beside those of the registered study."""

from typing import Any

from matplotlib.figure import Figure

from lens_steer.figures import canvas, legend_outside

_POINTS = 100
_SHOWN = {
    "as_it_is": ("accuracy as it is", "o"),
    "with_bias": ("accuracy, both with a bias fitted to dev", "s"),
    "auc": ("AUC, which no bias moves", "^"),
}


def intercepts_figure(table: Any) -> Figure:
    """How much of what methods gain in accuracy one number would gain too.

    Args:
        table: As `tables.intercepts`.
    """
    tasks, methods = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["method"]))
    with canvas(
        1,
        len(tasks),
        width=4.8 + 1.7 * len(tasks),
        height=1.4 + 0.24 * len(methods),
        sharey=True,
        squeeze=False,
    ) as (figure, panels):
        for axes, task in zip(panels[0], tasks, strict=True):
            part = table[table["task"] == task].set_index("method").reindex(methods)
            axes.axvline(0, color="k", lw=0.8)
            alone = _POINTS * part["intercept"].dropna().iloc[0]
            axes.axvline(alone, color="k", lw=0.8, ls=":", label="that bias alone, unsteered")
            for k, (column, (label, marker)) in enumerate(_SHOWN.items()):
                y = [i + 0.22 * (k - 1) for i in range(len(methods))]
                axes.plot(_POINTS * part[column], y, marker, color=f"C{k}", ms=3, label=label)
            axes.set(title=task)
        panels[0][0].set_yticks(range(len(methods)), methods)
        panels[0][0].invert_yaxis()
        figure.supxlabel("change from the unsteered model at 0.1 nats, points, mean of folds")
        legend_outside(figure, title="", columns=1, where="right upper")
    return figure
