"""Forecasts beside what happened: prompts, strengths, choices, and shares of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import spearmanr

from analyses.forecast.candidates import CAA, RANDOM
from analyses.forecast.measuring import NATS, TEXTS_AT
from lens_steer.intervals import interval

Rows = Sequence[Mapping[str, Any]]
Cells = Mapping[tuple[str, int], Rows]
DEV, TEST = 0, 1
_AT = NATS.index(TEXTS_AT)
_TAUS = (-3.0, 4.0)  # exponents of 10


def methods(rows: Rows) -> list[Mapping[str, Any]]:
    """The rows of candidates that are no controls."""
    return [row for row in rows[1:] if row["family"] != RANDOM]


def prompts(cells: Cells, *, seed: int) -> pd.DataFrame:
    """Of single prompts: whether slopes say which margins will rise, and which way.

    For every cost the rank correlation with the measured change, and the share of changes whose
    sign is right; the median over methods of a cell, the mean over cells with its interval over
    tasks. Beside it the clean margin, of which the smallest have most to gain.
    """
    table = []
    for k, nats in enumerate(NATS):
        found: dict[str, list[float]] = {"forecast": [], "clean margin": [], "sign": []}
        tasks = []
        for (task, _), rows in cells.items():
            clean = np.array(rows[0]["margins"][TEST])
            each = [_of_prompts(row, k, clean) for row in methods(rows)]
            values = np.array([v for v in each if v is not None])
            if not len(values):
                continue
            tasks.append(task)
            for name, value in zip(found, np.nanmedian(values, axis=0), strict=True):
                found[name].append(float(value))
        if not tasks:
            continue  # no method reaches this cost
        for name, values in found.items():
            mean = interval(torch.tensor(values).double(), tasks, seed=seed)
            table.append(
                {"nats": nats, "what": name} | mean.columns("value") | {"cells": len(tasks)}
            )
    return pd.DataFrame(table)


def _of_prompts(row: Mapping[str, Any], k: int, clean: Any) -> tuple[float, float, float] | None:
    change = row["changes"][TEST][k]
    if change is None:
        return None
    gains = np.array(row["gains"][TEST])
    told: Any = spearmanr(gains, change)
    rival: Any = spearmanr(-clean, change)
    return told.statistic, rival.statistic, float(np.mean(np.sign(gains) == np.sign(change)))


def strengths(cells: Cells) -> pd.DataFrame:
    """How far forecasts reach: medians and quartiles over methods and cells, by cost.

    `strength`: what was needed for the cost over what was foretold. `gain`: the measured mean gain
    over that foretold for this strength, `gain_at_cost` over that foretold for this cost.
    """
    table = []
    for k, nats in enumerate(NATS):
        ratios: dict[str, list[float]] = {"strength": [], "gain": [], "gain_at_cost": []}
        reached = every = 0
        for rows in cells.values():
            for row in methods(rows):
                every += 1
                strength, change = row["strengths"][k], row["changes"][TEST][k]
                if strength is None:
                    continue
                reached += 1
                ratios["strength"].append(strength / row["foretold"][k])
                for name, foretold in (
                    ("gain", strength * np.mean(row["slopes"][TEST])),
                    ("gain_at_cost", np.sqrt(nats) * np.mean(row["gains"][TEST])),
                ):
                    ratios[name].append(float(np.mean(change) / foretold))
        row = {"nats": nats, "within_reach": reached / every}
        for name, values in ratios.items():
            low, middle, high = np.percentile(values or [np.nan], [25, 50, 75])
            row |= {name: middle, f"{name}_quartile_1": low, f"{name}_quartile_3": high}
        table.append(row)
    return pd.DataFrame(table)


def margin_gain(rows: Rows, row: Mapping[str, Any], part: int) -> float:
    """The measured mean change of the margin at `TEXTS_AT` nats; 0 where that is out of reach."""
    del rows
    change = row["changes"][part][_AT]
    return 0.0 if change is None else float(np.mean(change))


def share_gain(rows: Rows, row: Mapping[str, Any], part: int) -> float:
    """The measured change of the share of texts, at the same strength."""
    return float(np.mean(row["shown"][part]) - np.mean(rows[0]["shown"][part]))


Truth = Callable[[Rows, Mapping[str, Any], int], float]
TRUTHS: dict[str, Truth] = {"margin, nats": margin_gain, "texts, points": share_gain}
UNITS = {"margin, nats": 1, "texts, points": 100}


def _forecast(row: Mapping[str, Any]) -> float:
    return float(np.mean(row["gains"][DEV]))


def _slope(row: Mapping[str, Any]) -> float:
    return float(np.mean(row["slopes"][DEV]))


def where(cells: Cells, *, seed: int) -> pd.DataFrame:
    """At which layer CAA is best: what each rule's choice loses to the best on dev, on test."""
    rules = ["forecast", "slope alone"]
    first = next(iter(cells.values()))
    rules += list(next(row["rules"] for row in methods(first) if row["family"] == CAA))

    def score(rule: str, row: Mapping[str, Any]) -> float:
        own = {"forecast": _forecast, "slope alone": _slope}
        return own[rule](row) if rule in own else row["rules"][rule]

    return _regrets(cells, rules, score, lambda row: row["family"] == CAA, seed)


def which(cells: Cells, *, seed: int) -> pd.DataFrame:
    """Which of all methods is best: the forecast's choice, CAA at half depth, any one of them."""

    def score(rule: str, row: Mapping[str, Any]) -> float:
        if rule == "forecast":
            return _forecast(row)
        return row["rules"].get("half depth", -np.inf)

    every = ["forecast", "CAA at half depth", "any, at random"]
    return _regrets(cells, every, score, bool, seed)


def _regrets(
    cells: Cells,
    rules: Sequence[str],
    score: Callable[[str, Mapping[str, Any]], float],
    wanted: Callable[[Mapping[str, Any]], bool],
    seed: int,
) -> pd.DataFrame:
    table = []
    for name, truth in TRUTHS.items():
        lost: dict[str, list[float]] = {rule: [] for rule in rules}
        tasks = [task for task, _ in cells]
        for rows in cells.values():
            kept = [row for row in methods(rows) if wanted(row)]
            on_test = [UNITS[name] * truth(rows, row, TEST) for row in kept]
            best = on_test[int(np.argmax([truth(rows, row, DEV) for row in kept]))]
            for rule in rules:
                if rule == "any, at random":
                    lost[rule].append(best - float(np.mean(on_test)))
                    continue
                pick = int(np.argmax([score(rule, row) for row in kept]))
                lost[rule].append(best - on_test[pick])
        for rule, values in lost.items():
            regret = interval(torch.tensor(values).double(), tasks, seed=seed)
            more = torch.tensor(values).double() - torch.tensor(lost["forecast"]).double()
            row = {"measure": name, "rule": rule, "cells": len(values)}
            row |= regret.columns("regret")
            table.append(row | interval(more, tasks, seed=seed).columns("beyond_forecast"))
    return pd.DataFrame(table)


def shares(cells: Cells, *, seed: int) -> pd.DataFrame:
    """Brier scores of shares of texts, tau fitted to the other tasks: forecasts against less.

    `forecast` is sigmoid((m + s g) / tau), `clean margin` sigmoid(m / tau), `unsteered share` the
    share of the unsteered texts of dev for every prompt.
    """
    names = list(dict.fromkeys(task for task, _ in cells))
    items = {name: _items([rows for (t, _), rows in cells.items() if t == name]) for name in names}
    table: dict[str, list[float]] = {"forecast": [], "clean margin": [], "unsteered share": []}
    taus = []
    for name in names:
        others = np.concatenate([items[other] for other in names if other != name])
        here = items[name]
        for rule, column in (("forecast", 1), ("clean margin", 0)):
            tau = _tau(others[:, column], others[:, 2])
            taus += [tau] if rule == "forecast" else []
            table[rule].append(float(np.mean((expit(here[:, column] / tau) - here[:, 2]) ** 2)))
        table["unsteered share"].append(float(np.mean((here[:, 3] - here[:, 2]) ** 2)))
    rows = []
    for rule, values in table.items():
        more = torch.tensor(values).double() - torch.tensor(table["forecast"]).double()
        row: dict[str, Any] = {"rule": rule, "tasks": len(names), "tau": float(np.median(taus))}
        row |= interval(torch.tensor(values).double(), names, seed=seed).columns("brier")
        rows.append(row | interval(more, names, seed=seed).columns("beyond_forecast"))
    return pd.DataFrame(rows)


def _items(cells: Sequence[Rows]) -> Any:
    """Of every text of test: clean margin, forecast margin, whether it shows it, dev's share."""
    found = []
    for rows in cells:
        clean, plain = np.array(rows[0]["margins"][TEST]), float(np.mean(rows[0]["shown"][DEV]))
        for row in methods(rows):
            strength = row["strengths"][_AT]
            if strength is None or len(row["shown"][TEST]) != len(clean):
                continue  # several pairs have one prompt: their texts are fewer
            foretold = clean + strength * np.array(row["slopes"][TEST])
            shown = np.nan_to_num(np.array(row["shown"][TEST], dtype=float))
            found.append(np.stack([clean, foretold, shown, np.full(len(clean), plain)], axis=1))
    return np.concatenate(found)


def _tau(margins: Any, shown: Any) -> float:
    """The temperature of the least Brier score."""

    def brier(exponent: float) -> float:
        return float(np.mean((expit(margins / 10**exponent) - shown) ** 2))

    found: Any = minimize_scalar(brier, bounds=_TAUS, method="bounded")
    return float(10**found.x)
