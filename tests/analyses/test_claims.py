"""The page of claims: its rules on planted tables, and that it is what the tables say."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyses.claims.__main__ import evidence, main, page, table
from analyses.claims.evidence import (
    NOT_OBSERVED,
    NOT_RUN,
    OBSERVED,
    UNTESTED,
    Results,
    ahead,
    in_most,
)
from analyses.claims.paper_claims import CLAIMS, Claim
from analyses.claims.rules import contraction, dial, one_step

ROOT = Path(__file__).parents[2]


def results(folder: Path, **tables: Any) -> Results:
    for name, rows in tables.items():
        path = folder / f"{name.replace('__', '/')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
    return Results(folder)


def shares(gain: float) -> list[dict[str, Any]]:
    """Of two methods on six behaviours, one ahead by about so much."""
    return [
        {"method": method, "behaviour_set": f"b{i}", "behaviour": 0.5 + 0.01 * i + ahead}
        for i in range(6)
        for method, ahead in (("ours", gain + 0.002 * (-1) ** i), ("other", 0.0))
    ]


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, OBSERVED), (0.0, NOT_OBSERVED), (-0.1, NOT_OBSERVED)]
)
def test_a_method_is_ahead_when_its_whole_interval_is(
    tmp_path: Path, gain: float, verdict: str
) -> None:
    found = ahead("all/matched", "ours", ["other"])(results(tmp_path, all__matched=shares(gain)))
    assert found.verdict == verdict
    assert f"less other: {100 * gain:+.0f} points" in found.measured
    assert "over 6 behaviours" in found.measured


def test_it_has_to_be_ahead_of_each_of_the_others(tmp_path: Path) -> None:
    more = [{**row, "method": "third", "behaviour": 0.9} for row in shares(0.1)[::2]]
    found = results(tmp_path, all__matched=shares(0.1) + more)
    assert ahead("all/matched", "ours", ["other"])(found).verdict == OBSERVED
    assert ahead("all/matched", "ours", ["other", "third"])(found).verdict == NOT_OBSERVED


def test_of_few_behaviours_nothing_is_concluded(tmp_path: Path) -> None:
    found = results(tmp_path, all__matched=shares(0.1)[:6])
    few = ahead("all/matched", "ours", ["other"])(found)
    assert (few.verdict, few.measured) == (NOT_RUN, "so far less other: +10 points on 3 behaviours")


def test_behaviours_can_be_left_out(tmp_path: Path) -> None:
    odd = [{**row, "behaviour_set": "odd", "behaviour": 0.1} for row in shares(0.0)[:1]]
    found = results(tmp_path, all__matched=shares(0.1) + odd)
    text = ahead("all/matched", "ours", ["other"], only="behaviour_set != 'odd'")(found).measured
    assert "over 6 behaviours" in text


@pytest.mark.parametrize(("apart", "verdict"), [(0.02, OBSERVED), (0.3, NOT_OBSERVED)])
def test_models_are_drawn_again(tmp_path: Path, apart: float, verdict: str) -> None:
    """A gain of .1 on average is one of models too only where models agree."""
    rows = [
        {**row, "model": f"m{i}", "behaviour": row["behaviour"] + shift}
        for i, shift in enumerate((-apart, 0.0, apart, apart, -apart))
        for row in shares(0.1)
        if row["method"] == "ours"
    ]
    rows += [{**row, "model": f"m{i}"} for i in range(5) for row in shares(0.1)[1::2]]
    found = ahead("all/matched", "ours", ["other"])(results(tmp_path, all__matched=rows))
    assert (found.models, found.verdict) == (5, verdict)
    assert "less other: +10 points" in found.measured
    lacking = results(tmp_path, all__matched=rows[1:])
    assert "over 5 behaviours" in ahead("all/matched", "ours", ["other"])(lacking).measured


@pytest.mark.parametrize(("good", "verdict"), [(4, OBSERVED), (3, NOT_OBSERVED)])
def test_more_than_half_of_the_cells_must_lie_above(
    tmp_path: Path, good: int, verdict: str
) -> None:
    rows = [{"x_low": 0.1, "x_high": 0.3}] * good + [{"x_low": -0.2, "x_high": -0.1}] * (6 - good)
    nothing = [{"x_low": None, "x_high": None}]
    found = in_most("a/b", "x", "x", "cells")(results(tmp_path, a__b=rows + nothing))
    assert found.verdict == verdict
    assert f"above 0 in {good} of 6 cells, below 0 in {6 - good}" in found.measured


def test_rules_of_single_claims(tmp_path: Path) -> None:
    loops = [
        {"loop": loop, "layer": layer, "norm": norm}
        for loop, norm in (("A", 3.0), ("A - K", 0.4), ("A - w v'", 0.9))
        for layer in (1, 2)
    ]
    found = results(tmp_path, lqr__loops=loops)
    assert contraction(found).verdict == OBSERVED
    loops[-1]["norm"] = 1.1
    assert contraction(results(tmp_path, lqr__loops=loops)).verdict == NOT_OBSERVED
    dose = [
        {"law": "published", "lambda": x, "share": 0.2 + 0.3 * x, "behaviour_set": f"b{i}"}
        for x in (0.0, 1.0)
        for i in range(5)
    ]
    assert dial(results(tmp_path, lqr__lambda=dose)).verdict == OBSERVED
    pairs = [
        {"other": "one step", "change": c, "change_low": c - 0.1, "change_high": c + 0.1}
        for c in (0.2, 0.3, 0.25)
    ]
    step = one_step(results(tmp_path, odesteer__differences=pairs))
    assert step.verdict == OBSERVED
    assert "above 0 in 3 of them" in step.measured


def test_a_missing_table_is_said_and_nothing_fails(tmp_path: Path) -> None:
    rows = table(Results(tmp_path))
    assert len(rows) == len(CLAIMS)
    assert set(rows["verdict"]) == {NOT_RUN, UNTESTED}
    claim = Claim("A", "a", ahead("x/y", "a", ["b"]), "")
    assert "x/y.csv" in evidence(claim, Results(tmp_path)).measured


def test_bars_in_a_cell_do_not_end_it(tmp_path: Path) -> None:
    body = page(table(Results(tmp_path))).splitlines()
    rows = [line for line in body if line.startswith("| ")]
    assert len(rows) == len(CLAIMS) + 1
    for line in rows:
        assert line.replace("\\|", "").count("|") == 7


def test_the_page_is_what_the_tables_say(tmp_path: Path) -> None:
    main(ROOT / "analyses" / "results", tmp_path)
    kept = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert (tmp_path / "claims.md").read_text(encoding="utf-8") == kept


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        main(tmp_path / "nothing", tmp_path)
