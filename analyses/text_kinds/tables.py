"""Tables of the study: a row for each block, and counts over blocks."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analyses.text_kinds.fields import LINE
from analyses.text_kinds.predictions import (
    FRACTIONS,
    IDENTITY,
    OTHER,
    OWN,
    SAME,
    UNITS,
    BlockErrors,
)

DIGITS = 3  # significant ones that tables keep
PUSH = ("kind", "layer", "unit", "fraction", "length", "ratio", "kl")
SIZES = [(unit, fraction) for unit in UNITS for fraction in FRACTIONS]


def layer_rows(kind: str, kinds: Sequence[str], block: BlockErrors) -> Iterator[dict[str, Any]]:
    """A row for each size of the push at one block.

    `length` is the mean |d|, `ratio` the mean |d| / |z|, `kl` the nats that the push costs on
    average, measured at the length that is to cost .1. `PREDICTOR_error` is the mean relative
    error, `PREDICTOR` the skill over the identity, `over_KIND` that of the tested kind's mean over
    the mean of another kind.
    """
    for size, (unit, fraction) in enumerate(SIZES):
        row: dict[str, Any] = {"kind": kind, "layer": block.layer, "unit": unit}
        row |= {"fraction": fraction, "length": float(block.lengths[size].mean())}
        row |= {"ratio": float(block.ratios[size].mean()), "kl": float("nan")}
        if (unit, fraction) == SIZES[-1]:
            row["kl"] = float(block.nats.mean())
        for name in (OWN, IDENTITY):
            row |= block.error(name, size).columns(f"{name}_error")
        for name in (SAME, OTHER, *kinds):
            row[f"{name}_error"] = block.error(name, size).mean
        for name in (OWN, SAME, OTHER, *kinds):
            row |= block.skill(name, size).columns(name)
        for name in kinds:
            if name != kind:
                row |= block.skill(kind, size, name).columns(f"over_{name}")
        yield row


def of_errors(layers: Any) -> Any:
    """What the push is, and errors and skills of a text's own Jacobian and the classes' means."""
    heads = (OWN, SAME, OTHER, IDENTITY)
    return layers[[*PUSH, *(name for name in layers if name.startswith(heads))]]


def of_kinds(layers: Any, kinds: Sequence[str]) -> Any:
    """Skills over the identity of the means over each kind, in every block."""
    columns = [f"{kind}{end}" for kind in kinds for end in ("", "_low", "_high")]
    return layers[[*PUSH[:4], *columns]]


def rounded(table: Any) -> Any:
    """The numbers of a table to `DIGITS` significant digits, so that the file stays small."""
    result = table.copy()
    for name in result.select_dtypes("float"):
        result[name] = [float(f"{x:.{DIGITS}g}") for x in result[name]]
    return result


def verdict(above: int, below: int, cells: int) -> str:
    """The rule of the claims page: observed if it holds in more than half of the cells."""
    if cells and above > cells / 2:
        return "observed"
    return "the other way round" if cells and below > cells / 2 else "not observed"


def summary(layers: Any, kinds: Sequence[str]) -> Any:
    """A row for each kind, size and predictor: the blocks whose interval lies above 0, or below.

    Skill is over the identity; for `own kind over K` it is that of the tested kind's mean over the
    mean of kind K.
    """
    rows = []
    for (kind, unit, fraction), part in layers.groupby(["kind", "unit", "fraction"], sort=False):
        where = {"kind": kind, "unit": unit, "fraction": fraction}
        for name in (OWN, SAME, OTHER, *kinds):
            error = float(part[f"{name}_error"].median())
            base = float(part[f"{IDENTITY}_error"].median())
            row = where | {"what": name, "median_error": error, "identity_error": base}
            rows.append(row | counts(part, name, 0.0))
        rows += [
            where | {"what": f"own kind over {name}"} | counts(part, f"over_{name}", 0.0)
            for name in kinds
            if name != kind
        ]
    return pd.DataFrame(rows)


def field_summary(fields: Any) -> Any:
    """A row for each kind: in how many blocks the field's cosine lies above `LINE` or below."""
    rows = []
    for kind, part in fields.groupby("kind", sort=False):
        for what in ("linearity", "mean_linearity"):
            found = counts(part, what, LINE)
            ends = {"least": part[what].min(), "most": part[what].max()}
            rows.append({"kind": kind, "what": what} | found | ends)
    return pd.DataFrame(rows)


def counts(part: Any, column: str, level: float) -> dict[str, Any]:
    """How many intervals of a column lie above a level or below, of those that there are."""
    known = part[part[f"{column}_low"].notna()]
    above = int((known[f"{column}_low"] > level).sum())
    below = int((known[f"{column}_high"] < level).sum())
    found = {"cells": len(known), "above": above, "below": below}
    return found | {
        "median": float(known[column].median()),
        "verdict": verdict(above, below, len(known)),
    }
