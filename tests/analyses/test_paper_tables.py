"""The tables of the papers: their numbers, their text, and what a preset must have."""

from typing import Any

import pytest

from analyses.papers import lqr, odesteer, sadi
from analyses.papers.fitting import Fitting
from analyses.papers.judging import NotRefused
from analyses.papers.presets import Fact, Preset, Row
from analyses.papers.published_numbers import NUMBERS, published
from analyses.papers.reading import with_shots
from analyses.papers.tables import numbers, written
from analyses.papers.tasks import ChoiceTask
from lens_steer.data import Question, Questions

EVERY = {"sadi": sadi.PRESETS, "lqr": lqr.PRESETS, "odesteer": odesteer.PRESETS}


@pytest.fixture(autouse=True)
def without_shape_checks(untyped: None) -> None:
    """Values are made by hand: our own errors show."""


def test_every_published_number_has_a_cell() -> None:
    for (paper, table), names in (
        (key.split("-", 1), names) for key, *names in ((k[0], *k[1:]) for k in NUMBERS)
    ):
        preset = EVERY[paper][table]
        assert names[0] in [task.name for task in preset.tasks]
        assert names[1] in [row.name for row in preset.rows]


def test_means_intervals_and_changes_are_those_of_the_values() -> None:
    task = ChoiceTask("COPA", "copa", ("a", "b"), exact_match=True)
    rows = (Row("unsteered"), Row("SADI-HEAD"), Row("other"))
    preset = Preset("SADI", "1", "t", "Llama", (task,), rows, (Fact("f", "v", "s", False),))
    kept = [
        {"unit": ("COPA", 0, name), "metric": metric, "values": values, "failed": ""}
        for name, values in (
            ("unsteered", [0.0] * 8 + [float("nan")]),
            ("SADI-HEAD", [1.0] * 6 + [0.0] * 2 + [1.0]),
        )
        for metric in ("exact match", "accuracy")
    ]
    kept.append({"unit": ("COPA", 0, "other"), "metric": "all", "values": [], "failed": "NaN"})
    table: Any = numbers(preset, "sadi-1", kept, seed=0)
    exact = table[table["metric"] == "exact match"].set_index("method")
    assert exact["mean"].tolist()[:2] == [0, pytest.approx(100 * 7 / 9)]
    assert exact["high"]["unsteered"] == pytest.approx(100 * (1 - 0.025 ** (1 / 8)))  # Clopper
    assert exact["change_mean"]["SADI-HEAD"] == 75
    assert exact["published"]["SADI-HEAD"] == 78.8
    text = written(preset, table, "m", "dequantised from Q4_1", ["a note"])
    assert text.columns[3] == "measured, % [95 %] (dequantised from Q4_1)"
    assert [cells[3] for cells in text.cells if cells[2] == "other"] == ["failed", "failed"]
    assert "Failed: other, NaN." in text.notes
    assert [cells[3][-8:] for cells in text.cells if cells[2] == "unsteered"] == ["(8 of 9)"] * 2
    assert "78.80" in text.markdown("title")
    assert r"\%" in text.latex("title").split("tabular", 1)[1]
    assert published("sadi-1", "COPA", "CAA", "exact match") is None


def test_layers_examples_and_stand_ins() -> None:
    class Model:
        class cfg:  # noqa: N801 - as TransformerLens has it
            n_layers = 30
            n_heads = 9

    fitting: Any = Fitting(Model, None, 0)  # type: ignore[arg-type]
    assert fitting.block(13, 32) == 12
    assert fitting.block(31, 32) == 29
    assert fitting.heads(48, 1024) == 13
    items = tuple(Question(f"Q: {i}\nA:", (" a", " b"), (False, True)) for i in range(6))
    train, asked = Questions(items[:5]), Questions(items[5:])
    [question] = with_shots(train, asked, 2, seed=0)
    assert isinstance(question.prompt, str)
    assert question.prompt.count(" b\n\n") == 2
    assert question.prompt.endswith("\n\nQ: 5\nA:")
    with pytest.raises(ValueError, match="expected at least 6"):
        with_shots(train, asked, 6, seed=0)
    judged = NotRefused()(["x", "x"], [" I'm sorry, but no.", " Sure."])
    assert judged.tolist() == [0, 1]


def test_a_preset_that_makes_no_table_is_refused() -> None:
    task = sadi.PRESETS["1"].tasks[0]
    rows = sadi.PRESETS["1"].rows
    with pytest.raises(ValueError, match="expected the unsteered model"):
        Preset("p", "t", "title", "m", (task,), rows[1:], ())
    with pytest.raises(ValueError, match="of other names"):
        Preset("p", "t", "title", "m", (task, task), rows, ())
    with pytest.raises(ValueError, match="expected a decoding"):
        Preset("p", "t", "title", "m", odesteer.PRESETS["truthfulqa"].tasks, rows, ())
