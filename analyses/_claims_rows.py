"""The claims of the three papers, in our words, each with the rule that settles it here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analyses._claims_evidence import (
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
    untested,
)

SADI, ALQR, ODE = "SADI", "A-LQR", "ODESteer"
_NO_POLARITY = "~behaviour_set.str.contains('polarity')"  # no difference of means steers it
_OTHERS = ("CAA", "ITI", "RepE", "LinearAcT", "MiMiC")
_BUDGET = "at_0.1"  # the share where 0.1 nats per token are realised on test


@dataclass(frozen=True)
class Claim:
    """One row.

    Attributes:
        paper: Whose.
        says: The claim, in our words.
        rule: What settles it.
        command: Makes the table that the rule reads.
    """

    paper: str
    says: str
    rule: Rule
    command: str


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


def _compared(method: str, others: Sequence[str]) -> Rule:
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


_LQR, _ODE, _SADI = (f"python -m analyses.{name}" for name in ("lqr", "odesteer", "sadi"))
_LINEAR, _ALL = "python -m analyses.linearity", "python -m analyses.method_comparison"

CLAIMS = (
    Claim(
        SADI,
        "scaling the chosen elements steers better than scaling as many random ones",
        ahead("sadi/ways", "mask", ["random mask"], column="way"),
        _SADI,
    ),
    Claim(
        SADI,
        "scaling the input's own activation steers better than adding a fixed vector there",
        ahead("sadi/ways", "mask", ["fixed vector"], column="way"),
        _SADI,
    ),
    Claim(
        SADI,
        "elements of largest mean difference carry the behaviour: ablating them hurts more",
        in_most(
            *("sadi/summary", "ablation_beyond_random", "margin lost beyond random elements"),
            "cases",
        ),
        _SADI,
    ),
    Claim(
        SADI,
        "scaling heads steers better than scaling neurons or hidden dimensions",
        ahead("sadi/ways", "head", ["neuron", "mlp_out"], column="kind", only="way == 'mask'"),
        _SADI,
    ),
    Claim(SADI, "150 pairs suffice to choose elements", stable_halves, _SADI),
    Claim(
        SADI,
        "SADI steers better than CAA and ITI at equal cost",
        _compared("SADI", ["CAA", "ITI"]),
        _ALL,
    ),
    Claim(
        SADI,
        "it improves zero-shot accuracy on eleven benchmarks, across languages",
        untested("the model knows one small language and no benchmark"),
        "",
    ),
    Claim(
        ALQR,
        "blocks are locally linear: a text's own Jacobian predicts a block's update at .1 |z|",
        beyond_the_identity("skill_own_0.1", "skill over the identity"),
        _LINEAR,
    ),
    Claim(
        ALQR,
        "still at |z|, the size of steering that works",
        beyond_the_identity("skill_own_1", "skill over the identity"),
        _LINEAR,
    ),
    Claim(
        ALQR,
        "Jacobians are alike across prompts: the desired texts' mean predicts undesired texts",
        beyond_the_identity("skill_mean_0.1_undesired", "skill over the identity"),
        _LINEAR,
    ),
    Claim(
        ALQR,
        "the regulator steers better than P control, PID and a fixed vector at equal cost",
        ahead("lqr/matched", "published", ["scalar gain", "PID", "CAA"], only=_NO_POLARITY),
        _LQR,
    ),
    Claim(
        ALQR,
        "it steers better than a fixed vector, over models",
        _compared("LQR", ["CAA", "RepE", "MeanAcT"]),
        _ALL,
    ),
    Claim(ALQR, "the closed loop contracts", contraction, _LQR),
    Claim(
        ALQR,
        "errors of the feature stay within a bound, here one calibrated on other texts",
        bound,
        _LQR,
    ),
    Claim(ALQR, "last-token Jacobians suffice where every position is steered", positions, _LQR),
    Claim(ALQR, "the set-point is a dial of the behaviour", dial, _LQR),
    Claim(
        ALQR,
        "it holds on models of 1 to 70 billion parameters",
        untested("needs such models; see below for how to run it on one"),
        "",
    ),
    Claim(ODE, "many steps steer better than one along the same barrier", one_step, _ODE),
    Claim(ODE, "a nonlinear barrier steers better than a linear one", nonlinear, _ODE),
    Claim(ODE, "the field of the barrier is not a line", curved, _ODE),
    Claim(ODE, "it steers better than CAA at equal cost, paired", against_caa, _ODE),
    Claim(
        ODE,
        "it steers better than CAA, ITI, RepE, Linear-AcT and MiMiC at equal cost",
        _compared("ODESteer", _OTHERS),
        _ALL,
    ),
    Claim(
        ODE,
        "activations that are inside stay inside (forward invariance)",
        untested("true of any gradient ascent in flow time: a unit test, not a finding about text"),
        "",
    ),
    Claim(
        ODE,
        "it makes answers of 7 billion parameters truer, more helpful, less toxic",
        untested("needs such models and their judges"),
        "",
    ),
)
