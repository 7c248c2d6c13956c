"""Rules that settle one claim each, from one table."""

from collections.abc import Sequence
from typing import Any

from analyses.claims.evidence import (
    NOT_OBSERVED,
    OBSERVED,
    Evidence,
    Results,
    Rule,
    above,
    ahead,
    in_most,
    over_behaviours,
    shown,
)

_BUDGET = "at_0.1"  # the share where 0.1 nats per token are realised on test


def stable_halves(results: Results) -> Evidence:
    """Masks of disjoint halves of 100 pairs."""
    table = results.table("sadi/summary")
    by_behaviour = table.groupby("behaviour")["overlap_of_halves"].mean()
    found = over_behaviours(by_behaviour)
    text = f"overlap of masks from two sets of 50 pairs beyond chance: {shown(found, 'of 1', 1, 2)}"
    return Evidence(text, 1, OBSERVED if found.low > 0.5 else NOT_OBSERVED)


def beyond_the_identity(column: str, what: str) -> Rule:
    """Whether a Jacobian predicts a block's update better than nothing does."""
    return in_most("linearity/layers", column, what, "cells (behaviour, layer)")


def contraction(results: Results) -> Evidence:
    """Norms of the loops from the first to the last state."""
    table = results.table("lqr/loops")
    last = table[table["layer"] == table["layer"].max()].groupby("loop")["norm"]
    low, high = last.min(), last.max()
    text = "; ".join(f"{loop}: {low[loop]:.2f} to {high[loop]:.2f}" for loop in low.index)
    held = high["A - w v'"] < 1
    return Evidence(f"|Phi(6, 1)| of {text}", 1, OBSERVED if held else NOT_OBSERVED)


def bound(results: Results) -> Evidence:
    """How often errors lie within the calibrated bound, asked for 90 %."""
    table = results.table("lqr/bounds")
    own = table[(table["law"] == "centred") & (table["bound"] == "a priori")]
    found = over_behaviours(own.groupby("behaviour_set")["coverage"].mean())
    text = f"texts within the bound for 90 %: {shown(found, '%', 100)}, over behaviours"
    return Evidence(text, 1, OBSERVED if found.low <= 0.9 <= found.high else NOT_OBSERVED)


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
    own = table[(table["law"] == "published") & ~table["behaviour_set"].str.contains("polarity")]
    shares = own.pivot_table(index="behaviour_set", columns="lambda", values="share")
    found = over_behaviours(shares[1.0] - shares[0.0])
    text = f"share at lambda 1 less at lambda 0: {shown(found, 'points', 100)}, over behaviours"
    return Evidence(text, 1, above(found))


def compared(method: str, others: Sequence[str]) -> Rule:
    """In the comparison of all methods."""
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
    own = table[table["other"] == other]
    found = over_behaviours(own["change"])
    ahead, behind = int((own["change_low"] > 0).sum()), int((own["change_high"] < 0).sum())
    text = (
        f"less {other}: {shown(found, 'points', 100)} over {len(own)} behaviours; "
        f"interval above 0 in {ahead} of them, below 0 in {behind}"
    )
    return Evidence(text, 1, above(found))


def curved(results: Results) -> Evidence:
    """How much of the field is not its linear part."""
    table = results.table("odesteer/fields")
    bent = table[table["cos_linear_high"] < 0.95]
    text = (
        f"cosine of the field to its linear part {table['cos_linear'].min():.2f} to "
        f"{table['cos_linear'].max():.2f}, interval below .95 in {len(bent)} of {len(table)} cells"
    )
    return Evidence(text, 1, OBSERVED if len(bent) > len(table) / 2 else NOT_OBSERVED)
