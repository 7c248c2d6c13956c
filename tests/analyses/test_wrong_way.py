"""The study of single prompts: parts against differences of margins, planted shares and repairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analyses.forecast.candidates import layers
from analyses.forecast.measuring import Run
from analyses.wrong_way import tables
from analyses.wrong_way.__main__ import write
from analyses.wrong_way.crossing import (
    CrossedCell,
    between_groups,
    endings_fit_any_prompt,
    within_groups,
)
from analyses.wrong_way.measuring import (
    Cell,
    gate_scale,
    guessed,
    prompt_states,
)
from analyses.wrong_way.paths import Readouts, Slopes, mean_change
from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.forecasting import margins
from lens_steer.models import load_model
from lens_steer.steering import CAA
from tests.analyses.test_registered import small_task

ROWS = [(f"p{g} q{k}", f" good{k} a", f" bad{k}", f"group {g}") for g in range(3) for k in range(4)]
STEP = 0.01


@pytest.fixture(scope="module")
def model(model_dirs: dict[str, Path]) -> Any:
    return load_model(str(model_dirs["llama"]), device="cpu", dtype=torch.float64)


@pytest.fixture(scope="module")
def pairs() -> ContrastivePairs:
    return ContrastivePairs.of(ROWS, name="small")


@pytest.fixture(scope="module")
def caa(model: Any, pairs: ContrastivePairs) -> Callable[[int], CAA]:
    found = capture(model, pairs, "resid", read="mean", progress=False)
    return lambda layer: CAA.fit(found.at(layer=layer))


def test_the_parts_sum_to_the_slope_of_the_margin(
    model: Any, pairs: ContrastivePairs, caa: Callable[[int], CAA]
) -> None:
    method = caa(0)
    nothing = torch.zeros(model.cfg.d_model).double()
    found = Slopes.measure(Readouts.of(model, pairs), method, nothing, step=STEP)
    _, up, down = margins(model, pairs, [method.with_strength(s * STEP) for s in (1, -1)])
    torch.testing.assert_close(found.whole, (up - down) / (2 * STEP), rtol=2e-3, atol=1e-6)
    assert bool((found.mlp.abs() > 0).all())
    assert found.mean_change.tolist() == [0.0] * len(ROWS)


def test_behind_the_last_block_all_is_direct_and_every_text_changes_alike(
    model: Any, pairs: ContrastivePairs, caa: Callable[[int], CAA]
) -> None:
    method = caa(int(model.cfg.n_layers) - 1)
    usual = mean_change(model, pairs, method, step=STEP)
    found = Slopes.measure(Readouts.of(model, pairs), method, usual, step=STEP)
    torch.testing.assert_close(found.direct, found.whole)
    torch.testing.assert_close(found.mean_change, found.whole, rtol=1e-9, atol=1e-12)
    assert found.mlp.tolist() == found.attention.tolist() == [0.0] * len(ROWS)


def test_states_are_those_of_the_last_prompt_token(model: Any, pairs: ContrastivePairs) -> None:
    found = prompt_states(model, pairs, 0)
    for prompt, state in zip(pairs.prompts, found, strict=True):
        _, cache = model.run_with_cache(model.to_tokens(prompt))
        torch.testing.assert_close(state, cache["blocks.0.hook_resid_post"][0, -1])


def test_every_prompt_meets_every_ending_of_its_group(pairs: ContrastivePairs) -> None:
    crossed, cells = within_groups(pairs)
    assert len(crossed) == len(cells) == 3 * 4 * 4
    i = cells.index((1, 2, 3))
    assert (crossed.desired[i].prompt, crossed.undesired[i].continuation) == ("p1 q2", " bad3")


def test_a_prompt_of_every_group_meets_every_ending(pairs: ContrastivePairs) -> None:
    other = ContrastivePairs.of([("x", " good9", " bad9", "other group")], name="other")
    crossed, cells = between_groups(pairs, other)
    assert len(crossed) == len(cells) == (3 + 1) * 4  # four endings, which all groups share
    i = cells.index((0, 3, 2))
    assert (crossed.desired[i].prompt, crossed.undesired[i].continuation) == ("x", " bad2")
    assert endings_fit_any_prompt(pairs)
    assert not endings_fit_any_prompt(other)


@pytest.mark.parametrize("which", ["prompt", "ending", "both together"])
def test_planted_variance_is_found_where_it_is(which: str) -> None:
    source = np.random.default_rng(0)
    cells = []
    for group in range(20):
        of_prompt, of_ending = source.normal(size=(2, 8))
        both = source.normal(size=(8, 8))
        for i in range(8):
            for j in range(8):
                planted = {
                    "prompt": of_prompt[i],
                    "ending": of_ending[j],
                    "both together": both[i, j],
                }
                cells.append((group, i, j, 5.0 * group + planted[which]))
    names = ["prompt", "ending", "both together"]
    shares = dict(zip(names, tables.variance_shares(cells), strict=True))
    assert shares.pop(which) == pytest.approx(1.0, abs=0.05)
    assert list(shares.values()) == pytest.approx([0.0, 0.0], abs=0.05)


def test_a_gate_on_a_quarter_is_twice_as_strong() -> None:
    slopes = torch.tensor([1.0, -1.0, -2.0, 0.0]).double()
    assert gate_scale(slopes) == 2.0
    assert gate_scale(-slopes.abs()) == 0.0


def test_a_slope_that_is_linear_in_the_prompt_is_guessed() -> None:
    x = torch.randn(80, 5, generator=torch.Generator().manual_seed(0)).double()
    slopes = x @ torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0]).double()
    assert (
        torch.corrcoef(torch.stack([guessed(x[:60], slopes[:60], x[60:]), slopes[60:]]))[0, 1]
        > 0.99
    )


@pytest.mark.parametrize(("most", "expected"), [(1, [15]), (3, [0, 15, 29])])
def test_half_depth_is_always_among_the_layers(most: int, expected: list[int]) -> None:
    assert [i for i in layers(30, most) if i in expected] == expected


def planted() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Two pairs of four go the wrong way, through attention alone; the guess is always wrong."""
    whole = [1.0, 2.0, -1.0, -2.0]
    row = {
        "layer": 3,
        "slopes": {
            "direct": [1.0, 2.0, 1.0, 2.0],
            "attention": [0.0, 0.0, -2.0, -4.0],
            "mlp": [0.0] * 4,
            "mean_change": [1.0] * 4,
        },
        "guessed": [-x for x in whole],
        "scales": [1.0, -1.0, 2**0.5, 2**0.5],
        "changes": [whole, [-x for x in whole]] + [[2**0.5 * x for x in whole]] * 2,
        "shown": [[0.0] * 4, [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]],
        "nats": [[0.0] * 4] + [[1.0] * 4] * 2 + [[2.0] * 4] * 2,
        "tokens": [[10] * 4] * 5,
    }
    # Behind the last block all is direct; it is not counted.
    last = {"layer": 5, "slopes": {"direct": [9.0] * 4, "mean_change": [9.0] * 4}}
    last["slopes"] |= {"attention": [0.0] * 4, "mlp": [0.0] * 4}
    last |= {name: row[name] for name in ("guessed", "scales", "changes")}
    clean = {"layer": None, "margins": [0.0, 1.0, 2.0, 3.0], "groups": [0] * 4}
    return {(f"t{i}", 0): [clean, row, last] for i in range(3)}


def value(table: Any, what: str) -> float:
    [found] = table[table["what"] == what]["value"]
    return float(found)


def test_what_turned_planted_pairs_is_named() -> None:
    table = tables.paths(planted(), seed=0)
    assert value(table, "wrong: direct below 0") == 0.0
    assert value(table, "wrong: attention below 0") == 1.0
    assert value(table, "right: attention below 0") == value(table, "right: direct below 0") == 0.0
    assert value(table, "wrong: right without attention") == 1.0
    assert value(table, "wrong: right without mlp") == 0.0
    assert value(table, "all: sign of mean_change") == 0.5
    assert value(table, "all: correlation with the guess") == pytest.approx(-1.0)
    counted = tables.counted(planted(), seed=0)
    assert value(counted, "margin fell") == 0.5
    assert value(counted, "fell, of slopes below 0") == 1.0
    assert value(counted, "lost by those that fell, of all change") == 0.5


def test_planted_repairs_gain_what_they_must() -> None:
    found = tables.repairs(planted(), seed=0)
    assert value(found, "plain") == 0.0
    # of two layers, in the last of which every slope is above 0 and the known sign is plain
    assert value(found, "sign, known less plain") == 1.5 / 2
    assert value(found, "sign, guessed less plain") == -1.5
    texts = tables.texts(planted(), seed=0)
    assert value(texts, "plain") == 50.0
    assert value(texts, "sign, known less plain") == 50.0
    assert value(texts, "gate, known less plain") == 0.0
    assert value(texts, "gate, known: nats per token") == value(texts, "plain: nats per token")


@pytest.mark.usefixtures("untyped")
def test_a_cell_is_measured_and_written(model_dirs: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")

    def cell(*what: Any) -> Cell:
        return Cell(*what, layers=2)

    run = Run.of(model, [small_task()], 3, 0, tmp_path / "journal.jsonl", cell, layers=2)
    next(run.measure())
    beside = Run.of(model, run.tasks, 3, 0, tmp_path / "crossed.jsonl", CrossedCell)
    next(beside.measure())
    write(run, beside, tmp_path, {})
    assert {path.name for path in tmp_path.glob("*.csv")} == {
        "counted.csv",
        "crossed.csv",
        "paths.csv",
        "repairs.csv",
        "texts.csv",
    }
