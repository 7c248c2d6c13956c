"""The rules that settle claims on the embedded model, on planted tables."""

from pathlib import Path
from typing import Any

import pytest

from analyses.claims.evidence import (
    EQUIVALENT,
    NOT_OBSERVED,
    NOT_RUN,
    OBSERVED,
    OTHER_WAY,
    UNDECIDED,
    UNTESTED,
    ahead,
    in_most,
    weakest,
)
from analyses.claims.rules import bound, contraction, curved, dial, one_step, stable_halves
from tests.analyses.planted_results import results


def shares(gain: float) -> list[dict[str, Any]]:
    """Of two methods on six behaviours, one ahead by about so much."""
    return [
        {"method": method, "behaviour_set": f"b{i}", "behaviour": 0.5 + 0.01 * i + ahead}
        for i in range(6)
        for method, ahead in (("ours", gain + 0.002 * (-1) ** i), ("other", 0.0))
    ]


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, OBSERVED), (0.0, NOT_OBSERVED), (-0.1, OTHER_WAY)]
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
    assert ahead("all/matched", "ours", ["other", "third"])(found).verdict == OTHER_WAY


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


@pytest.mark.parametrize(("good", "verdict"), [(4, OBSERVED), (3, NOT_OBSERVED), (2, OTHER_WAY)])
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


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.96, 0.99, OTHER_WAY), (0.94, 0.96, NOT_OBSERVED), (0.8, 0.94, OBSERVED)],
)
def test_a_field_is_bent_if_most_cells_lie_below_the_line(
    tmp_path: Path, low: float, high: float, verdict: str
) -> None:
    row = {"cos_linear": (low + high) / 2, "cos_linear_low": low, "cos_linear_high": high}
    found = curved(results(tmp_path, odesteer__fields=[row] * 3))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("coverage", "verdict"), [(0.9, OBSERVED), (0.8, OTHER_WAY), (0.99, NOT_OBSERVED)]
)
def test_a_bound_that_more_texts_keep_than_asked_for_is_no_bound_for_so_many(
    tmp_path: Path, coverage: float, verdict: str
) -> None:
    rows = [
        {"law": "centred", "bound": "a priori", "behaviour_set": f"b{i}", "coverage": coverage + d}
        for i, d in enumerate((-0.001, 0.0, 0.001))
    ]
    assert bound(results(tmp_path, lqr__bounds=rows)).verdict == verdict


@pytest.mark.parametrize(("overlap", "verdict"), [(0.8, OBSERVED), (0.2, OTHER_WAY)])
def test_halves_must_share_more_than_half_beyond_chance(
    tmp_path: Path, overlap: float, verdict: str
) -> None:
    rows = [{"behaviour": f"b{i}", "overlap_of_halves": overlap + 0.01 * i} for i in range(4)]
    assert stable_halves(results(tmp_path, sadi__summary=rows)).verdict == verdict


def test_of_several_comparisons_the_one_farthest_from_the_claim_counts() -> None:
    assert weakest([OBSERVED, OBSERVED]) == OBSERVED
    assert weakest([OBSERVED, NOT_RUN]) == NOT_RUN
    assert weakest([UNDECIDED, NOT_RUN]) == UNDECIDED
    assert weakest([OBSERVED, UNTESTED]) == UNTESTED
    assert weakest([UNDECIDED, EQUIVALENT]) == EQUIVALENT
    assert weakest([OTHER_WAY, NOT_OBSERVED, OBSERVED]) == OTHER_WAY
