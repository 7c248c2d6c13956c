"""The figure of a path split: a column per method, nats, shares and what is left by offset."""

from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.paths.statistics import PARTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLES = {
    "both": ("k", "-", "both"),
    "residual": ("C0", "--", "residual: only itself steered"),
    "cache": ("C1", "-.", "cache: only what precedes steered"),
    "interaction": ("C2", ":", "interaction: both less the two"),
    "stopped": ("C3", "-", "steering stopped"),
}
_LABELS = (
    "KL(steered || clean)\nof the next token, nats",
    "share of the change in\nlogits that both make",
    "nats left, of those at the\nfirst unsteered token",
)


def draw_split(table: "pd.DataFrame", summary: "pd.DataFrame") -> "Figure":
    """Draw nats, shares and what is left by offset, with 95 % intervals.

    Args:
        table: A row per method, path and offset.
        summary: A row per method.
    """
    from lens_steer.figures import canvas

    methods = summary.to_dict("records")
    options: dict[str, Any] = {"sharex": True, "sharey": "row", "squeeze": False}
    width = 1.6 + 3.4 * len(methods)
    with canvas(3, len(methods), width=width, height=7.2, **options) as (figure, axes):
        for column, method in zip(axes.T, methods, strict=True):
            _draw_column(column, table.query("method == @method['method']"), method)
        for row, label in zip(axes, _LABELS, strict=True):
            row[0].set(ylabel=label)
        keys = {
            k: v for a in axes[:, 0] for v, k in zip(*a.get_legend_handles_labels(), strict=True)
        }
        counted = f"{methods[0]['texts']} texts in {methods[0]['groups']} groups, 95 % intervals;\n"
        counted += f"{table['texts'].min()} texts reach the last position"
        figure.legend(keys.values(), keys, loc="outside lower center", ncols=2, title=counted)
    return figure


def _draw_column(axes: Any, rows: "pd.DataFrame", method: dict[str, Any]) -> None:
    above, middle, below = axes
    for path in ("both", *PARTS[:2]):
        _curve(above, rows, path, "kl")
    for path in PARTS:
        _curve(middle, rows, path, "share")
    _curve(below, rows, "stopped", "kept")
    for height in (0, 1):
        middle.axhline(height, color="k", lw=0.6, ls=":")
    above.set(title=method["method"])
    above.set_yscale("log", nonpositive="mask")  # the cache's 0 at offset 0
    above.yaxis.set_major_formatter("{x:g}")
    _mark_half_life(below, method)
    below.set(xlabel="position (0: the last prompt token)")
    below.xaxis.get_major_locator().set_params(integer=True)


def _curve(axes: Any, rows: "pd.DataFrame", path: str, quantity: str) -> None:
    part = rows[(rows["path"] == path) & rows[quantity].notna()]
    colour, style, label = _STYLES[path]
    x, low, high = part["offset"], part[f"{quantity}_low"], part[f"{quantity}_high"]
    axes.plot(x, part[quantity], style, color=colour, marker=".", lw=1.2, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)


def _mark_half_life(axes: Any, method: dict[str, Any]) -> None:
    axes.axhline(0.5, color="k", lw=0.6, ls=":")
    half, first = method["half_life"], method["stop_after"]
    if np.isfinite(half):
        ends = [first + method[f"half_life{end}"] for end in ("_low", "_high")]
        last = first + method["followed"]
        axes.plot(np.minimum(ends, last), [0.5, 0.5], color="k", lw=1.5)
        axes.plot([first + half], [0.5], "o", color="k", mfc="white", ms=5)
    steered = "last prompt token" if first == 1 else f"first {first} positions"
    axes.set(title=f"only the {steered} steered:\nhalf-life {_tokens(method)}")


def _tokens(method: dict[str, Any]) -> str:
    """A half-life with its interval in words."""
    if np.isnan(method["half_life"]):
        return "unknown: nothing is left"
    half, low, high = (
        f"over {method['followed']}" if np.isinf(method[key]) else f"{method[key]:.2g}"
        for key in ("half_life", "half_life_low", "half_life_high")
    )
    return f"{half} [{low}, {high}] tokens"
