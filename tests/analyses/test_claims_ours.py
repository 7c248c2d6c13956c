"""What is claimed of this toolkit's own forecasts: every rule on planted tables, both ways."""

from pathlib import Path
from typing import Any

import pytest

from analyses.claims.evidence import NOT_OBSERVED, OBSERVED, OTHER_WAY
from analyses.claims.our_claims import OUR_CLAIMS
from tests.analyses.planted_results import results

CLAIMS = {claim.number: claim for claim in OUR_CLAIMS}
GATES = [f"{kind}, {how} less plain" for kind in ("sign", "gate") for how in ("known", "guessed")]


def found(column: str, mean: float, low: float, high: float) -> dict[str, float]:
    return {column: mean, f"{column}_low": low, f"{column}_high": high}


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.5, 0.7), OBSERVED), ((-0.1, 0.7), NOT_OBSERVED), ((-0.7, -0.5), OTHER_WAY)],
)
def test_slopes_say_what_moves_where_their_correlation_is_above_0(
    tmp_path: Path, ends: tuple[float, float], verdict: str
) -> None:
    row = {"what": "rank correlation of slope and change", "cells": 5}
    told = {"nats": 0.1, "what": "forecast", "cells": 18}
    value = found("value", sum(ends) / 2, *ends)
    here = results(
        tmp_path, wrong_way__smollm2__counted=[row | value], forecast__prompts=[told | value]
    )
    public: Any = CLAIMS["F1"].public
    assert public.rule(here, "smollm2").verdict == verdict
    assert CLAIMS["F1"].rule(here).verdict == verdict


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [((1.9, 0.0, 3.9), OBSERVED), ((1.9, 0.0, 4.1), NOT_OBSERVED), ((2.1, 0.0, 3.0), NOT_OBSERVED)],
)
def test_a_layer_is_found_where_the_stated_aim_is_met(
    tmp_path: Path, lost: tuple[float, float, float], verdict: str
) -> None:
    row = {"measure": "texts, points", "rule": "forecast"}
    here = results(tmp_path, forecast__where=[row | found("regret", *lost)])
    assert CLAIMS["F2"].rule(here).verdict == verdict


@pytest.mark.parametrize(("sign", "verdict"), [(1, OBSERVED), (-1, OTHER_WAY)])
def test_kinds_and_shares_are_those_beyond_the_rival(
    tmp_path: Path, sign: int, verdict: str
) -> None:
    gain = found("beyond_forecast", 2.0 * sign, *sorted((1.0 * sign, 3.0 * sign)))
    here = results(
        tmp_path,
        forecast__which=[{"measure": "texts, points", "rule": "any, at random"} | gain],
        forecast__shares=[{"rule": "clean margin"} | gain],
    )
    assert {CLAIMS[number].rule(here).verdict for number in ("F3", "F4")} == {verdict}


def test_endings_and_repairs_are_told_from_their_intervals(tmp_path: Path) -> None:
    shares = [
        {"groups": "within", "what": "ending"} | found("value", 0.9, 0.8, 1.0),
        {"groups": "within", "what": "prompt"} | found("value", 0.1, 0.0, 0.2),
    ]
    between = [dict(row, groups="between") for row in shares]
    unknown = [dict(row, value=None) for row in between]  # where endings fit no other prompt
    turned = [dict(row, what=what) for row, what in zip(between, ("prompt", "ending"), strict=True)]
    better = [{"what": name} | found("value", 2.0, 1.0, 3.0) for name in GATES]
    one_worse = [*better[:3], {"what": GATES[3]} | found("value", -2.0, -3.0, -1.0)]
    here = results(
        tmp_path,
        wrong_way__organism__crossed=shares + unknown,
        wrong_way__gemma3__crossed=shares + turned,
        wrong_way__organism__texts=better,
        wrong_way__gemma3__texts=one_worse,
    )
    for number, there in (("F5", OTHER_WAY), ("F6", OTHER_WAY)):
        public: Any = CLAIMS[number].public
        assert CLAIMS[number].rule(here).verdict == OBSERVED
        assert public.rule(here, "gemma3").verdict == there
