"""Figures of tracking: signals over layers and over tokens, and several methods side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_steer.intervals import Interval, plot_band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIGNAL = "feature\n$(v_k\\cdot z_k$ - undesired mean) / $\\mu_k$"
_ENERGY = "energy, %\n$|u_{k-1}|^2 / |z_k|^2$"
_COLOURS = {"desired": "C2", "undesired": "C3", "text": "C0"}


def draw_layers(rows: Any, counts: str) -> "Figure":
    """Draw signals of either class beside set-points and class means above, energy below.

    Args:
        rows: The table of one offset, a row per class and state.
        counts: How many texts and groups there are.
    """
    from lens_steer.figures import canvas, whole_numbers

    height = {"height_ratios": (2, 1)}
    size = {"width": 5.4, "height": 5.2, "sharex": True, "gridspec_kw": height}
    with canvas(2, 1, **size) as (figure, (above, below)):
        for name, part in rows.groupby("class"):
            _signals(above, part, "layer", str(name))
            energy = _percent(intervals(part, "energy"))
            plot_band(below, part["layer"].tolist(), energy, _COLOURS[str(name)], "_")
        above.plot(rows["layer"], rows["setpoint"], "k_", ms=14, mew=1.6, label="set-point")
        _class_means(above)
        above.set(ylabel=_SIGNAL)
        below.set(xlabel="k: $z_0$ is embedded, $z_k$ leaves block k - 1")
        below.set(ylabel=_ENERGY, ylim=(0, None))
        whole_numbers(below.xaxis)
        handles, labels = above.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, title=counts)
    return figure


def draw_tokens(table: Any, layers: Sequence[int], counts: str) -> "Figure":
    """Draw signals over tokens, in a panel for each state."""
    from lens_steer.figures import canvas, whole_numbers

    options: dict[str, Any] = {"width": 1.0 + 2.5 * len(layers), "height": 3.7, "sharey": True}
    with canvas(1, len(layers), squeeze=False, **options) as (figure, (panels,)):
        for axes, layer in zip(panels, layers, strict=True):
            rows = table[table["layer"] == layer]
            for name, part in rows.groupby("class"):
                _signals(axes, part, "offset", str(name))
            axes.axhline(rows["setpoint"].iloc[0], color="k", lw=1.4, label="set-point")
            _class_means(axes)
            axes.set(title=f"$z_{{{layer}}}$")
            whole_numbers(axes.xaxis)
        panels[0].set(ylabel=_SIGNAL)
        ends = table[table["offset"] == table["offset"].max()].groupby("class")["texts"].first()
        least = f"{ends.sum()} texts reach the last token"
        figure.supxlabel(f"token (0: where steering begins); {least}", fontsize=8)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, title=counts)
    return figure


def compare_figure(reports: Mapping[str, Any], offset: int = 0) -> "Figure":
    """Set-point error and energy per layer, a line for each `TrackingReport`.

    Errors are distances from each report's own set-points; the unsteered error is drawn where all
    reports share theirs.

    Raises:
        ValueError: If there is no report.

    Example:
        >>> ls.tracking.compare_figure({"LQR": report, "CAA": other})
    """
    from lens_steer.figures import canvas, whole_numbers

    if not reports:
        raise ValueError("no reports: expected a name for each, {'LQR': report}")
    first = next(iter(reports.values()))
    with canvas(1, 2, width=8.2, height=3.9) as (figure, (left, right)):
        for i, (name, report) in enumerate(reports.items()):
            errors, energy = report.error(offset), _percent(report.mean_energy(offset))
            plot_band(left, range(len(errors)), errors, f"C{i % 10}", name)
            plot_band(right, range(1, len(errors)), energy, f"C{i % 10}", name)
        if all(bool((r.setpoints == first.setpoints).all()) for r in reports.values()):
            errors = first.error(offset, steered=False)
            plot_band(left, range(len(errors)), errors, "0.45", "unsteered")
        left.set(ylabel="set-point error / $\\mu_k$, rms over texts", ylim=(0, None))
        right.set(ylabel=_ENERGY, ylim=(0, None))
        for axes in (left, right):
            axes.set(xlabel="k: $z_k$ leaves block k - 1")
            whole_numbers(axes.xaxis)
        texts = f"n = {len(first.groups)} texts, {len(set(first.groups))} groups"
        title = f"token {offset}; {texts}; 95 % intervals"
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, title=title)
    return figure


def intervals(rows: Any, name: str) -> list[Interval]:
    """The intervals in the columns `name`, `name_low` and `name_high`."""
    mean, low, high = (rows[f"{name}{end}"].astype(float) for end in ("", "_low", "_high"))
    return [Interval(*ends) for ends in zip(mean, low, high, strict=True)]


def _class_means(axes: Any) -> None:
    for height in (0, 1):  # the undesired mean and the desired one
        axes.axhline(height, color="0.6", lw=0.8, ls="--", label="_")


def _signals(axes: Any, rows: Any, x: str, name: str) -> None:
    """Draw the steered signals, and the unsteered ones as a dotted line."""
    colour = _COLOURS[name]
    plot_band(axes, rows[x].tolist(), intervals(rows, "signal"), colour, f"{name}, steered")
    axes.plot(rows[x], rows["signal_clean"], ":", color=colour, lw=1.4, label=f"{name}, unsteered")


def _percent(shares: Sequence[Interval]) -> list[Interval]:
    return [Interval(100 * x.mean, 100 * x.low, 100 * x.high) for x in shares]
