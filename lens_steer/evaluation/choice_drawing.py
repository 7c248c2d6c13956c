"""Candidates of a choice by layer and strength: behaviour beside what it costs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_steer.figures import canvas, name_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 16  # strengths that are named along an axis
_RING: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "none", "mec": "C3", "mew": 1.8}


def draw_layers_and_strengths(choice: Any) -> "Figure":
    """Behaviour over layer and strength, beside nats (perplexity where not known).

    Args:
        choice: A `Choice`, each of whose candidates edits one layer.

    Raises:
        ValueError: If a candidate edits several layers, or two are at one layer and strength.
    """
    places = [_place(candidate) for candidate in choice.candidates]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ValueError(
            f"two candidates at layer {twice[0]}, strength {twice[1]:g}: a map has one for each, "
            "take figure()"
        )
    layers, strengths = (sorted({place[i] for place in places}) for i in (0, 1))
    cells = [(layers.index(layer), strengths.index(strength)) for layer, strength in places]
    trials = (choice.unsteered, *choice.trials)
    known = all(trial.text_costs is not None and np.isfinite(trial.kl) for trial in trials)
    costs = [t.kl if known else t.perplexity for t in choice.trials]
    height = min(max(3.4, 1.2 + 0.14 * len(layers)), 12.0)  # inches
    with canvas(1, 2, width=8.0, height=height, sharey=True) as (figure, (left, right)):
        shares = [trial.share for trial in choice.trials]
        cost = "nats per token" if known else "perplexity of the text"
        maps = (
            (left, shares, "share that shows the behaviour", "viridis"),
            (right, costs, cost, "magma_r"),
        )
        for axes, values, name, colours in maps:
            grid = np.full((len(layers), len(strengths)), np.nan)
            grid[tuple(np.transpose(cells))] = values
            image = axes.imshow(grid, aspect="auto", origin="lower", cmap=colours)
            axes.set_facecolor("0.92")
            figure.colorbar(image, ax=axes, label=name)
            row, column = cells[choice.best_index]
            axes.plot([column], [row], **_RING, ms=min(9.0, 60 * height / len(layers) - 2))
            name_layers(axes.yaxis, list(map(str, layers)))
            _name_strengths(axes, strengths)
        left.set(ylabel="layer")
        figure.suptitle("ringed: taken; grey: not tried")
    return figure


def _place(candidate: Any) -> tuple[int, float]:
    layers = sorted({site.layer for site in candidate.sites})
    if len(layers) != 1:
        raise ValueError(
            f"{candidate!r} edits {len(layers)} layers: a map needs candidates of one layer each, "
            "take figure()"
        )
    return layers[0], float(candidate.strength)


def _name_strengths(axes: Any, strengths: list[float]) -> None:
    step = -(-len(strengths) // _MOST)
    places = range(0, len(strengths), step)
    axes.set_xticks(places, [f"{strengths[i]:.3g}" for i in places], rotation=90)
    axes.set(xlabel="strength")
