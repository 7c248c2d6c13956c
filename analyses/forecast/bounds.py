"""Bounds beside forecasts: the tilt of the next token, and what one layer's activations allow.

Neither knows a method. The tilt's floor is the same at every layer, so that it can tell behaviours
apart and nothing else. The bound of a layer is the largest mean gain, to first order, of a push by
one standard deviation of its activations: root of g' S g, with the mean gradient g of the margin
and the covariance S within the classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

import lens_steer as ls
from analyses.forecast.candidates import CAA
from analyses.forecast.gradients import TOKENS, rows_of, steered_positions, stream_gradients
from analyses.forecast.measuring import Tested
from analyses.forecast.rules import tilt_floor
from analyses.forecast.tables import DEV, TEST, TRUTHS, Cells, methods
from analyses.registered.measuring import numbers, short
from lens_steer.data import ContrastivePairs
from lens_steer.intervals import interval
from lens_steer.models import batches

_LEAST_LAYERS = 4  # that a correlation is taken over


class BoundsCell(Tested):
    """The bounds of a task and fold, on the pairs that choices are made on."""

    def rows(self) -> list[dict[str, Any]]:
        """One row: the bound of every layer, and the floor of a gain by one nat."""
        dev, _ = self.parts
        train = self.task.train(self.seed, self.fold)
        gradients = margin_gradients(self.model, dev).mean(dim=0)
        activations = ls.capture(self.model, train, "resid", read="mean", progress=False)
        bounds = [
            layer_bound(gradient, activations.at(layer=i)) for i, gradient in enumerate(gradients)
        ]
        floor = tilt_floor(self.model, dev)
        return [{"bounds": numbers(torch.tensor(bounds)), "floor": short(floor)}]


def layer_bound(gradient: Float[Tensor, " d"], layer: Any) -> float:
    """Root of g' S g: the largest gain of a push whose length in S's metric is 1; nats."""
    sides = (layer.desired.double(), layer.undesired.double())
    projected = torch.cat([(side - side.mean(dim=0)) @ gradient for side in sides])
    return float(projected.pow(2).sum() / (len(projected) - 2)) ** 0.5


def margin_gradients(
    model: ls.SteerableModel, pairs: ContrastivePairs
) -> Float[Tensor, "pair layer d"]:
    """Of each margin, with respect to one vector added behind a block at all steered positions."""
    rows, layers = rows_of(model, pairs), range(int(model.cfg.n_layers))
    found = torch.zeros(len(rows), len(layers), int(model.cfg.d_model)).double()
    for batch in batches([len(row.ids) for row in rows], TOKENS):
        some = [rows[i] for i in batch]
        for layer, gradient in enumerate(stream_gradients(model, some, layers)):
            steered = steered_positions(some, gradient.shape[1])
            found[batch, layer] = torch.einsum("bpd,bp->bd", gradient, steered)
    desired, undesired = found.chunk(2)
    return desired - undesired


def by_layer(
    cells: Cells, bounds: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]], *, seed: int
) -> pd.DataFrame:
    """Whether the bound of a layer says what CAA gains there: alone, and beyond the forecast.

    Rank correlations over CAA's layers (mean over tokens) of a cell with what was measured on the
    other prompts, of the forecast, of the bound, and of the bound once the forecast is known
    (partial); the mean over cells with its interval over tasks.
    """
    table = []
    for name, truth in TRUTHS.items():
        found: dict[str, list[float]] = {"forecast": [], "bound": [], "bound beside forecast": []}
        tasks = []
        for cell, rows in cells.items():
            some = [row for row in methods(rows) if _is_caa_of_means(row)]
            if cell not in bounds or len(some) < _LEAST_LAYERS:
                continue
            measured = [truth(rows, row, TEST) for row in some]
            told = [float(np.mean(row["gains"][DEV])) for row in some]
            allowed = [bounds[cell][0]["bounds"][row["setting"]["layer"]] for row in some]
            if np.ptp(measured) == 0:
                continue
            tasks.append(cell[0])
            for what, value in zip(found, correlations(told, allowed, measured), strict=True):
                found[what].append(value)
        for what, values in found.items():
            mean = interval(torch.tensor(values).double(), tasks, seed=seed)
            row = {"measure": name, "what": what, "cells": len(values)}
            table.append(row | mean.columns("correlation"))
    return pd.DataFrame(table)


def _is_caa_of_means(row: Mapping[str, Any]) -> bool:
    return row["family"] == CAA and row["setting"]["read"] == "mean"


def correlations(
    told: Sequence[float], allowed: Sequence[float], measured: Sequence[float]
) -> tuple[float, float, float]:
    """Rank correlations with what was measured: of both, and of the second beside the first."""
    found: Any = spearmanr(np.stack([told, allowed, measured], axis=1))
    matrix = found.statistic
    first, second, between = matrix[0, 2], matrix[1, 2], matrix[0, 1]
    left = np.sqrt((1 - first**2) * (1 - between**2))
    partial = (second - first * between) / left if left else 0.0
    return float(first), float(second), float(np.clip(partial, -1, 1))


def by_task(
    cells: Cells, bounds: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
) -> pd.DataFrame:
    """For each task what the floors and forecasts say, and what the best method on dev gained.

    As few as these, they are shown and not tested.
    """
    table = []
    for task in dict.fromkeys(name for name, _ in cells):
        some = [cell for cell in cells if cell[0] == task and cell in bounds]
        row: dict[str, Any] = {"task": task, "cells": len(some)}
        row["floor_of_one_nat"] = np.mean([bounds[cell][0]["floor"] for cell in some])
        row["best_forecast_per_root_nat"] = np.mean(
            [max(np.mean(r["gains"][DEV]) for r in methods(cells[cell])) for cell in some]
        )
        row["best_bound"] = np.mean([max(bounds[cell][0]["bounds"]) for cell in some])
        for name, truth in TRUTHS.items():
            best = [
                max(methods(rows), key=lambda r, rows=rows, t=truth: t(rows, r, DEV))
                for rows in (cells[cell] for cell in some)
            ]
            values = [truth(cells[c], r, TEST) for c, r in zip(some, best, strict=True)]
            row[f"best measured: {name}"] = np.mean(values)
        table.append(row)
    return pd.DataFrame(table)
