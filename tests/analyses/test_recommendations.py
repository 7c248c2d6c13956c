"""The study of recommendations: planted cells with known answers, and a run cut short."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from analyses.recommendations import tables
from analyses.recommendations.__main__ import main
from analyses.recommendations.measuring import ARMS, Advice, Run, turned_in_groups
from lens_steer.models import load_model
from tests.analyses.test_forecast import PAIRS, cells, row, value
from tests.analyses.test_registered import small_task

WITH, WITHOUT, TURNED, TURNED_WITHOUT, _ = ARMS


def texts(share: float) -> list[float]:
    """Scores of which this share is 1."""
    return [float(i < share * PAIRS) for i in range(PAIRS)]


def tried(name: str, slope: float, dev: float, test: float, at: int = 0) -> dict[str, Any]:
    """A method of the exhaustive search, with the shares of its texts."""
    return row(name, slope, at=at) | {"shown": [texts(dev), texts(test)]}


# The first is the best on dev, the second by its forecast, on test, and at half depth.
METHODS = (
    tried("CAA, layer 0", 1.0, 0.75, 0.5),
    tried("CAA, layer 1", 3.0, 0.5, 1.0, at=1),
    tried("ITI, k 6", 2.0, 0.0, 0.25),
)
SEARCHED = {
    cell: [plain | {"groups": [list(range(PAIRS))] * 2}, *rest]
    for cell, (plain, *rest) in cells(*METHODS, tasks=2).items()
}


def advice(shown: float | None) -> dict[str, Any]:
    """A recommendation whose method shows so many of the texts, or a refusal."""
    found = {"seconds": 8.0, "trial_seconds": 4.1, "forecasts": 20, "reason": "as planted"}
    if shown is None:
        return found | {"method": None}
    return found | {"method": "ITI, k 2", "unsteered": texts(0), "shown": texts(shown)}


def found(**shares: float | None) -> dict[Any, Any]:
    """The same recommendations in every cell."""
    names = {"judge": WITH, "margins": WITHOUT, "turned": TURNED, "turned_margins": TURNED_WITHOUT}
    return {
        (task, fold, names[key]): advice(share)
        for key, share in shares.items()
        for task, fold in SEARCHED
    }


def test_half_of_every_group_is_turned_round() -> None:
    pairs = small_task(n_groups=4, each=6).pairs
    turned = turned_in_groups(pairs, seed=0)
    changed = [
        a.continuation != b.continuation for a, b in zip(pairs.desired, turned.desired, strict=True)
    ]
    for group in set(pairs.groups):
        assert sum(x for x, g in zip(changed, pairs.groups, strict=True) if g == group) == 3
    for now, then in ((turned.undesired, pairs.desired), (turned.desired, pairs.undesired)):
        assert [x.continuation for x, c in zip(now, changed, strict=True) if c] == [
            x.continuation for x, c in zip(then, changed, strict=True) if c
        ]
    assert turned.groups == pairs.groups
    again, other = (turned_in_groups(pairs, seed=seed).desired for seed in (0, 1))
    assert again == turned.desired != other


def test_a_random_search_takes_the_best_on_dev_of_its_draws() -> None:
    here = tables.Searched(SEARCHED["t0", 0], 0)
    assert here.winner == 0
    assert here.random_search(1) == pytest.approx((0.5 + 1.0 + 0.25) / 3)
    assert here.random_search(2) == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 1.0)
    assert here.random_search(3) == here.random_search(9) == 0.5


def test_regret_is_the_share_of_the_winner_less_that_of_the_choice() -> None:
    table = tables.cells(found(judge=0.25, margins=None), SEARCHED, seed=0)
    assert set(table["winner"]) == {"CAA, layer 0"}
    assert set(table["time_in_trials"]) == {2}
    lost = tables.regrets(table, SEARCHED, seed=0)
    expected = {
        WITH: 25,
        WITHOUT: 50,  # it refused: no text shows it
        "random search, as many trials": 0,
        "random search, as much time": 100 * (0.5 - 2 / 3),
        "CAA at half depth": -50,
        "the largest forecast": -50,
        "any, at random": 50 - 175 / 3,
        "no steering": 50,
    }
    assert lost["rule"].tolist() == list(expected)
    for rule, points in expected.items():
        assert value(lost, "regret", rule=rule) == pytest.approx(points)
        assert value(lost, "beyond_recommend", rule=rule) == pytest.approx(points - 25)


def test_refusals_are_counted_against_what_can_be_steered() -> None:
    rows = found(judge=0.5, turned=None, margins=None, turned_margins=None)
    rows["t0", 0, TURNED] = advice(0.5)
    table = tables.refusals(tables.cells(rows, SEARCHED, seed=0))
    assert table["judged"].tolist() == [True, False]
    counts = {"cells": [8, 8], "turned": [4, 4], "refused": [3, 8], "turned_refused": [3, 4]}
    counts |= {"steerable": [4, 4], "steerable_refused": [0, 4], "other": [0, 0]}
    for name, expected in counts.items():
        assert table[name].tolist() == expected
    assert table["precision"].tolist() == [1.0, 0.5]
    assert table["recall"].tolist() == [0.75, 1.0]
    assert table["precision_low"][0] == pytest.approx(0.025 ** (1 / 3))  # Clopper and Pearson
    assert table["recall_high"][1] == 1.0


def test_a_cell_whose_winner_moves_nothing_is_to_be_refused() -> None:
    still = {
        cell: [plain, *({**r, "shown": [r["shown"][0], [0.0] * PAIRS]} for r in rest)]
        for cell, (plain, *rest) in SEARCHED.items()
    }
    table = tables.refusals(tables.cells(found(judge=None), still, seed=0))
    assert table["other"].tolist() == table["other_refused"].tolist() == [4]
    assert table["precision"].tolist() == [1.0]
    none = tables.refusals(tables.cells(found(judge=0.0), still, seed=0))
    assert none["precision"].isna().all()
    assert none["recall"].tolist() == [0.0]


def test_forecasts_of_other_cells_or_texts_are_refused() -> None:
    rows = found(judge=0.5)
    with pytest.raises(ValueError, match="the forecasts have no cell t0, fold 0"):
        tables.cells(rows, {}, seed=0)
    rows["t1", 0, WITH]["unsteered"] = [1.0] * PAIRS
    with pytest.raises(ValueError, match="t1, fold 0: unsteered texts are judged otherwise"):
        tables.cells(rows, SEARCHED, seed=0)


def test_the_command_needs_forecasts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder with journal.jsonl"):
        main(tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("untyped")
def test_a_run_that_was_stopped_goes_on(model_dirs: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    tasks = [small_task()]
    path = tmp_path / "journal.jsonl"
    run = Run.of(model, tasks, 3, 1e-4, 0, path)
    first = ("small", 0, WITH)
    assert list(islice(run.measure(), 1)) == [first]
    kept = path.read_bytes()
    again = Run.of(model, tasks, 3, 1e-4, 0, path)
    assert list(islice(again.measure(), 1)) == [first]
    assert path.read_bytes() == kept
    made = again.rows()[first]
    assert made["forecasts"] > 0 < made["trial_seconds"]
    with pytest.raises(ValueError, match="run with other settings"):
        Run.of(model, tasks, 3, 1.0, 0, path)


def test_no_prompt_that_is_tested_is_given(model_dirs: dict[str, Path]) -> None:
    from analyses.forecast.measuring import Cell

    model: Any = load_model(str(model_dirs["llama"]), device="cpu")
    cell = Cell(model, small_task(), 1, 3, 0)
    dev, tested = (set(part.groups) for part in cell.parts)
    sizes = []
    for arm in ARMS.values():
        given = Advice(cell, arm, 1.0).given
        assert not tested & set(given.groups)
        assert bool(dev & set(given.groups)) == arm.dev
        sizes.append(len(set(given.groups)))
    assert sizes == [8, 8, 8, 8, 12]
    plain, turned = (Advice(cell, replace(ARMS[WITH], turned=t), 1.0).given for t in (False, True))
    assert plain.desired == cell.task.train(0, 1).desired != turned.desired
