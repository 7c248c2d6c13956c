"""The table of a comparison: a pandas DataFrame that prints on one screen."""

from typing import Any

import pandas as pd

from lens_steer.reports import WIDTH, folded, screenful

_FIRST = (  # what is read first: what was done, what it cost, whether it is real
    "method", "behaviour", "kl", "change", "p_holm", "perplexity", "efficiency", "failed",
    "distinct_2", "relative_norm", "kl_fixed", "area",
)  # fmt: skip
_LINES = 22  # of one screen


class ComparisonTable(pd.DataFrame):
    """What `compare` returns: every column is there, and it prints the dozen that is read first.

    Numbers stand with their intervals, `0.50 [0.37, 0.63]`. `full` is the same table as pandas
    prints it. Whatever is selected or computed from it is a plain DataFrame.

    Example:
        >>> table = ls.compare(model, test, [method], judge=judge)
        >>> print(table)
        >>> print(table.full.to_string())
    """

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @property
    def full(self) -> pd.DataFrame:
        """A plain DataFrame of all columns."""
        return pd.DataFrame(self)

    def __repr__(self) -> str:
        return _printed(self.full)

    def __str__(self) -> str:
        return _printed(self.full)

    def _repr_html_(self) -> str:
        table: Any = self.full
        shown = folded(table[_columns(table)]).to_html(index=False)
        return f"{shown}\n<p>{len(table.columns)} columns: .full</p>"


def _columns(table: Any) -> list[str]:
    """Those that are read first, with the ends of their intervals; the behaviour if of several."""
    first = [name for name in _FIRST if name in table.columns]
    if table["behaviour_name"].nunique() > 1:
        first.insert(1, "behaviour_name")
    if "failure" in table.columns:
        first.append("failure")
    ends = [f"{name}{end}" for name in first for end in ("", "_low", "_high")]
    return [name for name in ends if name in table.columns]


def _printed(table: Any) -> str:
    """The first columns in as many blocks below each other as fit on a screen."""
    short: Any = folded(table[_columns(table)])
    keys = [name for name in ("method", "behaviour_name") if name in short.columns]
    rest = [name for name in short.columns if name not in keys]
    count = max(1, min(3, _LINES // (len(table) + 2)))
    blocks = []
    for _ in range(count):
        taken = _fitting(short, keys, rest)
        if taken:
            blocks.append(screenful(short[[*keys, *taken]]))
            rest = rest[len(taken) :]
    blocks.append(f"all {len(table.columns)} columns: .full")
    return "\n\n".join(blocks)


def _fitting(short: Any, keys: list[str], rest: list[str]) -> list[str]:
    """The columns that fit beside the names on a line."""
    widths = {n: max([len(n), *map(len, short[n])]) + 1 for n in (*keys, *rest)}
    room, taken = WIDTH - sum(widths[key] for key in keys), []
    for name in rest:
        room -= widths[name]
        if room < 0:
            break
        taken.append(name)
    return taken
