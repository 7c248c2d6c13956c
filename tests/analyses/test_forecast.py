"""The study of forecasts: planted cells with known answers, and a run cut short."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.forecast import tables
from analyses.forecast.__main__ import write
from analyses.forecast.candidates import layers
from analyses.forecast.measuring import NATS, Run
from lens_steer.models import load_model
from tests.analyses.test_registered import small_task

PAIRS = 8


def row(
    name: str, slope: float, *, at: int = 0, bend: float = 1.0, shown: float = 0.0, **rules: float
) -> dict[str, Any]:
    """A method that gains slope x (pair - 3) per strength, and bend times that when tested."""
    slopes = [slope * (i - 3) for i in range(PAIRS)]
    strengths: list[float | None] = [float(np.sqrt(k)) for k in NATS]
    strengths[-1] = None
    changes = [None if s is None else [bend * s * g for g in slopes] for s in strengths]
    return {
        "candidate": name,
        "family": name.split(",")[0],
        "setting": {"layer": at, "read": "mean"},
        "foretold": [2 * np.sqrt(k) for k in NATS],
        "strengths": strengths,
        "slopes": [slopes, slopes],
        "gains": [[2 * g for g in slopes]] * 2,
        "changes": [changes, changes],
        "shown": [[shown] * PAIRS] * 2,
        "rules": {"half depth": -float(abs(at - 1)), **rules},
    }


def cells(*rows: dict[str, Any], tasks: int = 3) -> dict[tuple[str, int], list[dict[str, Any]]]:
    plain = {"candidate": "unsteered", "shown": [[0.0] * PAIRS] * 2}
    plain |= {"margins": [[float(i % 3) for i in range(PAIRS)]] * 2, "groups": [[0] * PAIRS] * 2}
    return {(f"t{i}", fold): [plain, *rows] for i in range(tasks) for fold in range(2)}


def value(table: Any, column: str, **where: Any) -> float:
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    [found] = table[column]
    return float(found)


def test_prompts_that_gain_as_foretold_correlate_fully() -> None:
    table = tables.prompts(cells(row("CAA, layer 0", 1.0), row("random 0", -5.0)), seed=0)
    assert value(table, "value", nats=0.1, what="forecast") == pytest.approx(1.0)
    assert value(table, "value", nats=0.1, what="sign") == 1.0
    against = tables.prompts(cells(row("CAA, layer 0", 1.0, bend=-1.0)), seed=0)
    assert value(against, "value", nats=0.3, what="forecast") == pytest.approx(-1.0)
    assert set(table["nats"]) == set(NATS[:-1])  # the last cost is out of reach


def test_reach_is_measured_over_foretold() -> None:
    table = tables.strengths(cells(row("CAA, layer 0", 1.0, bend=0.5)))
    assert value(table, "strength", nats=0.1) == pytest.approx(0.5)
    assert value(table, "gain", nats=0.1) == pytest.approx(0.5)
    assert value(table, "gain_at_cost", nats=0.1) == pytest.approx(0.25)
    assert value(table, "within_reach", nats=1.0) == 0.0


def test_regret_is_what_a_choice_loses_to_the_best_on_dev() -> None:
    """The middle layer gains 0.158 nats a unit of slope; the forecast takes the best one."""
    here = cells(
        row("CAA, layer 0", 3.0, at=0, shown=1.0, AUC=0.5),
        row("CAA, layer 1", 1.0, at=1, AUC=0.9),
        row("ITI, k 6", 5.0, at=1, shown=0.5),
    )
    where = tables.where(here, seed=0)
    unit = float(np.sqrt(0.1) * np.mean(np.arange(PAIRS) - 3))
    assert value(where, "regret", measure="margin, nats", rule="forecast") == 0.0
    for rule in ("half depth", "AUC"):
        lost = value(where, "regret", measure="margin, nats", rule=rule)
        assert lost == pytest.approx(2 * unit)
        assert value(where, "beyond_forecast", measure="margin, nats", rule=rule) == lost
        assert value(where, "regret", measure="texts, points", rule=rule) == 100.0
    which = tables.which(here, seed=0)
    assert value(which, "regret", measure="margin, nats", rule="forecast") == 0.0
    assert value(which, "regret", measure="texts, points", rule="forecast") == 50.0
    lost = value(which, "regret", measure="margin, nats", rule="any, at random")
    assert lost == pytest.approx(2 * unit)


def test_a_share_that_follows_the_margin_is_foretold_by_it_alone() -> None:
    clean = np.arange(PAIRS) % 3
    good = row("CAA, layer 0", 4.0)
    foretold = clean + np.sqrt(0.1) * np.array(good["slopes"][1])
    good["shown"] = [[0.0] * PAIRS, [float(m > 0) for m in foretold]]
    table = tables.shares(cells(good), seed=0)
    assert value(table, "brier", rule="forecast") < 0.04
    assert value(table, "beyond_forecast", rule="clean margin") > 0.1
    assert value(table, "brier", rule="unsteered share") == pytest.approx(np.mean(foretold > 0))


@pytest.mark.parametrize(("n", "expected"), [(2, [0, 1]), (6, [0, 1, 2, 3, 4, 5])])
def test_few_layers_are_all_taken(n: int, expected: list[int]) -> None:
    assert layers(n) == expected


def test_of_many_layers_ten_and_the_middle_one_are_taken() -> None:
    assert {0, 15, 29} <= set(layers(30))
    assert len(layers(30)) <= 11


@pytest.mark.usefixtures("untyped")
def test_a_cell_is_measured_and_written(model_dirs: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    run = Run.of(model, [small_task(each=1)], 3, 0, tmp_path / "journal.jsonl")
    assert next(run.measure()) == ("small", 0)
    write(run, tmp_path, {})
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "prompts.png",
        "reach.png",
        "where.png",
        "which.png",
    }
    assert not (tmp_path / "shares.csv").exists()


class OneRow:
    """Measures nothing but which cell it is of."""

    def __init__(self, *terms: Any) -> None:
        _, self.task, self.fold, self.tokens, self.seed = terms

    def rows(self) -> list[dict[str, Any]]:
        return [{"is": [self.task.name, self.fold, self.tokens, self.seed]}]


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    tasks = [small_task(each=1)]
    whole = Run.of(model, tasks, 3, 0, tmp_path / "whole.jsonl", OneRow)
    assert len(list(whole.measure())) == 3
    for stop in (1, 3):  # the second goes on with what the first has kept
        again = Run.of(model, tasks, 3, 0, tmp_path / "again.jsonl", OneRow)
        list(islice(again.measure(), stop))
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert again.cells()["small", 2] == [{"is": ["small", 2, 3, 0]}]
    with pytest.raises(ValueError, match="run with other settings"):
        Run.of(model, tasks, 4, 0, tmp_path / "whole.jsonl", OneRow)
