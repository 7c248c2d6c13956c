"""Tables of the study: how many pairs fall, by which path, prompt or ending, and what repairs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from analyses.wrong_way.measuring import REPAIRS
from lens_steer.intervals import NAN_INTERVAL, interval

Rows = Sequence[Mapping[str, Any]]
Cells = Mapping[tuple[str, int], Rows]
PARTS = ("direct", "attention", "mlp")
FORECASTS = ("direct", "attention", "mlp", "mean_change")
PLAIN, TURNED, KNOWN, GUESSED = range(4)  # the settings of a layer


def layers(rows: Rows) -> list[Mapping[str, Any]]:
    """The rows of the layers that could be brought to the cost."""
    return [row for row in rows[1:] if "slopes" in row]


def slope(row: Mapping[str, Any]) -> Any:
    """The slope of every pair, nats at the strength of the cost."""
    return sum(np.array(row["slopes"][part]) for part in PARTS)


def counted(cells: Cells, *, seed: int) -> pd.DataFrame:
    """How many pairs go the wrong way, by slope and as measured, and whether slopes say which.

    Behind the last block, where the slope is all but the change itself, nothing is counted.
    """

    def of_layer(rows: Rows, row: Mapping[str, Any]) -> dict[str, float]:
        del rows
        told, change = slope(row), np.array(row["changes"][PLAIN])
        fell = change < 0
        return {
            "rank correlation of slope and change": _correlation(told, change),
            "slope below 0": float((told < 0).mean()),
            "margin fell": float(fell.mean()),
            "fell, of slopes below 0": _share(fell, told < 0),
            "fell, of slopes above 0": _share(fell, told > 0),
            "lost by those that fell, of all change": float(
                np.abs(change[fell]).sum() / np.abs(change).sum()
            ),
        }

    return _over_tasks(_before_the_last(cells), of_layer, seed)


def paths(cells: Cells, *, seed: int) -> pd.DataFrame:
    """Which parts are below 0, of pairs with slopes below 0 and of the others; and what goes along.

    Of the former also how many would be right without a part of the sum; of all pairs the rank
    correlation and the share of equal signs of the slope and each part, and of the slope and what
    the mean change of other texts would make of it. Behind the last block there are no later parts:
    it is left out.
    """

    def of_layer(rows: Rows, row: Mapping[str, Any]) -> dict[str, float]:
        clean, whole = np.array(rows[0]["margins"]), slope(row)
        wrong = whole < 0
        parts = {name: np.array(row["slopes"][name]) for name in FORECASTS}
        found = {f"wrong: {name} below 0": _share(parts[name] < 0, wrong) for name in FORECASTS}
        for name in FORECASTS:
            found[f"right: {name} below 0"] = _share(parts[name] < 0, whole > 0)
        for name in PARTS:
            found[f"wrong: right without {name}"] = _share(whole - parts[name] > 0, wrong)
        for name, values in parts.items():
            found[f"all: correlation with {name}"] = _correlation(values, whole)
            found[f"all: sign of {name}"] = float((np.sign(values) == np.sign(whole)).mean())
        found["all: correlation with clean margin"] = _correlation(clean, whole)
        found["all: correlation with the guess"] = _correlation(np.array(row["guessed"]), whole)
        return found

    return _over_tasks(_before_the_last(cells), of_layer, seed)


def _before_the_last(cells: Cells) -> dict[tuple[str, int], Rows]:
    """Without the last of several layers, which is the model's last block."""
    return {
        cell: [rows[0], *(row for row in layers(rows) if row["layer"] != max_layer(rows))]
        if len(layers(rows)) > 1
        else rows
        for cell, rows in cells.items()
    }


def max_layer(rows: Rows) -> int:
    """The last layer that was measured."""
    return max(row["layer"] for row in layers(rows))


def crossed(cells: Cells, *, seed: int) -> pd.DataFrame:
    """Shares of the variance of slopes that go with prompt, ending, and both.

    Within groups of like prompts, and between one prompt of every group where endings fit any.
    Unbiased estimates of a two-way layout without repetition, sums over groups; a share of what
    does not matter comes out below 0 as often as above.
    """
    table = []
    for where in ("within", "between"):
        some = [
            (task, row[where]) for (task, _), rows in cells.items() for row in rows if where in row
        ]
        shares = [variance_shares(values) for _, values in some]
        for i, name in enumerate(("prompt", "ending", "both together")):
            values = _mean([found[i] for found in shares], [task for task, _ in some], seed)
            table.append({"groups": where, "what": name, "cells": len(some)} | values)
    return pd.DataFrame(table)


def variance_shares(cells: Sequence[Sequence[float | int]]) -> tuple[float, float, float]:
    """Of rows (group, prompt, ending, value): what goes with prompt, ending, and both."""
    table = pd.DataFrame(cells, columns=["group", "prompt", "ending", "value"])
    total = np.zeros(3)
    for _, part in table.groupby("group"):
        x = part.pivot_table(index="prompt", columns="ending", values="value").to_numpy()
        n, m = x.shape
        mean, by_row, by_column = x.mean(), x.mean(axis=1), x.mean(axis=0)
        rest = x - by_row[:, None] - by_column[None] + mean
        between = (rest**2).sum() / ((n - 1) * (m - 1))
        total += [
            by_row.var(ddof=1) - between / m,
            by_column.var(ddof=1) - between / n,
            between,
        ]
    first, second, third = total / total.sum()
    return float(first), float(second), float(third)


def repairs(cells: Cells, *, seed: int) -> pd.DataFrame:
    """What signs and gates gain over plain steering at equal nats; margins, nats, over layers."""

    def of_layer(rows: Rows, row: Mapping[str, Any]) -> dict[str, float]:
        del rows
        changes = np.array(row["changes"])
        gains = {name: float(each.mean()) for name, each in repaired(row, changes).items()}
        plain = float(changes[PLAIN].mean())
        return {"plain": plain} | {f"{name} less plain": g - plain for name, g in gains.items()}

    return _over_tasks(cells, of_layer, seed)


def texts(cells: Cells, *, seed: int) -> pd.DataFrame:
    """The same of shares of texts at half depth, points, with what each cost along its texts."""

    def of_layer(rows: Rows, row: Mapping[str, Any]) -> dict[str, float]:
        del rows
        if "shown" not in row or len(row["shown"][0]) != len(row["guessed"]):
            return {}
        shown = 100 * np.nan_to_num(np.array(row["shown"], dtype=float))
        gains, nats = shown[1:] - shown[0], np.array(row["nats"], dtype=float)[1:]
        tokens = np.array(row["tokens"], dtype=float)[1:]
        plain = float(gains[PLAIN].mean())
        found = {"plain": plain}
        for name, each in repaired(row, gains).items():
            found[f"{name} less plain"] = float(each.mean()) - plain
        found["plain: nats per token"] = float(nats[PLAIN].sum() / tokens[PLAIN].sum())
        drawn = repaired(row, tokens, untouched=np.array(row["tokens"][0], dtype=float))
        for name, each in repaired(row, nats).items():
            found[f"{name}: nats per token"] = float(each.sum() / drawn[name].sum())
        return found

    return _over_tasks(cells, of_layer, seed)


def repaired(row: Mapping[str, Any], values: Any, untouched: Any = 0.0) -> dict[str, Any]:
    """What each repair leads to, pair by pair, from what the four settings did.

    Args:
        row: Of a layer.
        values: A row for each setting: plain, turned round, and the two gates.
        untouched: What a prompt has that a gate leaves alone.
    """
    told = {"known": slope(row), "guessed": np.array(row["guessed"])}
    found = {}
    for name, gate in zip(REPAIRS, (KNOWN, GUESSED), strict=True):
        found[f"sign, {name}"] = np.where(told[name] > 0, values[PLAIN], values[TURNED])
        found[f"gate, {name}"] = np.where(told[name] > 0, values[gate], untouched)
    return found


def _over_tasks(
    cells: Cells, of_layer: Callable[[Rows, Mapping[str, Any]], dict[str, float]], seed: int
) -> pd.DataFrame:
    """The mean over layers of a cell, then over cells with its interval over tasks."""
    found: dict[str, list[float]] = {}
    tasks = []
    for (task, _), rows in cells.items():
        each = pd.DataFrame([d for row in layers(rows) if (d := of_layer(rows, row))])
        if len(each):
            tasks.append(task)
            for name, value in each.mean().items():
                found.setdefault(str(name), []).append(float(value))
    return pd.DataFrame(
        [{"what": name, "cells": len(tasks)} | _mean(v, tasks, seed) for name, v in found.items()]
    )


def _mean(values: Sequence[float], tasks: Sequence[str], seed: int) -> dict[str, float]:
    x = torch.tensor(values).double()
    known = x.isfinite()
    some = [task for task, ok in zip(tasks, known.tolist(), strict=True) if ok]
    if not some:
        return NAN_INTERVAL.columns("value")
    return interval(x[known], some, seed=seed).columns("value")


def _share(what: Any, of: Any) -> float:
    return float(what[of].mean()) if of.any() else float("nan")


def _correlation(x: Any, y: Any) -> float:
    if not np.ptp(x) or not np.ptp(y):
        return float("nan")
    found: Any = spearmanr(x, y)
    return float(found.statistic)
