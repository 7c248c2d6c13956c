"""The claims of the three papers, in our words, each with the rules that settle it."""

from analyses.claims.alqr_claims import ALQR_CLAIMS
from analyses.claims.claim import Claim
from analyses.claims.evidence import ahead, in_most, not_run, untested
from analyses.claims.public import bent_fields, contrasted, nowhere_run, out_of_reach
from analyses.claims.rules import (
    against_caa,
    compared,
    curved,
    nonlinear,
    one_step,
    stable_halves,
)

_SADI, _ODE, _BASELINE = "SADI", "ODESteer", "baseline"
_OTHERS = ("CAA", "ITI", "RepE", "LinearAcT", "MiMiC")
_SIGNS = (
    "On the embedded model the choice of elements is not what fails: scaling amplifies what is "
    "there, which has the desired sign in about half of the cases."
)
_TRUE_ANYWAY = "true of any gradient ascent in flow time: a unit test, not a finding about text"
_LARGE = "needs such models and their judges"

SADI_CLAIMS = (
    Claim(
        "S1",
        _SADI,
        "scaling the chosen elements steers better than scaling as many random ones",
        "sadi",
        ahead("sadi/ways", "mask", ["random mask"], column="way"),
        why=_SIGNS,
    ),
    Claim(
        "S2",
        _SADI,
        "scaling the input's own activation steers better than adding a fixed vector there",
        "sadi",
        ahead("sadi/ways", "mask", ["fixed vector"], column="way"),
        contrasted("SADI", ["SADI's fixed vector"]),
        _SIGNS,
    ),
    Claim(
        "S3",
        _SADI,
        "elements of largest mean difference carry the behaviour: ablating them hurts more",
        "sadi",
        in_most(
            "sadi/summary",
            "ablation_beyond_random",
            "margin lost beyond random elements",
            "cases",
        ),
    ),
    Claim(
        "S4",
        _SADI,
        "scaling heads steers better than scaling neurons or hidden dimensions",
        "sadi",
        ahead("sadi/ways", "head", ["neuron", "mlp_out"], column="kind", only="way == 'mask'"),
    ),
    Claim("S5", _SADI, "150 pairs suffice to choose elements", "sadi", stable_halves),
    Claim(
        "S6",
        _SADI,
        "SADI steers better than CAA and ITI at equal cost",
        "method_comparison",
        compared("SADI", ["CAA", "ITI"]),
        contrasted("SADI", ["CAA"], beyond=["ITI"]),
        "What SADI may try there does not flatter it: on the embedded model heads and outputs of "
        "the MLP, no neurons.",
    ),
    Claim(
        "S7",
        _SADI,
        "it improves zero-shot accuracy on eleven benchmarks, across languages",
        "",
        untested("the model knows one small language and no benchmark"),
        nowhere_run(
            "no analysis runs the eleven; tasks by likelihood are "
            "[registered](registration.md#secondary-answers-by-likelihood) apart from this page"
        ),
    ),
)

ODE_CLAIMS = (
    Claim(
        "O1",
        _ODE,
        "many steps steer better than one along the same barrier",
        "odesteer",
        one_step,
        why="Where the field is nearly a line, many steps end close to where one does.",
    ),
    Claim(
        "O2",
        _ODE,
        "a nonlinear barrier steers better than a linear one",
        "odesteer",
        nonlinear,
        why="Telling apart is not steering: on the embedded model a line tells five of six "
        "behaviours apart as well. Why the nonlinear barrier steers less well was not looked for.",
    ),
    Claim(
        "O3",
        _ODE,
        "many steps along a nonlinear barrier steer better than one along a linear probe",
        "",
        not_run("O1 and O2 change one of the two at a time"),
        contrasted("ODESteer", ["one-step linear probe"]),
    ),
    Claim(
        "O4",
        _ODE,
        "the field of the barrier is not a line",
        "odesteer",
        curved,
        bent_fields(),
        "On the embedded model it bends in early blocks, most where no line tells the classes "
        "apart well (polarity).",
    ),
    Claim(
        "O5",
        _ODE,
        "it steers better than CAA at equal cost, paired",
        "odesteer",
        against_caa,
        contrasted("ODESteer", ["CAA"]),
    ),
    Claim(
        "O6",
        _ODE,
        "it steers better than CAA, ITI, RepE, Linear-AcT and MiMiC at equal cost",
        "method_comparison",
        compared("ODESteer", _OTHERS),
        contrasted("ODESteer", ["CAA"], beyond=_OTHERS[1:]),
    ),
    Claim(
        "O7",
        _ODE,
        "activations that are inside stay inside (forward invariance)",
        "",
        untested(_TRUE_ANYWAY),
        out_of_reach(_TRUE_ANYWAY),
    ),
    Claim(
        "O8",
        _ODE,
        "it makes answers of 7 billion parameters truer, more helpful, less toxic",
        "",
        untested(_LARGE),
        out_of_reach(_LARGE),
    ),
)

CLAIMS = (*SADI_CLAIMS, *ALQR_CLAIMS, *ODE_CLAIMS)

# Claims of none of the three papers: how the methods that theirs are compared with do beside CAA.
BASELINES = tuple(
    Claim(
        number,
        _BASELINE,
        f"{method} steers better than CAA at equal cost",
        "method_comparison",
        compared(method, ["CAA"]),
        contrasted(method, ["CAA"]),
    )
    for number, method in (("B1", "LinearAcT"), ("B2", "ITI"))
)
