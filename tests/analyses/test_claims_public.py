"""The rules that settle claims on the public models, on planted tables."""

from pathlib import Path

import pytest

from analyses.claims.evidence import (
    EQUIVALENT,
    NOT_OBSERVED,
    NOT_RUN,
    OBSERVED,
    OTHER_WAY,
    UNDECIDED,
    UNTESTED,
)
from analyses.claims.public import (
    bent_fields,
    contrasted,
    from_another_kind,
    kind_by_kind,
    on_both,
)
from analyses.registered.contrasts import verdict as registered_verdict
from tests.analyses.planted_results import KINDS, block_counts, contrast_row, gates, results


@pytest.mark.parametrize(
    ("prose", "chat", "code", "verdict"),
    [
        (6, 10, 9, OBSERVED),
        (5, 10, 9, NOT_OBSERVED),
        (4, 10, 9, NOT_OBSERVED),
        (0, 4, 3, OTHER_WAY),
    ],
)
def test_a_claim_is_observed_where_it_is_on_every_kind_of_text(
    tmp_path: Path, prose: int, chat: int, code: int, verdict: str
) -> None:
    counts = dict(zip([(kind, "own") for kind in KINDS], (prose, chat, code), strict=True))
    rows = block_counts(counts, 0.3, "nats") + block_counts(counts, 0.1, "nats")
    found = results(tmp_path, text_kinds__m__summary=rows)
    own = kind_by_kind("own", 0.3, "nats").rule(found, "m")
    assert own.verdict == verdict
    assert (
        f"prose {prose} of 10, below {10 - prose} (median {0.1 * prose - 0.5:+.2f})" in own.measured
    )
    assert "push of 0.3 s" in own.measured


def test_kinds_where_it_was_not_observed_are_named(tmp_path: Path) -> None:
    counts = {("prose", "own"): 5, ("chat", "own"): 9, ("code", "own"): 1}
    found = results(tmp_path, text_kinds__m__summary=block_counts(counts, 0.3, "|z|"))
    text = kind_by_kind("own", 0.3, "|z|").rule(found, "m").measured
    assert text.endswith("Not observed: prose. Not observed: the other way round: code")
    assert "push of 0.3 |z|" in text


@pytest.mark.parametrize(("share", "described"), [(0.1, True), (0.3, False), (1.0, True)])
def test_sizes_without_a_registered_verdict_are_described(
    tmp_path: Path, share: float, described: bool
) -> None:
    counts = {(kind, "own"): 9 for kind in KINDS}
    found = results(tmp_path, text_kinds__m__summary=block_counts(counts, share, "|z|"))
    text = kind_by_kind("own", share, "|z|").rule(found, "m").measured
    assert ("Described: no verdict was registered" in text) is described


def test_another_kind_is_each_of_six_pairs(tmp_path: Path) -> None:
    counts = {(kind, other): 2 if kind == other else 8 for kind in KINDS for other in KINDS}
    rows = block_counts(counts, 0.3, "nats")
    found = from_another_kind(0.3, "nats").rule(results(tmp_path, text_kinds__m__summary=rows), "m")
    assert found.verdict == OBSERVED
    assert "prose's mean on prose" not in found.measured
    rows = block_counts(counts | {("chat", "code"): 1}, 0.3, "nats")
    found = from_another_kind(0.3, "nats").rule(results(tmp_path, text_kinds__m__summary=rows), "m")
    assert found.verdict == NOT_OBSERVED
    assert found.measured.endswith("Not observed: the other way round: code's mean on chat")


def test_of_two_kinds_nothing_is_concluded_yet(tmp_path: Path) -> None:
    rows = block_counts({("prose", "own"): 9, ("chat", "own"): 9}, 0.3, "nats")
    found = kind_by_kind("own", 0.3, "nats").rule(
        results(tmp_path, text_kinds__m__summary=rows), "m"
    )
    assert (found.verdict, found.measured) == (NOT_RUN, "so far only prose, chat")


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [((10, 10, 9), OTHER_WAY), ((0, 2, 1), OBSERVED), ((10, 2, 10), NOT_OBSERVED)],
)
def test_what_the_table_counts_for_a_line_counts_against_the_claim(
    tmp_path: Path, lines: tuple[int, int, int], verdict: str
) -> None:
    rows = [
        {"kind": kind, "what": what, "cells": 10, "above": above, "below": 10 - above}
        | {"least": 0.9, "most": 0.999}
        for kind, line in zip(KINDS, lines, strict=True)
        for what, above in (("linearity", line), ("mean_linearity", 5))
    ]
    found = bent_fields().rule(results(tmp_path, text_kinds__m__field_summary=rows), "m")
    assert found.verdict == verdict
    assert f"code 0.900 to 0.999, interval above 0.95 in {lines[2]} of 10 blocks" in found.measured
    few = bent_fields().rule(results(tmp_path, text_kinds__m__field_summary=rows[:2]), "m")
    assert few.verdict == NOT_RUN


@pytest.mark.parametrize("verdict", [OBSERVED, OTHER_WAY, EQUIVALENT, NOT_OBSERVED, UNDECIDED])
def test_a_contrast_keeps_its_registered_verdict(tmp_path: Path, verdict: str) -> None:
    rows = [contrast_row("SADI", "CAA", verdict), contrast_row("LQR", "CAA", OBSERVED)]
    found = contrasted("SADI", ["CAA"]).rule(results(tmp_path, registered__m__contrasts=rows), "m")
    assert found.verdict == verdict
    assert found.measured == (
        "less CAA: +5.0 points [-1.2, +11.3] over 6 tasks, p 0.250 after Holm, margin 3.0 points, "
        f"CAA gains +20.0: {verdict}"
    )


@pytest.mark.parametrize(
    ("difference", "low", "high", "p"),
    [(0.1, 0.05, 0.15, 0.01), (-0.1, -0.2, -0.05, 0.01), (0, -0.01, 0.01, 1), (0, -0.1, 0.1, 1)],
)
def test_words_that_contrasts_are_given_are_words_of_the_page(
    tmp_path: Path, difference: float, low: float, high: float, p: float
) -> None:
    row = contrast_row("LQR", "CAA", "")
    row |= {"difference": difference, "difference_low": low, "difference_high": high, "p_holm": p}
    row["verdict"] = registered_verdict(row)
    found = results(tmp_path, registered__m__contrasts=[row])
    assert contrasted("LQR", ["CAA"]).rule(found, "m").verdict == row["verdict"]


@pytest.mark.parametrize(
    ("first", "second", "joint"),
    [
        (OBSERVED, OBSERVED, OBSERVED),
        (OBSERVED, UNDECIDED, UNDECIDED),
        (EQUIVALENT, UNDECIDED, EQUIVALENT),
        (OTHER_WAY, OBSERVED, OTHER_WAY),
    ],
)
def test_two_contrasts_are_as_good_as_the_weaker(
    tmp_path: Path, first: str, second: str, joint: str
) -> None:
    rows = [contrast_row("LQR", "CAA", first), contrast_row("LQR", "scalar gain", second)]
    found = results(tmp_path, registered__m__contrasts=rows)
    both = contrasted("LQR", ["scalar gain", "CAA"]).rule(found, "m")
    assert both.verdict == joint
    assert both.measured.startswith("less scalar gain: ")
    assert f": {first}" in both.measured


@pytest.mark.parametrize(("caa", "joint"), [(OBSERVED, NOT_RUN), (UNDECIDED, UNDECIDED)])
def test_what_no_contrast_compares_cannot_be_observed(tmp_path: Path, caa: str, joint: str) -> None:
    found = results(tmp_path, registered__m__contrasts=[contrast_row("SADI", "CAA", caa)])
    both = contrasted("SADI", ["CAA"], beyond=["ITI", "RepE"]).rule(found, "m")
    assert both.verdict == joint
    assert both.measured.endswith("ITI and RepE: in no contrast")


def test_with_fewer_than_two_tasks_there_is_nothing_to_contrast(tmp_path: Path) -> None:
    rule = contrasted("SADI", ["CAA"]).rule
    one = results(tmp_path, registered__m__gates=gates([True, False, False]))
    assert rule(one, "m").verdict == UNTESTED
    two = results(tmp_path, registered__m__gates=gates([True, False, True]))
    with pytest.raises(FileNotFoundError, match="contrasts"):
        rule(two, "m")


def test_a_verdict_in_other_words_is_refused(tmp_path: Path) -> None:
    found = results(tmp_path, registered__m__contrasts=[contrast_row("SADI", "CAA", "maybe")])
    with pytest.raises(ValueError, match=r"'maybe'.*expected one of observed"):
        contrasted("SADI", ["CAA"]).rule(found, "m")


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (OBSERVED, OBSERVED, "observed on both"),
        (OBSERVED, NOT_OBSERVED, "observed on SmolLM2 alone"),
        (OTHER_WAY, OBSERVED, "observed on Gemma alone"),
        (UNDECIDED, OBSERVED, "observed on Gemma alone"),
        (NOT_OBSERVED, OTHER_WAY, "not observed on either"),
        (NOT_OBSERVED, NOT_OBSERVED, "not observed on either"),
        (OTHER_WAY, OTHER_WAY, "the other way round on both"),
        (EQUIVALENT, EQUIVALENT, "equivalent on both"),
        (UNDECIDED, UNDECIDED, "undecided on both"),
        (EQUIVALENT, UNDECIDED, "observed on neither"),
        (OBSERVED, NOT_RUN, ""),
        (OBSERVED, UNTESTED, ""),
        (NOT_RUN, NOT_RUN, ""),
        (UNTESTED, UNTESTED, "cannot be tested on either"),
    ],
)
def test_both_models_are_said_to_agree_only_where_they_do(
    first: str, second: str, both: str
) -> None:
    assert on_both((first, second)) == both
