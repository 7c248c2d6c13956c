"""Tables of the study: parts with intervals, best vectors by layer, means over behaviours."""

from collections.abc import Hashable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analyses.studies import Tables
from analyses.where_nats_go.estimates import intervals
from analyses.where_nats_go.measuring import BEST, MODEL, Rows, best_row
from analyses.where_nats_go.parts import (
    CAUSES,
    PLACES,
    Local,
    Parts,
    Prompts,
    causes,
    mean,
    places,
    totals,
)
from lens_steer.intervals import NAN_INTERVAL

Array = np.ndarray
TOKENWISE = ("nats", "floor", "excess", *CAUSES, *PLACES)  # of which tables say nats per token
SHARES = ("unsteered", "share", "efficiency", "first_token")
SETTLED = 0.05  # shares below it, or as near to 1, have next to no room


def parts_table(rows: Rows, seed: int) -> pd.DataFrame:
    """A row for each method and cost asked for: nats per token, their parts, and shares.

    Args:
        rows: Of one behaviour, as `Measuring` gives them.
        seed: Of the intervals.
    """
    head, best = _model(rows)
    groups = head["groups"]
    found = []
    for row in (each for each in rows if each["method"] != MODEL):
        columns = {name: row.get(name) for name in ("method", "asked", "strength", "failure")}
        columns["setting"] = _words(row.get("setting", {}))
        if "numbers" in row:
            columns |= _parts(row, _local(best), groups, seed)
        found.append(columns)
    return pd.DataFrame(found)


def layers_table(rows: Rows, seed: int) -> pd.DataFrame:
    """A row for each layer: how efficient its best vector and each method are at small strengths.

    Methods have rows too, without a layer.
    """
    head, best = _model(rows)
    first = {row["method"]: row for row in reversed(rows) if "local" in row and "layer" not in row}
    of_layers = [row for row in rows if "layer" in row and "local" in row]
    found = []
    for row in (*of_layers, *reversed(first.values())):
        local = _local(row)
        p = np.asarray(head["numbers"]["shows"])

        def efficiencies(
            weights: Float[Array, "set prompt"], local: Local = local, v: Any = p * (1 - p)
        ) -> Parts:
            own = local.own_strengths(v, weights)
            return {"efficiency": local.efficiency(v, weights), "own_strengths": own}

        columns = {name: row.get(name) for name in ("method", "layer", "held_out")}
        columns["best"] = row is best
        columns["method"] = BEST if row["method"] == MODEL else row["method"]
        found.append(columns | _columns(intervals(efficiencies, head["groups"], seed=seed)))
    return pd.DataFrame(found)


def with_means(tables: Tables) -> Tables:
    """The tables, with the mean of every part over behaviours.

    Behaviours are independent and count alike; half-widths add up by their squares. What fails or
    cannot be split in one behaviour is left out there, and `behaviours` counts the others.
    """
    parts, found = tables["parts"], []
    usable = parts[parts["nats"].notna()]
    for (method, asked), rows in usable.groupby(["method", "asked"], dropna=False, sort=False):
        columns = {"method": method, "asked": asked, "behaviours": len(rows)}
        columns["well_formed_share"] = rows["well_formed_share"].mean()
        for name in (*TOKENWISE, *SHARES):
            columns |= _mean(rows, name)
        found.append(columns)
    return tables | {"means": pd.DataFrame(found)}


def _model(rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of the unsteered texts, and the best vector of the best layer."""
    head = next(row for row in rows if row["method"] == MODEL and "groups" in row)
    return head, best_row([row for row in rows if "layer" in row])


def _local(row: Mapping[str, Any]) -> Local:
    return Local(**{name: np.asarray(x, dtype=float) for name, x in row["local"].items()})


def _parts(
    row: Mapping[str, Any], best: Local, groups: Sequence[Hashable], seed: int
) -> dict[str, Any]:
    """Columns of one method at one cost."""
    local = _local(row) if "local" in row else None
    numbers = {name: np.asarray(x, dtype=float) for name, x in row["numbers"].items()}
    prompts = Prompts(**numbers, local=local, best=None if local is None else best)

    def statistic(weights: Float[Array, "set prompt"]) -> Parts:
        found = totals(prompts, weights) | places(prompts, weights)
        if local is not None:
            found |= causes(prompts, weights)
            found["correlation"] = local.correlation(prompts.variance, weights)
            found["own_strengths"] = local.own_strengths(prompts.variance, weights)
        tokens = mean(prompts.draws, weights)
        return {name: x / tokens if name in TOKENWISE else x for name, x in found.items()}

    settled = np.minimum(prompts.unsteered, 1 - prompts.unsteered) < SETTLED
    plain = {"well_formed_share": row["well_formed"], "settled_prompts": float(settled.mean())}
    found = intervals(statistic, groups, seed=seed)
    if local is not None:
        sign, own = found["correlation"], found["own_strengths"]
        if not min(sign.low * sign.high, own.low) > 0:  # no gain, by which causes are divided
            found |= dict.fromkeys(CAUSES, NAN_INTERVAL)
    return plain | _columns(found)


def _columns(found: Mapping[str, Any]) -> dict[str, float]:
    columns: dict[str, float] = {}
    for name, each in found.items():
        columns |= each.columns(name)
    return columns


def _mean(rows: Any, name: str) -> dict[str, float]:
    kept = rows[rows[name].notna()] if name in rows else rows.iloc[:0]
    if len(kept) == 0:
        return {name: nan, f"{name}_low": nan, f"{name}_high": nan}
    value = float(kept[name].mean())
    down, up = (
        float(np.sqrt(((kept[f"{name}{end}"] - kept[name]) ** 2).sum()) / len(kept))
        for end in ("_low", "_high")
    )
    return {name: value, f"{name}_low": value - down, f"{name}_high": value + up}


def _words(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{knob} {value}" for knob, value in setting.items())
