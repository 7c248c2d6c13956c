"""Curves of random search."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lens_steer.benchmark.random_search import RandomSearchCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", ":", "-.")
_MOST_BANDS = 6  # intervals of more methods than these hide each other; the table has them


def search_figure(searches: Sequence[RandomSearchCurve], behaviour_name: str) -> "Figure":
    """Behaviour on test of the best of n on dev, against n, for each method."""
    from lens_steer.figures import canvas

    first, banded = searches[0], len(searches) <= _MOST_BANDS
    with canvas() as (figure, axes):
        for i, search in enumerate(searches):
            table, color = search.table(), f"C{i % 10}"
            style = _LINES[i // 10 % len(_LINES)]
            axes.plot(table["n"], table["behaviour"], ls=style, color=color, label=search.method)
            if banded:
                axes.fill_between(table["n"], table["low"], table["high"], color=color, alpha=0.2)
        unsteered = first.test["shown"][-1].sum() / first.test["examples"][-1].sum()
        axes.axhline(unsteered, color="k", lw=0.8, ls=":", label="unsteered")
        axes.set(xlabel="trials of random search", ylim=(0, 1.02))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(ylabel=fill(f"{behaviour_name}, on test, of the best on dev", 34))
        title = f"at most {first.kl_limit:g} nats per token on dev" + "; 95 %" * banded
        place: dict[str, Any] = {"loc": "best"} if banded else {"loc": "outside right upper"}
        (axes if banded else figure).legend(title=fill(title, 24), fontsize=7, **place)
    return figure
