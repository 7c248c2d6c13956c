"""Every public value prints on one screen, at any depth; tables say what they leave out."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lens_steer as ls
from lens_steer.benchmark.comparison_table import ComparisonTable
from lens_steer.intervals import Interval
from lens_steer.linearity import LayerJacobians
from lens_steer.reports import few, folded, screenful
from tests.report_samples import REPORTS, caa, captured, evaluation, features, normal, tracking

LINES, COLUMNS = 24, 100
DEPTH, WIDE = 80, 600


def _barrier() -> ls.PolynomialBarrier:
    square = normal(WIDE, WIDE).double()
    return ls.PolynomialBarrier.of_quadratic(square + square.T, normal(WIDE).double(), 0.0)


def _jacobians() -> LayerJacobians:
    return LayerJacobians.from_tensors(normal(DEPTH, 4, 4), normal(DEPTH + 1, 4))


VALUES: dict[str, Callable[[], Any]] = {  # public and no reports, as large as they get
    "activations": lambda: captured(DEPTH),
    "a layer": lambda: captured(DEPTH).at(layer=3),
    "features": lambda: features(DEPTH),
    "jacobians": _jacobians,
    "barrier": _barrier,
    "supremum": lambda: _barrier().supremum(),
    "ODESteer": lambda: ls.ODESteer(_barrier(), angle=0.1),
    "CAA": lambda: caa(DEPTH - 1),
    "LQR": lambda: ls.LQR.fit(_jacobians(), captured(DEPTH)),
    "MeanAcT": lambda: ls.MeanAcT.fit(captured(4).at(layer=3)),
    "evaluation": lambda: evaluation(0.5),
    "a point": lambda: REPORTS["frontier"](6).points[0],
    "errors": lambda: tracking(DEPTH).error(),
    "distance": lambda: REPORTS["separability"](DEPTH).distance,
}


def _html(value: Any) -> str:
    return value._repr_html_()


def _on_a_screen(value: Any) -> bool:
    """Lines that are too long count as the lines that they are wrapped to."""
    lines = repr(value).split("\n")
    return sum(max(1, -(-len(line) // COLUMNS)) for line in lines) <= LINES


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_prints_on_one_screen(name: str) -> None:
    report = REPORTS[name](18 if name in ("choice", "tracking") else DEPTH)
    lines = repr(report).split("\n")
    assert lines[0].startswith(type(report).__name__)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


@pytest.mark.parametrize("name", VALUES)
def test_a_value_prints_on_one_screen(name: str) -> None:
    assert _on_a_screen(VALUES[name]())


def test_the_screen_can_be_too_small() -> None:
    assert not _on_a_screen(list(range(1000)))


def test_a_notebook_shows_the_table_and_the_figure() -> None:
    html = _html(REPORTS["heads"](6))
    assert "data:image/png;base64," in html
    assert html.count("<tr") == 20  # a head and the first rows
    assert "... 77 more rows" in html
    nothing = ls.tracking.LoopReport({"open": torch.ones(3).double()}, 0)
    assert "<b>LoopReport</b>" in _html(nothing)


def test_a_report_without_anything_to_draw_says_so() -> None:
    curves = REPORTS["error_curves"](6)
    unknown = type(curves)(curves.radii, curves.errors * np.nan, curves.groups, 0)
    assert "no figure: no layer has a feature" in _html(unknown)


def test_a_number_stands_with_its_interval() -> None:
    table = pd.DataFrame(
        {
            "method": ["CAA", "plain"],
            "share": [0.5, 0.1],
            "share_low": [0.37, np.nan],
            "share_high": [0.63, np.nan],
            "nats": [1e-4, np.nan],
        }
    )
    before = table.copy()
    short = folded(table)
    assert short.columns.tolist() == ["method", "share", "nats"]
    assert short["share"].tolist() == ["0.50 [0.37, 0.63]", "0.10"]
    assert short["nats"].tolist() == ["0.0001", "-"]
    assert table.equals(before)


def test_what_does_not_fit_is_counted() -> None:
    table = pd.DataFrame({f"column {i}": np.arange(40) for i in range(30)})
    text = screenful(table)
    assert "... 21 more rows" in text
    shown = sum(f"column {i} " in text.split("\n")[0] + " " for i in range(30))
    assert f"... {30 - shown} more columns: column {shown}," in text
    assert screenful(table.head(0)).startswith("no rows; columns: column 0")


def test_few_of_many() -> None:
    assert few([0.5, 1.0]) == "0.5 1"
    assert few(range(80)) == "0 1 2 3 ... 76 77 78 79"
    assert repr(Interval(1 / 3, 0.25, 0.5)) == "Interval(0.333, 0.25, 0.5)"


def _compared(methods: int, columns: int = 40) -> ComparisonTable:
    names = ["behaviour", "kl", "perplexity", "change", *(f"other {i}" for i in range(columns))]
    rows = []
    for i in range(methods):
        row: dict[str, Any] = {"method": f"method {i}", "behaviour_name": "praise", "p_holm": 0.01}
        for name in names:
            row |= Interval(0.5, 0.37, 0.63).columns(name)
        rows.append(row)
    return ComparisonTable(rows)


@pytest.mark.parametrize("methods", [2, 7, 19])
def test_a_comparison_prints_on_one_screen_and_has_all_in_full(methods: int) -> None:
    table = _compared(methods)
    for text in (repr(table), str(table)):
        assert "0.50 [0.37, 0.63]" in text
        assert "other 3" not in text
        assert len(text.split("\n")) <= LINES
        assert max(map(len, text.split("\n"))) <= COLUMNS
    assert type(table.full) is type(table[table["kl"] > 0]) is type(table.copy()) is pd.DataFrame
    assert "other 3" in table.full.to_string()
    assert table.full.shape == table.shape == (methods, 3 + 3 * 44)
    assert ".full" in _html(table)


def _public_dataclasses() -> list[type]:
    rooms = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(ls.__path__, "lens_steer.")
        if found.ispkg
    ]
    values = [value for room in (ls, *rooms) for value in vars(room).values()]
    return [value for value in values if isinstance(value, type) and is_dataclass(value)]


def test_no_public_value_prints_its_tensors() -> None:
    """By rule: what has a tensor or a text of each example has no repr that lists its fields."""
    dumped = []
    for value in _public_dataclasses():
        generated = inspect.unwrap(value.__repr__).__code__.co_filename == "<string>"
        shown = [str(f.type) for f in fields(value) if f.repr]
        if generated and any("Tensor" in kind or "ndarray" in kind for kind in shown):
            dumped.append(f"{value.__module__}.{value.__name__}")
    assert sorted(set(dumped)) == []
