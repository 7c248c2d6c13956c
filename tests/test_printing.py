"""Every public value prints on one screen, at any depth; tables say what they leave out."""

import importlib
import inspect
import pkgutil
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lens_steer as ls
from lens_steer.benchmark.comparison_table import ComparisonTable
from lens_steer.intervals import Interval
from lens_steer.reports import Report, few, folded, screenful, shortened_in_the_middle
from tests.more_report_samples import MORE_REPORTS
from tests.public_methods import STEERING, WITH_A_MODEL
from tests.public_values import VALUES
from tests.report_samples import REPORTS, tracking

LINES, COLUMNS = 24, 100
DEPTH = 80
SAMPLES = REPORTS | MORE_REPORTS
FEWER = {  # the intervals of their tables take the time
    "choice": 18, "tracking": 18, "search": 18, "projection": 18, "sweep": 18, "interchange": 6,
    "edit attribution": 6, "gap": 6, "rise": 6, "field": 6,
}  # fmt: skip
OTHERS = {  # public and no reports, beside those of `public_values` and `public_methods`
    "errors": lambda: tracking(DEPTH).error(),
    "a point": lambda: REPORTS["frontier"](6).points[0],
    "distance": lambda: REPORTS["separability"](DEPTH).distance,
}
WITHOUT = VALUES | STEERING | OTHERS
TOOLS = {  # they do work and hold no result that anyone prints
    "Decoder", "ForkSafeLock", "FrozenContextBlocks", "Journal", "OneLineParser",
    "OnceCommand", "PlacedHooks", "SharedPrefixDecoder", "UncachedDecoder", "WidenedDecoder",
}  # fmt: skip


@cache
def _made(name: str) -> Any:
    return WITHOUT[name]()


@cache
def _report(name: str) -> Any:
    return SAMPLES[name](FEWER.get(name, DEPTH))


def _html(value: Any) -> str:
    return value._repr_html_()


def _on_a_screen(value: Any) -> bool:
    """Lines that are too long count as the lines that they are wrapped to."""
    return all(_fits(text) for text in (str(value), repr(value)))


def _fits(text: str) -> bool:
    lines = text.split("\n")
    return sum(max(1, -(-len(line) // COLUMNS)) for line in lines) <= LINES


def _dumped(value: Any) -> list[str]:
    """What nobody reads: an address in memory, and numbers of a tensor."""
    whole = str(value) + repr(value)
    return [dump for dump in (" at 0x", "tensor([", "array([") if dump in whole]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_prints_on_one_screen(name: str) -> None:
    report = _report(name)
    assert _on_a_screen(report)
    assert _dumped(report) == []
    assert callable(report._repr_html_)
    if type(report).__repr__ is Report.__repr__:
        lines = repr(report).split("\n")
        assert lines[0].startswith(type(report).__name__)
        assert max(map(len, lines)) <= COLUMNS


@pytest.mark.parametrize("name", WITHOUT)
def test_a_value_prints_on_one_screen(name: str) -> None:
    assert _on_a_screen(_made(name))
    assert _dumped(_made(name)) == []


@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_what_holds_a_model_prints_on_one_screen(
    name: str, llama: Any, pairs: ls.ContrastivePairs
) -> None:
    value = WITH_A_MODEL[name](llama, pairs)
    assert name.rpartition(".")[2] == type(value).__name__
    assert _on_a_screen(value)
    assert _dumped(value) == []


def test_every_public_class_is_among_them() -> None:
    """By rule: a new class needs a sample of what is printed of it."""
    printed = {type(_report(name)).__name__ for name in SAMPLES}
    printed |= {type(_made(name)).__name__ for name in WITHOUT}
    printed |= {name.rpartition(".")[2] for name in WITH_A_MODEL}
    missing = {
        value.__name__
        for value in _public_classes()
        if not issubclass(value, BaseException | dict)
        and not inspect.isabstract(value)
        and not getattr(value, "_is_protocol", False)
    }
    assert missing - printed == TOOLS


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


def test_a_small_number_keeps_its_digits_beside_large_ones() -> None:
    table = pd.DataFrame(
        {
            "gain": [1.5, 0.0043, 0.0],
            "gain_low": [1.2, -0.00012, 0.0],
            "gain_high": [2.0, 0.01, 0.0],
        }
    )
    wanted = ["1.50 [1.20, 2.00]", "0.0043 [-0.00012, 0.01]", "0.00 [0.00, 0.00]"]
    assert folded(table)["gain"].tolist() == wanted


def test_what_does_not_fit_is_counted() -> None:
    table = pd.DataFrame({f"column {i}": np.arange(40) for i in range(30)})
    text = screenful(table)
    assert "... 21 more rows" in text
    shown = sum(f"column {i} " in text.split("\n")[0] + " " for i in range(30))
    assert f"... {30 - shown} more columns: column {shown}," in text
    assert screenful(table.head(0)).startswith("no rows; columns: column 0")


@pytest.mark.parametrize("width", [5, 8, 9, 100])
def test_a_text_is_shortened_in_its_middle(width: int) -> None:
    text = "0123456789" * 3
    short = shortened_in_the_middle(text, width)
    assert len(short) == min(width, len(text))
    if width < len(text):
        start, end = short.split("...")
        assert text.startswith(start)
        assert text.endswith(end)


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


def _public_classes() -> list[type]:
    rooms = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(ls.__path__, "lens_steer.")
        if found.ispkg
    ]
    values = [value for room in (ls, *rooms) for value in vars(room).values()]
    return [v for v in values if isinstance(v, type) and v.__module__.startswith("lens_steer.")]


def test_no_public_value_prints_its_tensors() -> None:
    """By rule: what has a tensor or a text of each example has no repr that lists its fields."""
    dumped = []
    for value in [value for value in _public_classes() if is_dataclass(value)]:
        generated = inspect.unwrap(value.__repr__).__code__.co_filename == "<string>"
        shown = [str(f.type) for f in fields(value) if f.repr]
        if generated and any("Tensor" in kind or "ndarray" in kind for kind in shown):
            dumped.append(f"{value.__module__}.{value.__name__}")
    assert sorted(set(dumped)) == []
