"""What this toolkit adds, held to the same page: forecasts, and single prompts gone wrong."""

from collections.abc import Callable
from math import isnan
from typing import Any

from analyses.claims.claim import Claim
from analyses.claims.evidence import (
    NOT_OBSERVED,
    OBSERVED,
    OTHER_WAY,
    UNTESTED,
    Evidence,
    Results,
    Rule,
    above,
    as_text,
)
from analyses.claims.public import Public
from lens_steer.intervals import Interval

_OURS = "lens_steer"
_AT = 0.1  # nats per token
_MOST_LOST, _MOST_FOR_SURE = 2.0, 4.0  # points, fixed before any forecast was judged
_ONE = "organism"
_MARGINS = (
    "Margins are of given endings, texts are written freely: where a behaviour has few words "
    "of its own, the two part."
)


def _interval(row: Any, column: str) -> Interval:
    return Interval(*(float(row[f"{column}{end}"]) for end in ("", "_low", "_high")))


def _row(table: Any, **where: Any) -> Any:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    [(_, row)] = table.iterrows()
    return row


def _of_single_prompts(results: Results, model: str) -> Evidence:
    """Slopes of single pairs against their changes, CAA at several layers."""
    table = results.table(f"wrong_way/{model}/counted")
    row = _row(table, what="rank correlation of slope and change")
    found = _interval(row, "value")
    text = f"rank correlation of slope and change at .1 nats: {as_text(found, '', digits=2)}"
    text += ", CAA before the last block"
    return Evidence(f"{text}, over {int(row['cells'])} cells", 1, above(found))


def _of_many_methods(results: Results) -> Evidence:
    row = _row(results.table("forecast/prompts"), nats=_AT, what="forecast")
    found = _interval(row, "value")
    text = f"rank correlation of slope and change at .1 nats: {as_text(found, '', digits=2)}"
    return Evidence(f"{text}, of 25 methods, over {int(row['cells'])} cells", 1, above(found))


def _at_the_layer(results: Results) -> Evidence:
    rows = results.table("forecast/where")
    row = _row(rows, measure="texts, points", rule="forecast")
    lost = _interval(row, "regret")
    met = lost.mean <= _MOST_LOST and lost.high <= _MOST_FOR_SURE
    text = (
        f"the layer foretold loses {as_text(lost, 'points')} to the best on dev, where at most "
        f"{_MOST_LOST:.0f} and surely at most {_MOST_FOR_SURE:.0f} were asked for"
    )
    return Evidence(text, 1, OBSERVED if met else NOT_OBSERVED)


def _of_kinds(results: Results) -> Evidence:
    rows = results.table("forecast/which")
    row = _row(rows, measure="texts, points", rule="any, at random")
    gain = _interval(row, "beyond_forecast")
    text = f"the method foretold less one at random: {as_text(gain, 'points')} of texts"
    return Evidence(text, 1, above(gain))


def _of_shares(results: Results) -> Evidence:
    rows = results.table("forecast/shares")
    row = _row(rows, rule="clean margin")
    gain = _interval(row, "beyond_forecast")
    text = f"Brier score of the unsteered margin less the forecast's: {as_text(gain, '', digits=3)}"
    return Evidence(text, 1, above(gain))


def _of_endings(results: Results, model: str) -> Evidence:
    """Of unlike prompts: among like ones the prompt has little to say by design."""
    table = results.table(f"wrong_way/{model}/crossed")
    shares = {
        where: [_interval(_row(table, groups=where, what=w), "value") for w in ("ending", "prompt")]
        for where in ("within", "between")
    }
    text = "; ".join(
        f"of the variance of slopes over {prompts} the ending has "
        f"{as_text(shares[where][0], '', digits=2)}, the prompt "
        f"{as_text(shares[where][1], '', digits=2)}"
        for where, prompts in (("within", "like prompts"), ("between", "unlike prompts"))
        if not isnan(shares[where][0].mean)
    )
    ending, prompt = shares["between"]
    if isnan(ending.mean):
        return Evidence(f"{text}; endings fit no other prompts", 1, UNTESTED)
    other = OTHER_WAY if prompt.low > ending.high else NOT_OBSERVED
    return Evidence(text, 1, OBSERVED if ending.low > prompt.high else other)


def _of_repair(name: str) -> Callable[[Results, str], Evidence]:
    def rule(results: Results, model: str) -> Evidence:
        table = results.table(f"wrong_way/{model}/texts")
        found = _interval(_row(table, what=f"{name} less plain"), "value")
        text = f"texts, less plain steering: {as_text(found, 'points', digits=1)}"
        if found.low == found.high == 0:
            return Evidence(f"{text}: it changed nothing", 1, UNTESTED)
        return Evidence(text, 1, above(found))

    return rule


def _embedded(rule: Callable[[Results, str], Evidence]) -> Rule:
    return lambda results: rule(results, _ONE)


def _public(rule: Callable[[Results, str], Evidence]) -> Public:
    return Public("wrong_way", rule, "paths.png", " --layers 3 --folds 1 --tasks LIST")


OUR_CLAIMS = (
    Claim(
        "F1",
        _OURS,
        "derivatives at strength 0 say which single pairs steering moves most",
        "forecast",
        _of_many_methods,
        _public(_of_single_prompts),
    ),
    Claim("F2", _OURS, "they find the layer of CAA, to 2 points", "forecast", _at_the_layer),
    Claim(
        "F3",
        _OURS,
        "they say which kind of method changes texts most",
        "forecast",
        _of_kinds,
        why=_MARGINS,
    ),
    Claim(
        "F4",
        _OURS,
        "they say how many texts will show the behaviour",
        "forecast",
        _of_shares,
        why=_MARGINS,
    ),
    Claim(
        "F5",
        _OURS,
        "the slope of a pair goes with its ending more than with its prompt",
        "wrong_way",
        _embedded(_of_endings),
        _public(_of_endings),
    ),
    *(
        Claim(
            number,
            _OURS,
            f"{what}, {told}, makes more texts show the behaviour",
            "wrong_way",
            _embedded(_of_repair(name)),
            _public(_of_repair(name)),
            _MARGINS,
        )
        for number, what, told, name in (
            ("F6", "a sign for each prompt", "the slope known", "sign, known"),
            ("F7", "steering only prompts of positive slope", "known", "gate, known"),
            ("F8", "a sign for each prompt", "guessed from its activation", "sign, guessed"),
            ("F9", "steering only prompts of positive slope", "guessed", "gate, guessed"),
        )
    ),
)
