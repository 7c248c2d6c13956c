"""The claims of the three papers, in our words, each with the rule that settles it here."""

from dataclasses import dataclass

from analyses.claims.evidence import Rule, ahead, in_most, untested
from analyses.claims.rules import (
    against_caa,
    beyond_the_identity,
    bound,
    compared,
    contraction,
    curved,
    dial,
    nonlinear,
    one_step,
    positions,
    stable_halves,
)

SADI, ALQR, ODE = "SADI", "A-LQR", "ODESteer"
_NO_POLARITY = "~behaviour_set.str.contains('polarity')"  # no difference of means steers it
_OTHERS = ("CAA", "ITI", "RepE", "LinearAcT", "MiMiC")


@dataclass(frozen=True)
class Claim:
    """One claim: a row of the page.

    Attributes:
        paper: The paper that makes it.
        says: The claim, in our words.
        rule: What settles it here.
        command: What makes the table that the rule reads; empty if no table can settle it.
    """

    paper: str
    says: str
    rule: Rule
    command: str


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
            "sadi/summary",
            "ablation_beyond_random",
            "margin lost beyond random elements",
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
        compared("SADI", ["CAA", "ITI"]),
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
        compared("LQR", ["CAA", "RepE", "MeanAcT"]),
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
        compared("ODESteer", _OTHERS),
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
