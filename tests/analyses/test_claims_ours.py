"""What is claimed of this toolkit's own forecasts: every rule on planted tables, both ways."""

from pathlib import Path
from typing import Any

import pytest

from analyses.claims.evidence import NOT_OBSERVED, OBSERVED, OTHER_WAY, UNTESTED
from analyses.claims.our_claims import OUR_CLAIMS
from tests.analyses.planted_results import results

CLAIMS = {claim.number: claim for claim in OUR_CLAIMS}
REPAIRS = [f"{kind}, {how} less plain" for how in ("known", "guessed") for kind in ("sign", "gate")]


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


def shares(where: str, ending: float, prompt: float) -> list[dict[str, Any]]:
    return [
        {"groups": where, "what": what} | found("value", x, x - 0.1, x + 0.1)
        for what, x in (("ending", ending), ("prompt", prompt))
    ]


def test_endings_decide_only_over_unlike_prompts(tmp_path: Path) -> None:
    unknown = [
        {"groups": "between", "what": what} | dict.fromkeys(("value", "value_low", "value_high"))
        for what in ("ending", "prompt")
    ]
    within = shares("within", 0.9, 0.0)
    here = results(
        tmp_path,
        wrong_way__organism__crossed=within + unknown,
        wrong_way__smollm2__crossed=within + shares("between", 0.9, 0.1),
        wrong_way__gemma3__crossed=within + shares("between", 0.1, 0.9),
    )
    claim: Any = CLAIMS["F5"]
    assert claim.rule(here).verdict == UNTESTED
    assert claim.public.rule(here, "smollm2").verdict == OBSERVED
    assert claim.public.rule(here, "gemma3").verdict == OTHER_WAY


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((1.0, 3.0), OBSERVED), ((-1.0, 3.0), NOT_OBSERVED), ((0.0, 0.0), UNTESTED)],
)
def test_each_repair_has_its_own_verdict(
    tmp_path: Path, ends: tuple[float, float], verdict: str
) -> None:
    rows = [{"what": name} | found("value", -2.0, -3.0, -1.0) for name in REPAIRS]
    rows[2] |= found("value", sum(ends) / 2, *ends)
    here = results(tmp_path, wrong_way__organism__texts=rows)
    told = [CLAIMS[number].rule(here).verdict for number in ("F6", "F7", "F8", "F9")]
    assert told == [OTHER_WAY, OTHER_WAY, verdict, OTHER_WAY]
