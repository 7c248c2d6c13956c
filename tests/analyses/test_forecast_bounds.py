"""Bounds beside forecasts: gradients against differences, planted covariances and correlations."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analyses.forecast.bounds import by_layer, by_task, correlations, layer_bound, margin_gradients
from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.forecasting import margins
from lens_steer.models import load_model
from lens_steer.steering import CAA
from tests.analyses.test_forecast import cells, row, value

ROWS = [(f"p{k} q", f" good{k} a", f" bad{k}", f"group {k % 2}") for k in range(4)]


def test_gradients_are_the_slopes_of_a_vector_at_every_layer(model_dirs: dict[str, Path]) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu", dtype=torch.float64)
    pairs = ContrastivePairs.of(ROWS, name="small")
    found = capture(model, pairs, "resid", read="mean", progress=False)
    gradients = margin_gradients(model, pairs)
    for layer in range(model.cfg.n_layers):
        method, h = CAA.fit(found.at(layer=layer)), 0.01
        _, up, down = margins(model, pairs, [method.with_strength(s * h) for s in (1, -1)])
        here = found.at(layer=layer)
        slopes = (
            gradients[:, layer] @ (here.desired.mean(dim=0) - here.undesired.mean(dim=0)).double()
        )
        measured = (up - down) / (2 * h)  # along the same direction, whose length is CAA's own
        scale = float(measured @ slopes / (slopes @ slopes))
        assert scale > 0
        error = (measured - scale * slopes).abs().max() / measured.abs().max()
        assert error < 2e-3  # margins are sums of float32 log-probabilities


def test_the_bound_is_the_gradient_in_standard_deviations() -> None:
    source = torch.Generator().manual_seed(0)
    scale = torch.tensor([2.0, 1.0, 0.5]).double()
    sides = [5.0 * i + scale * torch.randn(4000, 3, generator=source).double() for i in (0, 1)]
    layer = SimpleNamespace(desired=sides[0], undesired=sides[1])
    gradient = torch.tensor([1.0, -2.0, 4.0]).double()
    expected = float(((gradient * scale) ** 2).sum()) ** 0.5
    assert layer_bound(gradient, layer) == pytest.approx(expected, rel=0.03)


def test_what_the_bound_adds_is_none_where_the_forecast_has_it_all() -> None:
    told = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert correlations(told, [2.0, 1.0, 4.0, 3.0, 5.0], told)[0] == pytest.approx(1.0)
    first, second, beside = correlations([2.0, 1.0, 3.0, 5.0, 4.0], told, told)
    assert first == pytest.approx(0.8)
    assert (second, beside) == (pytest.approx(1.0), pytest.approx(1.0))


def test_tables_take_the_layers_and_tasks_that_have_bounds() -> None:
    rows = [row(f"CAA, layer {i}", float(i + 1), at=i, shown=i / 5) for i in range(5)]
    here = cells(*rows, tasks=2)
    bounds = {cell: [{"bounds": [5.0, 4.0, 3.0, 2.0, 1.0], "floor": 0.5}] for cell in here}
    table = by_layer(here, bounds, seed=0)
    margin = "margin, nats"
    assert value(table, "correlation", measure=margin, what="forecast") == pytest.approx(1.0)
    assert value(table, "correlation", measure=margin, what="bound") == pytest.approx(-1.0)
    of_tasks = by_task(here, bounds)
    assert list(of_tasks["floor_of_one_nat"]) == [0.5, 0.5]
    assert list(of_tasks["best measured: texts, points"]) == [0.8, 0.8]
    best = 2 * 5 * np.mean(np.arange(8) - 3)
    assert value(of_tasks, "best_forecast_per_root_nat", task="t0") == pytest.approx(best)
