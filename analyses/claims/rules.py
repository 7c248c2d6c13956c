"""The rules that settle one claim each, from one table."""

from collections.abc import Sequence
from typing import Any

from analyses.claims.evidence import (
    NOT_OBSERVED,
    OBSERVED,
    OTHER_WAY,
    Evidence,
    Results,
    Rule,
    above,
    ahead,
    as_text,
    in_most,
    most,
    over_behaviours,
)
from analyses.text_kinds.fields import LINE

_BUDGET = "at_0.1"  # the share where 0.1 nats per token are realised on test


def stable_halves(results: Results) -> Evidence:
    """Overlap of the masks of disjoint halves of 100 pairs."""
    table = results.table("sadi/summary")
    overlap = over_behaviours(table.groupby("behaviour")["overlap_of_halves"].mean())
    beyond = as_text(overlap, "of 1", 1, 2)
    text = f"overlap of masks from two sets of 50 pairs beyond chance: {beyond}"
    return Evidence(text, 1, above(overlap, 0.5))


def beyond_the_identity(column: str, what: str) -> Rule:
    """Whether a Jacobian predicts a block's update better than nothing does."""
    return in_most("linearity/layers", column, what, "cells (behaviour, layer)")


def contraction(results: Results) -> Evidence:
    """Norms of the loops from the first to the last state."""
    table = results.table("lqr/loops")
    last = table[table["layer"] == table["layer"].max()].groupby("loop")["norm"]
    low, high = last.min(), last.max()
    text = "; ".join(f"{loop}: {low[loop]:.2f} to {high[loop]:.2f}" for loop in low.index)
    contracts = high["A - w v'"] < 1  # a norm above 1 does not say that every state grows
    return Evidence(f"|Phi(6, 1)| of {text}", 1, OBSERVED if contracts else NOT_OBSERVED)


def bound(results: Results) -> Evidence:
    """How often errors lie within the calibrated bound for 90 % of texts."""
    table = results.table("lqr/bounds")
    rows = table[(table["law"] == "centred") & (table["bound"] == "a priori")]
    coverage = over_behaviours(rows.groupby("behaviour_set")["coverage"].mean())
    text = f"texts within the bound for 90 %: {as_text(coverage, '%', 100)}, over behaviours"
    if coverage.low <= 0.9 <= coverage.high:
        return Evidence(text, 1, OBSERVED)
    return Evidence(text, 1, OTHER_WAY if coverage.high < 0.9 else NOT_OBSERVED)


def positions(results: Results) -> Evidence:
    """What reaches the last token through other positions, as a share of the effect."""
    share: Any = results.table("lqr/positions")["share"].abs().dropna()
    text = (
        f"part of the effect that comes through other positions: at most {100 * share.max():.0f} %"
    )
    return Evidence(text, 1, OBSERVED if share.max() < 0.1 else NOT_OBSERVED)


def dial(results: Results) -> Evidence:
    """Does more lambda mean more of the behaviour, from 0 to 1?"""
    table = results.table("lqr/lambda")
    rows = table[(table["law"] == "published") & ~table["behaviour_set"].str.contains("polarity")]
    shares = rows.pivot_table(index="behaviour_set", columns="lambda", values="share")
    gain = over_behaviours(shares[1.0] - shares[0.0])
    text = f"share at lambda 1 less at lambda 0: {as_text(gain, 'points', 100)}, over behaviours"
    return Evidence(text, 1, above(gain))


def compared(method: str, others: Sequence[str]) -> Rule:
    """A rule: one method ahead of others in the comparison of all methods."""
    name = "method_comparison/by_model"
    return ahead(name, method, others, by="behaviour_name", share=_BUDGET)


def one_step(results: Results) -> Evidence:
    """ODESteer less one rotation, paired."""
    table = results.table("odesteer/differences")
    return _of_differences(table, "one step")


def nonlinear(results: Results) -> Evidence:
    """ODESteer less the flow along a linear probe, paired."""
    return _of_differences(results.table("odesteer/differences"), "linear probe")


def against_caa(results: Results) -> Evidence:
    """ODESteer less CAA, paired."""
    return _of_differences(results.table("odesteer/differences"), "CAA")


def _of_differences(table: Any, other: str) -> Evidence:
    rows = table[table["other"] == other]
    change = over_behaviours(rows["change"])
    above_0, below_0 = int((rows["change_low"] > 0).sum()), int((rows["change_high"] < 0).sum())
    text = (
        f"less {other}: {as_text(change, 'points', 100)} over {len(rows)} behaviours; "
        f"interval above 0 in {above_0} of them, below 0 in {below_0}"
    )
    return Evidence(text, 1, above(change))


def curved(results: Results) -> Evidence:
    """How much of the field is not its linear part."""
    table = results.table("odesteer/fields")
    bent = int((table["cos_linear_high"] < LINE).sum())
    straight = int((table["cos_linear_low"] > LINE).sum())
    text = (
        f"cosine of the field to its linear part {table['cos_linear'].min():.2f} to "
        f"{table['cos_linear'].max():.2f}, interval below {LINE} in {bent} of {len(table)} cells, "
        f"above in {straight}"
    )
    return Evidence(text, 1, most(bent, straight, len(table)))
