"""Methods on several models at equal search: units kept one by one, tables of what there is."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.method_comparison import figures
from analyses.method_comparison.__main__ import main
from analyses.method_comparison.reporting import FIGURES, UnitComparisons
from analyses.method_comparison.specificity import specificity
from analyses.method_comparison.tables import corrected, shared
from analyses.method_comparison.units import Plan, Unit
from lens_steer.benchmark import (
    FAMILIES,
    Comparison,
    ComparisonConfig,
    FitCache,
    read,
    thinned,
)
from lens_steer.cli import run_command
from lens_steer.data import ContrastivePairs
from lens_steer.models import load_model
from tests.cli.test_cli import tree
from tests.cli.test_demo import write_pairs
from tests.conftest import without_checks

TERMS = ComparisonConfig(
    max_new_tokens=4, multiples=(0.5, 1), randoms=1, best_of=2, budgets=(0.01, 0.1)
)
METHODS = ("CAA", "ResidualITI")
Ran = tuple[Plan, list[Unit], Callable[[Plan], None]]


def run(plan: Plan, units: list[Unit]) -> None:
    found = UnitComparisons()
    for i, unit in enumerate(units):
        with without_checks() if i else nullcontext():
            found.add(unit, unit.measure(load_model(unit.model, device="cpu"), plan, print))
    found.report(units, plan)


@pytest.fixture(scope="module")
def ran(model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two models of different weights, one behaviour; types and shapes are checked with one."""
    folder = tmp_path_factory.mktemp("methods")
    pairs = str(write_pairs(folder))
    units = [Unit(str(model_dirs[name]), pairs) for name in ("llama", "qwen2")]
    plan = Plan(folder / "out", METHODS, 1, 1, 2, 2, TERMS)
    plan.out.mkdir()
    run(plan, units)
    return plan, units, lambda again: run(again, units)


def table(plan: Plan, name: str) -> Any:
    return pd.read_csv(plan.out / f"{name}.csv")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def test_every_method_may_try_as_many_settings_spread_over_its_grid(ran: Ran) -> None:
    family = replace(FAMILIES["CAA"], grid=lambda _: [{"layer": i} for i in range(12)])
    inputs = _inputs(ran)
    for most, wanted in ((1, [6]), (2, [3, 9]), (4, [1, 4, 7, 10]), (20, [*range(12)])):
        kept = thinned(family, most).grid(inputs)
        assert [setting["layer"] for setting in kept] == wanted
    assert all(len(each.grid(inputs)) <= 1 for each in ran[0].families)


def _inputs(ran: Ran) -> FitCache:
    _, [unit, *_], _ = ran
    return FitCache(load_model(unit.model, device="cpu"), ContrastivePairs.load(unit.pairs))


def test_tables_say_of_which_models_they_are(ran: Ran) -> None:
    plan, units, _ = ran
    assert table(plan, "units")["done"].tolist() == [True, True]
    whole, by_model = table(plan, "table"), table(plan, "by_model")
    assert set(whole["models"]) == {2}
    assert (whole["p"].dropna() >= whole["p_least"].iloc[0] - 1e-9).all()
    assert sorted(set(by_model["model"])) == sorted(unit.model for unit in units)
    assert set(METHODS) < set(whole["method"])


def test_over_models_behaviour_is_their_mean_and_the_interval_is_wider(ran: Ran) -> None:
    plan, units, _ = ran
    whole = table(plan, "table").set_index("method")
    by_model = table(plan, "by_model").set_index(["method", "model"])
    for method in ("unsteered", *METHODS):
        each = [by_model.loc[(method, unit.model), "behaviour"] for unit in units]
        assert whole.loc[method, "behaviour"] == pytest.approx(np.mean(each), abs=1e-6)
        assert whole.loc[method, "behaviour_low"] <= min(each) + 1e-6
        assert whole.loc[method, "behaviour_high"] >= max(each) - 1e-6


def test_differences_are_to_caa_alone_and_paired(ran: Ran) -> None:
    plan, units, _ = ran
    found, whole = table(plan, "differences"), table(plan, "table").set_index("method")
    assert set(found["other"]) == {"CAA"}
    assert set(found["method"]) == set(whole.index) - {"CAA"}
    for _, row in found.iterrows():
        apart = whole.loc[row["method"], "behaviour"] - whole.loc["CAA", "behaviour"]
        assert row["change"] == pytest.approx(apart, abs=1e-6)


def test_holm_is_over_all_rows_of_the_table() -> None:
    p = [0.01, 0.04, 0.03, float("nan")]
    given = pd.DataFrame({"p": p, "behaviour_name": ["a", "a", "b", "b"]})
    found = corrected({"table": given, "differences": given.drop(columns="p")})["table"]
    np.testing.assert_allclose(found["p_holm"], [0.03, 0.06, 0.06, np.nan])


def test_methods_that_a_model_lacks_are_not_averaged_over_the_others(ran: Ran) -> None:
    plan, units, _ = ran
    one, other = (read(plan.settings(unit).out) for unit in units)
    less = tuple(t for t in other.trials if t.method != "ResidualITI")
    found = shared([one, Comparison(less, other.config, {})])
    [behaviour] = found.behaviours
    assert "CAA" in found.methods(behaviour)
    assert "ResidualITI" not in found.methods(behaviour)


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    ran: Ran, tmp_path: Path, untyped: None
) -> None:
    plan, units, again = ran
    wanted = bytes_of(plan.out)
    other = Plan(tmp_path / "out", *list(vars(plan).values())[1:])
    shutil.copytree(plan.out, other.out)
    cut = other.settings(units[1]).out
    (cut / "unit.json").unlink()
    lines = (cut / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "trials.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    again(other)
    found = bytes_of(other.out)
    assert set(found) == set(wanted)
    differing = [name for name in wanted if found[name] != wanted[name]]
    assert all(name.endswith("search-nouns.json") for name in differing)  # it names the folder


def test_units_that_are_done_are_not_run_again(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    from analyses.method_comparison import units as module

    def never(*args: Any) -> Any:
        raise AssertionError("it was run again")

    monkeypatch.setattr(module, "choose_and_keep", never)
    plan, units, again = ran
    again(plan)
    with pytest.raises(ValueError, match="run with other settings .*tried: 1, now 3"):
        run(Plan(plan.out, METHODS, 3, 1, 2, 2, TERMS), units)


def test_figures_show_every_method_and_leave_their_tables_as_they_are(ran: Ran) -> None:
    plan, _, _ = ran
    for name, (of, _, draw) in FIGURES.items():
        given = table(plan, of)
        before = given.copy()
        figure = draw(given)
        pd.testing.assert_frame_equal(given, before)
        words = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
        assert (plan.out / f"{name}.png").is_file()
        if not name.startswith("search"):
            assert set(METHODS) <= words
    frontier = list(plan.out.glob("frontier-*.png"))
    assert len(frontier) == 1
    unreached = table(plan, "table").assign(**{"at_0.1": float("nan")})
    told = [t.get_text() for axes in figures.forest_figure(unreached).axes for t in axes.texts]
    assert any("nats tried" in text for text in told)


def test_specificity_is_one_where_a_method_is_measured_on_its_own_behaviour(ran: Ran) -> None:
    plan, [unit, _], _ = ran
    other = plan.out.parent / "again.jsonl"
    shutil.copy(unit.pairs, other)
    said: list[str] = []
    model = load_model(unit.model, device="cpu")
    unit_too = Unit(unit.model, str(other))
    with without_checks():
        unit_too.measure(model, plan, said.append)
    found = specificity(model, [unit, unit_too], "CAA", plan, said.append)
    if found is None:
        assert any("no ED50" in line for line in said)
    else:
        assert [found.entries[i][i].mean for i in range(2)] == pytest.approx([1, 1])


def ended(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    given = {"models": ["organism"], "out": Path("/nowhere/at/all")} | options
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main(**given))
    return stop.value.code


def test_misuse_ends_with_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, methods="CAA,magic") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert all(name in told for name in FAMILIES)
    assert ended(monkeypatch, models=["organism", "organism"]) == 2
    assert "none twice" in capsys.readouterr().err


def test_unpaired_examples_need_a_judge(model_dirs: dict[str, Path], tmp_path: Path) -> None:
    sides = (("The cat was", " sad"), ("A dog was", " bad"), ("The sun was", " red"))
    rows = [{"prompt": p, side: c} for p, c in sides for side in ("desired", "undesired")]
    pairs = tmp_path / "loose.jsonl"
    pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    plan = Plan(tmp_path / "out", METHODS, 1, 1, 0, 2, TERMS)
    unit = Unit(str(model_dirs["llama"]), str(pairs))
    with pytest.raises(ValueError, match=r"(?s)pair"):
        unit.measure(load_model(unit.model, device="cpu"), plan, print)
    assert unit.about(plan) is None
