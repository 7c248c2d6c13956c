"""What the studies share: the command that is built from a measure, and dots with intervals."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import typer
from matplotlib.figure import Figure

from analyses.plots import Series, dot_plot, matched_figure, series_by, short
from analyses.sadi.figures import ways_figure
from analyses.studies import Run, Study, drawn, start
from lens_steer.data import ContrastivePairs


def written(folder: Path) -> list[str]:
    """Two sets of pairs, the second twice as large."""
    for name, count in (("few", 12), ("many", 24)):
        rows = [
            {"prompt": f"{i} is", "desired": " up", "undesired": " down", "group": str(i % 6)}
            for i in range(count)
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return [str(folder / "few.jsonl"), str(folder / "many.jsonl")]


def measure(run: Run, pairs: str, *, factor: Annotated[int, typer.Option(min=1)] = 2) -> Any:
    rows = len(run.behaviour(pairs).test)
    assert run.origin["factor"] == factor
    return {"sizes": pd.DataFrame({"pairs": [pairs], "size": [factor * rows], "seed": run.seed})}


def figure(table: Any) -> Figure:
    series = Series("n", table.assign(size_low=0, size_high=200), "size", 1)
    names = [short(name) for name in table["pairs"]]
    with dot_plot({"pairs": [series]}, names, width=5.0, height=2.0) as (drawing, _):
        return drawing


def completed(tables: Any) -> Any:
    return tables | {"total": pd.DataFrame({"total": [tables["sizes"]["size"].sum()]})}


STUDY = Study(
    name="sizes",
    manual="How large are sets?\n\nWrites sizes.\n\n    python -m analyses.sizes\n",
    measure=measure,
    columns={"sizes": ["pairs", "size", "absent"], "total": []},
    figures={"sizes": figure},
    complete=completed,
)


def test_a_command_measures_every_set_and_writes_what_there_is(
    embedded: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lens_steer.load_model", lambda _: embedded)
    sets = written(tmp_path)
    STUDY.command()(pairs=sets, factor=3, out=tmp_path, seed=1)
    table: Any = pd.read_csv(tmp_path / "sizes.csv")
    assert table["pairs"].tolist() == sets
    assert set(table["seed"]) == {1}
    assert (table["size"] % 3 == 0).all()
    assert table["size"].diff().iloc[-1] > 0
    total = pd.read_csv(tmp_path / "total.csv")["total"].item()
    assert total == table["size"].sum()
    assert {"sizes.png", "sizes.json"} <= {path.name for path in tmp_path.iterdir()}
    printed = capsys.readouterr().out
    assert "many.jsonl" in printed
    assert "total" in printed
    assert "seed" not in printed


def test_texts_too_few_to_compare_are_refused_before_a_study_measures_anything(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lens_steer.load_model", lambda _: embedded)
    study = importlib.import_module("analyses.linearity.__main__").STUDY
    with pytest.raises(ValueError, match="has 2 training texts: expected 4 or more"):
        study.command()(pairs=written(tmp_path)[:1], out=tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def ended(monkeypatch: pytest.MonkeyPatch, main: Callable[..., None], *options: str) -> Any:
    monkeypatch.setattr("sys.argv", ["study", *options])
    with pytest.raises(SystemExit) as stop:
        start(main, STUDY.manual)
    return stop.value.code


def test_options_of_a_measure_are_options_of_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, STUDY.command(), "--help") == 0
    manual = capsys.readouterr().out
    assert "\n      python -m analyses.sizes\n" in manual
    options = ["--model", "--pairs", "--factor", "--out", "--seed"]
    places = [manual.index(option) for option in options]
    assert places == sorted(places)
    assert ended(monkeypatch, STUDY.command(), "--factor", "0") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "factor" in message


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("barrier_field", ["model", "pairs", "angle", "out", "seed"]),
        ("linearity", ["model", "pairs", "most", "tokens", "out", "seed"]),
        ("lqr", ["model", "pairs", "reads", "tokens", "out", "seed"]),
        ("odesteer", ["model", "pairs", "reads", "layers", "tokens", "out", "seed"]),
        ("sadi", ["model", "pairs", "kinds", "read", "tokens", "out", "seed"]),
        ("unification", ["model", "pairs", "reads", "layers", "tokens", "out", "seed"]),
        ("where_nats_go", ["model", "pairs", "prompts", "texts", "out", "seed"]),
    ],
)
def test_every_study_has_its_options_and_writes_to_a_folder_of_its_name(
    name: str, options: list[str]
) -> None:
    study = importlib.import_module(f"analyses.{name}.__main__").STUDY
    assert list(study.signature.parameters) == options
    assert study.signature.parameters["out"].default == Path("out") / name
    assert f"python -m analyses.{name}" in study.manual


def test_dots_lie_at_their_rows_and_bars_end_at_their_intervals() -> None:
    rows = [
        {"set": name, "method": m, "x": x, "x_low": x - 0.1, "x_high": x + 0.2}
        for name, shift in (("organism:a", 0.0), ("organism:b", 0.3))
        for m, x in (("one", 0.1 + shift), ("two", 0.2 + shift))
    ]
    series = series_by(pd.DataFrame(rows), "set", "x", ["two", "none", "one"])
    assert [each.label for each in series] == ["a", "b"]
    x, bars = series[1].values()
    np.testing.assert_allclose(x, [50, np.nan, 40])
    np.testing.assert_allclose(bars, [[10, 0, 10], [20, 0, 20]])
    with dot_plot({"x": series}, ["two", "none", "one"], width=3.0, height=2.0) as (_, [axes]):
        first, second = (container.lines[0] for container in axes.containers)
    assert axes.get_xlabel() == "x"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["two", "none", "one"]
    apart = second.get_ydata() - first.get_ydata()
    np.testing.assert_allclose(apart, 0.22)
    np.testing.assert_allclose((first.get_ydata() + second.get_ydata()) / 2, [0, 1, 2])


def test_pairs_are_drawn_from_all_over() -> None:
    rows = [(f"{i} is", " up", " down", str(i // 10)) for i in range(80)]
    pairs = ContrastivePairs.of(rows, name="groups of neighbours")
    few = drawn(pairs, 24, 0)
    assert len(few) == 24
    assert len(set(few.groups)) > len(set(pairs.first(24).groups))
    assert [e.prompt for e in few.desired] == [e.prompt for e in few.undesired]
    assert len(drawn(pairs, 10**6, 0)) == len(pairs)


def dots(axes: Any) -> dict[str, list[float]]:
    """The means of each series, from the top row down."""
    return {bars.get_label(): bars.lines[0].get_xdata().tolist() for bars in axes.containers}


def test_methods_at_equal_cost_are_drawn_in_their_order_a_colour_for_each_behaviour() -> None:
    cells = [(name, method) for name in ("set:a", "set:b") for method in ("LQR", "CAA")]
    table = pd.DataFrame(cells, columns=["behaviour_name", "method"])
    for column, values in (("behaviour", (0.1, 0.2, 0.3, 0.4)), ("kl", (0.5, 0.6, 0.7, 0.8))):
        table[column] = values
        table[f"{column}_low"], table[f"{column}_high"] = table[column] / 2, table[column] * 2
    scores = {"behaviour": ("texts, %", 100), "kl": ("nats per token", 1)}
    drawing: Any = matched_figure(table, ("unsteered", "CAA", "LQR"), scores)
    shares, costs = drawing.axes
    assert [label.get_text() for label in shares.get_yticklabels()] == ["CAA", "LQR"]
    assert dots(shares) == {"a": pytest.approx([20, 10]), "b": pytest.approx([40, 30])}
    assert dots(costs) == {"a": [0.6, 0.5], "b": [0.8, 0.7]}
    assert costs.lines[-1].get_xdata() == [0.1, 0.1]  # the cost on dev
    assert not any(list(line.get_xdata()) == [0.1, 0.1] for line in shares.lines)


def test_every_way_of_steering_elements_has_its_colour_and_its_change() -> None:
    ways = ["unsteered", "mask", "random mask", "fixed vector"]
    table = pd.DataFrame({"way": ways * 2, "kind": ["head"] * 4 + ["neuron"] * 4})
    table = table.assign(behaviour_set="set:a", change=np.arange(8) / 10)
    table = table.assign(change_low=table["change"] - 0.1, change_high=table["change"] + 0.1)
    drawing: Any = ways_figure(table)
    for axes, kind, first in zip(drawing.axes, ("head", "neuron"), (10, 50), strict=True):
        assert axes.get_title().startswith(f"{kind}, k = ")
        drawn_ways = dots(axes)
        assert list(drawn_ways) == ways[1:]
        assert sum(drawn_ways.values(), []) == pytest.approx([first, first + 10, first + 20])
        colours = {bars.lines[0].get_color() for bars in axes.containers}
        assert len(colours) == 3
    [legend] = drawing.legends
    assert [text.get_text() for text in legend.get_texts()] == ways[1:]
