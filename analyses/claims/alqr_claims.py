"""The claims of A-LQR, in our words, each with the rules that settle it."""

from analyses.claims.claim import Claim
from analyses.claims.evidence import ahead, not_run, untested
from analyses.claims.public import contrasted, from_another_kind, kind_by_kind, out_of_reach
from analyses.claims.rules import (
    beyond_the_identity,
    bound,
    compared,
    contraction,
    dial,
    positions,
)

_ALQR = "A-LQR"
_NO_POLARITY = "~behaviour_set.str.contains('polarity')"  # no difference of means steers it
_SKILL = "skill over the identity"
_ONLY_01_AND_1 = not_run("its table has the skill at .1 and at 1 |z| alone")
_STRANGE = untested("the texts of this study are mostly unknown words to it")
_UNIT = (
    "The unit decides on Gemma: .3 |z| is there about twice the push that is to cost .1 nats per "
    "token, on SmolLM2 about as large as that push."
)
_LOST = (
    "Much is lost all the same: the text's own Jacobian knows several times as much of what a "
    "block does."
)
_NO_GAIN_BY_JACOBIANS = (
    "On the embedded model the Jacobians buy nothing: P control with the regulator's gain for "
    "A = I steers as well."
)
_EITHER_CLASS = (
    "On the embedded model the mean over texts of one class fits that class and not the other; its "
    "blocks act alike on texts that end alike."
)

ALQR_CLAIMS = (
    Claim(
        "L1",
        _ALQR,
        "blocks are locally linear: a text's own Jacobian predicts a block's update at .1 |z|",
        "linearity",
        beyond_the_identity("skill_own_0.1", _SKILL),
        kind_by_kind("own", 0.1, "|z|"),
    ),
    Claim(
        "L2",
        _ALQR,
        "a text's own Jacobian predicts a block's update at .3 |z|",
        "linearity",
        _ONLY_01_AND_1,
        kind_by_kind("own", 0.3, "|z|"),
        _UNIT,
    ),
    Claim(
        "L3",
        _ALQR,
        "a text's own Jacobian predicts a block's update at |z|, the size of steering that works",
        "linearity",
        beyond_the_identity("skill_own_1", _SKILL),
        kind_by_kind("own", 1.0, "|z|"),
        "|z| is several times the push that is to cost .1 nats per token, on either public model.",
    ),
    Claim(
        "L4",
        _ALQR,
        "a text's own Jacobian predicts a block's update at .3 s, where s costs .1 nats",
        "",
        _STRANGE,
        kind_by_kind("own", 0.3, "nats"),
        "s is one length for all texts, and what it really costs is within a factor of two of .1 "
        "nats in more than half of the blocks: it is off most in early ones.",
    ),
    Claim(
        "L5",
        _ALQR,
        "Jacobians are alike across prompts: one class's mean predicts the other class at .1 |z|",
        "linearity",
        beyond_the_identity("skill_mean_0.1_undesired", f"{_SKILL}, desired to undesired texts"),
        kind_by_kind("other class", 0.1, "|z|"),
        _EITHER_CLASS,
    ),
    Claim(
        "L6",
        _ALQR,
        "one class's mean predicts the other class at .3 |z|",
        "linearity",
        _ONLY_01_AND_1,
        kind_by_kind("other class", 0.3, "|z|"),
        _UNIT,
    ),
    Claim(
        "L7",
        _ALQR,
        "one class's mean predicts the other class at .3 s",
        "",
        _STRANGE,
        kind_by_kind("other class", 0.3, "nats"),
        _LOST,
    ),
    Claim(
        "L8",
        _ALQR,
        "one kind of text's mean predicts another kind at .3 |z|",
        "",
        _STRANGE,
        from_another_kind(0.3, "|z|"),
        _UNIT,
    ),
    Claim(
        "L9",
        _ALQR,
        "one kind of text's mean predicts another kind at .3 s",
        "",
        _STRANGE,
        from_another_kind(0.3, "nats"),
        "Kinds of text differ: a kind's own mean mostly predicts better than another's.",
    ),
    Claim(
        "L10",
        _ALQR,
        "the regulator steers better than P control, PID and a fixed vector at equal cost",
        "lqr",
        ahead("lqr/matched", "published", ["scalar gain", "PID", "CAA"], only=_NO_POLARITY),
        contrasted("LQR", ["scalar gain", "CAA"], beyond=["PID"]),
        _NO_GAIN_BY_JACOBIANS,
    ),
    Claim(
        "L11",
        _ALQR,
        "the regulator steers better than P control at equal cost",
        "lqr",
        ahead("lqr/matched", "published", ["scalar gain"], only=_NO_POLARITY),
        contrasted("LQR", ["scalar gain"]),
        _NO_GAIN_BY_JACOBIANS,
    ),
    Claim(
        "L12",
        _ALQR,
        "it steers better than a fixed vector, over models",
        "method_comparison",
        compared("LQR", ["CAA", "RepE", "MeanAcT"]),
        contrasted("LQR", ["CAA"]),
    ),
    Claim("L13", _ALQR, "the closed loop contracts", "lqr", contraction),
    Claim(
        "L14",
        _ALQR,
        "errors of the feature stay within a bound, here one calibrated on other texts",
        "lqr",
        bound,
    ),
    Claim(
        "L15",
        _ALQR,
        "last-token Jacobians suffice where every position is steered",
        "lqr",
        positions,
    ),
    Claim("L16", _ALQR, "the set-point is a dial of the behaviour", "lqr", dial),
    Claim(
        "L17",
        _ALQR,
        "it holds on models of 1 to 70 billion parameters",
        "",
        untested("needs such models; see below for how to run it on one"),
        out_of_reach("needs such models; see below for how to run it on one"),
    ),
)
