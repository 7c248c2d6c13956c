"""The study of variance: its design, strengths of one cost, tables, and a run cut short."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lens_steer as ls
from analyses.variance.__main__ import write
from analyses.variance.design import (
    FACTORS,
    METHODS,
    READS,
    Behaviour,
    Design,
    check_behaviours,
    layers_of,
    method_names,
    position,
)
from analyses.variance.equal_nats import CLOSE, at_cost
from analyses.variance.journals import UNSTEERED, Run
from analyses.variance.measuring import Bench
from analyses.variance.tables import (
    ALL,
    WITHIN,
    Grid,
    balanced,
    changed_table,
    grid,
    levels_table,
    shares_table,
)
from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, WordList

DESIGN = Design(2, ("last", "mean"), (0, 2), ("CAA",), 4, 0, 3, 1)


def small() -> Behaviour:
    rows = [
        (f"the dog {g} was {k}", f" very good sun{k}", f" very bad cat{k}", f"group {g}")
        for g in range(8)
        for k in range(3)
    ]
    pairs = ContrastivePairs.of(rows, name="small")
    train, dev, test = pairs.split(0.4, 0.3, 0.3, seed=0)
    return Behaviour("small", pairs, train, dev, test, WordList(("a",)))


@pytest.fixture
def model(load: Any, untyped: None) -> Any:
    return load("llama")


def crossed(y: np.ndarray) -> list[dict[str, Any]]:
    """The rows of a journal of which these are the cells; NaN is a cell that failed."""
    rows = []
    for place, value in np.ndenumerate(y):
        row: dict[str, Any] = dict(zip(FACTORS, place, strict=True))
        rows.append(row | ({"failure": "no"} if np.isnan(value) else {"gain": [value, value]}))
    return rows


def test_halves_of_train_are_whole_groups_and_differ() -> None:
    behaviour = small()
    halves = [behaviour.half(fit, seed=0) for fit in range(4)]
    for half in halves:
        inside = set(half.groups)
        assert [g for g in behaviour.train.groups if g in inside] == list(half.groups)
        assert 0 < len(half) < len(behaviour.train)
    assert len({half.groups for half in halves}) > 1
    assert behaviour.half(2, seed=0) == halves[2]


def test_the_token_before_the_last_is_read() -> None:
    assert [position(read) for read in READS] == ["last", -2, "mean"]


def test_mean_transport_is_caa_at_one_cost_and_so_is_not_a_method_of_its_own(model: Any) -> None:
    resid = capture(model, small().train, progress=False).at(layer=1)
    one, other = ls.CAA.fit(resid), ls.MeanAcT.fit(resid)
    gains = [ls.preference(model, small().test, m) for m in (one, other)]
    torch.testing.assert_close(*gains, atol=1e-5, rtol=0)
    assert "MeanAcT" not in METHODS


def test_methods_of_any_unit_are_brought_to_one_cost(model: Any) -> None:
    behaviour = small()
    texts = FixedTexts.sample(model, behaviour.dev.spread(3), seed=0, max_new_tokens=4)
    resid = capture(model, behaviour.train, progress=False).at(layer=1)
    methods: list[Any] = [ls.CAA.fit(resid), 100 * ls.CAA.fit(resid), ls.RepE.fit(resid)]
    found = at_cost(model, methods, texts, 0.05)
    costs = texts.kl(model, [(method,) for method in found if not isinstance(method, str)])
    assert costs == pytest.approx([0.05] * 3, rel=CLOSE)
    assert found[0].strength == pytest.approx(100 * found[1].strength, rel=2 * CLOSE)  # type: ignore[union-attr]


def test_a_method_that_cannot_cost_so_much_says_so(model: Any) -> None:
    behaviour = small()
    texts = FixedTexts.sample(model, behaviour.dev.spread(2), seed=0, max_new_tokens=3)
    resid = capture(model, behaviour.train, progress=False).at(layer=1)
    [found] = at_cost(model, [ls.Angular.fit(resid, to_angle=0.0)], texts, 50.0)
    assert "at its largest strength 1" in str(found)


def test_levels_that_lack_cells_are_left_out_until_every_cell_is_there() -> None:
    y = np.arange(2.0 * 2 * 2 * 3 * 3).reshape(2, 2, 2, 3, 3)
    y[:, :, :, 2, :] = np.nan  # a layer at which nothing could be made
    y[0, 1, 0, 0, 1] = np.nan  # and one cell: its method has the smallest slice
    found = grid(crossed(y), "preference")
    assert found is not None
    assert grid(crossed(y), "texts") is None
    left, out = balanced(found)
    assert [(row["factor"], row["level"]) for row in out] == [("layer", 2), ("method", 1)]
    assert out[0]["lacking"] == 1.0
    assert left.y.tolist() == np.delete(np.delete(y, 2, 3), 1, 4).tolist()
    with pytest.raises(ValueError, match="no cell is left"):
        balanced(replace(found, y=np.full(y.shape, np.nan)))


def planted(variance: dict[str, float], seed: int = 0) -> Grid:
    source = np.random.default_rng(seed)
    shape = (40, 2, 3, 3, 3)
    y = np.zeros(shape)
    for name, value in variance.items():
        kept = [FACTORS.index(part) for part in name.split(" x ")]
        size = [n if i in kept else 1 for i, n in enumerate(shape)]
        y = y + np.sqrt(value) * source.standard_normal(size)
    levels = {name: tuple(range(n)) for name, n in zip(FACTORS, shape, strict=True)}
    return Grid(y, levels)


def test_what_differs_between_behaviours_alone_is_nothing_within_one(untyped: None) -> None:
    """The best layer is another one for each: within one it is all, over all an interaction."""
    table = shares_table(planted({"behaviour": 5.0, "behaviour x layer": 1.0}))
    share = table.set_index(["version", "source"])["share"]
    assert share[WITHIN]["layer"] == pytest.approx(1.0)
    assert share[WITHIN]["where less method"] == pytest.approx(1.0)
    assert share[ALL]["behaviour"] == pytest.approx(5 / 6, abs=0.1)
    assert share[ALL]["behaviour x layer"] == pytest.approx(1 / 6, abs=0.1)
    assert share[ALL]["layer"] == pytest.approx(0.0, abs=0.05)
    for version in (WITHIN, ALL):
        part = table[(table["version"] == version) & table["component"].notna()]
        assert part["share"].sum() == pytest.approx(1.0)
        assert part["component"].sum() == pytest.approx(part["total"].iloc[0])


def test_one_behaviour_has_shares_within_and_no_interval(untyped: None) -> None:
    found = planted({"behaviour x method": 1.0, "behaviour x layer x read": 0.5})
    one = Grid(found.y[:1], {**found.levels, "behaviour": ("sea",)})
    table = shares_table(one)
    assert set(table["version"]) == {WITHIN}
    assert table["share_low"].isna().all()
    changed = changed_table(one).set_index("factor")["difference"]
    assert np.isnan(changed["behaviour"])
    assert changed["fit"] == pytest.approx(0.0, abs=1e-12)
    assert changed["method"] > 0


def test_a_measure_without_any_variance_has_no_shares(untyped: None) -> None:
    flat = planted({})
    assert shares_table(flat)["share"].isna().all()
    assert levels_table(flat)["mean"].eq(0).all()


def test_a_run_that_was_stopped_ends_with_the_same_bytes_and_texts_can_be_added(
    model: Any, tmp_path: Path
) -> None:
    whole = Run.of(model, [small()], DESIGN, tmp_path / "whole.jsonl")
    assert whole.cost().startswith("8 cells of each of 1 behaviours")
    assert list(whole.measure()) == [("small", UNSTEERED), ("small", 0), ("small", 1)]
    for n in (1, 2):
        again = Run.of(model, [small()], DESIGN, tmp_path / "again.jsonl")
        assert len(list(islice(again.measure(), n))) == n
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    rows = whole.rows()
    assert len(rows) == 1 + 2 * 4
    assert "shown" not in rows[1]
    texts = replace(DESIGN, text_prompts=2)
    more = Run.of(model, [small()], texts, tmp_path / "whole.jsonl")
    assert [unit[1:] for unit in more.measure()] == [(f, "2 texts") for f in (UNSTEERED, 0, 1)]
    shown = [row for row in more.rows() if "shown" in row and "method" in row]
    assert {row["layer"] for row in shown} == {2}
    assert len(shown) == 2 * 2
    write(more, tmp_path, {"model": "small"})
    cells: Any = pd.read_csv(tmp_path / "cells.csv")
    assert len(cells) == 8
    assert cells["gain"].notna().all()
    assert {"preference", "texts"} == set(pd.read_csv(tmp_path / "changed.csv")["measure"])
    assert (tmp_path / "shares.png").is_file()
    with pytest.raises(ValueError, match="run with other settings"):
        Run.of(model, [small()], replace(DESIGN, prompts=3), tmp_path / "whole.jsonl")


def test_a_cell_holds_what_its_method_does_to_the_test_pairs(model: Any) -> None:
    design = replace(DESIGN, fits=1, reads=("last",), layers=(2,), methods=("CAA",))
    bench = Bench(model, small(), design)
    [row] = bench.rows(0)
    resid = capture(model, small().half(0, design.seed), progress=False)
    method = ls.CAA.fit(resid.at(layer=2)).with_strength(row["strength"])
    test = small().test.spread(4)
    gain = ls.preference(model, test, method) - ls.preference(model, test)
    torch.testing.assert_close(torch.tensor(row["gain"]), gain, atol=2e-5, rtol=0)


def test_a_cell_without_a_direction_says_why(model: Any) -> None:
    """One token is read, and the one before it is the prompt's: both sides have it."""
    rows = [(f"the dog {g}", " sun", " cat", f"group {g}") for g in range(12)]
    pairs = ContrastivePairs.of(rows, name="one token")
    train, dev, test = pairs.split(0.4, 0.3, 0.3, seed=0)
    one = Behaviour("one token", pairs, train, dev, test, None)
    design = replace(DESIGN, reads=("last but one",), layers=(1,), methods=("CAA", "RepE"))
    assert ["failure" in row for row in Bench(model, one, design).rows(0)] == [True, True]


@pytest.mark.parametrize("names", ["", "caa", "CAA,CAA", "CAA,", "MeanAcT"])
def test_unknown_methods_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="expected all, or some of CAA"):
        method_names(names)


def test_unknown_behaviours_and_layers_are_refused(model: Any, tmp_path: Path) -> None:
    check_behaviours(["sea", "organism:polarity"])
    with pytest.raises(ValueError, match="sentiment"):
        check_behaviours(["sentiment"])
    with pytest.raises(ValueError, match="got 4, expected numbers below 4"):
        layers_of(model, (0, 4))
    assert layers_of(model, None) == (0, 1, 2, 3)
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a", "label": "desired"}\n{"text": "b", "label": "undesired"}\n')
    with pytest.raises(ValueError, match="not paired"):
        Behaviour.of(str(file), seed=0)
