"""What the tables of the two public models say of a claim, in the words that were registered."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.claims.evidence import (
    EQUIVALENT,
    NOT_OBSERVED,
    NOT_RUN,
    OBSERVED,
    OTHER_WAY,
    UNDECIDED,
    UNTESTED,
    VERDICTS,
    Evidence,
    Results,
    most,
    weakest,
)
from analyses.registered.command import LEAST_TASKS
from analyses.text_kinds.fields import LINE

MODELS = {"smollm2": "SmolLM2", "gemma3": "Gemma"}  # by the names of folders in a study's results
_KINDS = ("prose", "chat", "code")
_REGISTERED = 0.3  # the share of either length whose verdicts were registered
_LEAST_P = 0.001  # that is written as a number
_LENGTHS = {"|z|": "|z|", "nats": "s"}


@dataclass(frozen=True)
class Public:
    """What settles a claim on a public model.

    Attributes:
        study: The analysis whose tables are read.
        rule: From the tables and a model's folder to what they say of the claim.
        figure: The picture in a model's folder that shows it.
        options: What the command takes besides the model.
    """

    study: str
    rule: Callable[[Results, str], Evidence]
    figure: str = ""
    options: str = ""


def kind_by_kind(what: str, share: float, length: str) -> Public:
    """A predictor of a block's change, on each kind of text: observed if on all three.

    Args:
        what: The predictor, as `text_kinds` names it.
        share: The size of the push, in parts of the length: .1, .3 or 1.
        length: "|z|", the stream's own, or "nats", what costs .1 local nats.
    """
    return _of_blocks([(kind, what) for kind in _KINDS], share, length, "{kind}")


def from_another_kind(share: float, length: str) -> Public:
    """The mean Jacobian of another kind of text: observed if in all six pairs of kinds.

    Args:
        share: As for `kind_by_kind`.
        length: As for `kind_by_kind`.
    """
    pairs = [(kind, other) for kind in _KINDS for other in _KINDS if other != kind]
    return _of_blocks(pairs, share, length, "{what}'s mean on {kind}")


def bent_fields() -> Public:
    """Is a barrier's field bent, its cosine to its linear part below .95, on each kind of text?"""

    def rule(results: Results, model: str) -> Evidence:
        table = results.table(f"text_kinds/{model}/field_summary")
        rows = table[table["what"] == "linearity"].to_dict("records")
        if len(rows) < len(_KINDS):
            return _unfinished(row["kind"] for row in rows)
        # The table counts for "the field is a line"; the claim is that it is none.
        found = [most(row["below"], row["above"], row["cells"]) for row in rows]
        parts = [
            f"{row['kind']} {row['least']:.3f} to {row['most']:.3f}, interval above {LINE} in "
            f"{row['above']} of {row['cells']} blocks, below in {row['below']}"
            for row in rows
        ]
        text = f"cosine of the field to its linear part: {'; '.join(parts)}"
        return Evidence(text, 1, _of_all(found))

    return Public("text_kinds", rule)


def contrasted(method: str, others: Sequence[str], beyond: Sequence[str] = ()) -> Public:
    """Registered contrasts of one method: the claim has the weakest verdict of them.

    Args:
        method: The method that the claim puts first.
        others: The methods that it is compared with in a registered contrast.
        beyond: Methods of the claim that are in no contrast with it: it cannot be observed.
    """

    def rule(results: Results, model: str) -> Evidence:
        folder = f"registered/{model}"
        if _too_few_tasks(results, folder):
            return Evidence("fewer than two tasks entered: no contrast", 1, UNTESTED)
        table = results.table(f"{folder}/contrasts")
        table = table[table["method"] == method].set_index("less")
        rows = [table.loc[other].to_dict() | {"less": other} for other in others]
        found = [_known(row["verdict"]) for row in rows]
        missing = [f"{' and '.join(beyond)}: in no contrast"] if beyond else []
        text = "; ".join([*map(_contrast_text, rows), *missing])
        return Evidence(text, 1, weakest([*found, *[NOT_RUN] * len(missing)]))

    return Public("registered", rule, "contrasts.png", " --data DIR")


def out_of_reach(why: str) -> Public:
    """A claim that these models cannot tell about."""
    return _always(Evidence(why, 0, UNTESTED))


def nowhere_run(why: str) -> Public:
    """A claim that no analysis here is about, though one could be."""
    return _always(Evidence(why, 0, NOT_RUN))


def on_both(verdicts: Sequence[str]) -> str:
    """What the verdicts on the two public models say together; empty where one is missing.

    Args:
        verdicts: One for each of `MODELS`, in their order.
    """
    both = set(verdicts)
    if both == {UNTESTED}:
        return "cannot be tested on either"
    if both & {UNTESTED, NOT_RUN}:
        return ""
    if both in ({OBSERVED}, {EQUIVALENT}, {UNDECIDED}):
        return f"{verdicts[0]} on both"
    if both == {OTHER_WAY}:
        return "the other way round on both"
    if OBSERVED in both:
        return f"observed on {[*MODELS.values()][verdicts.index(OBSERVED)]} alone"
    return "not observed on either" if both <= {NOT_OBSERVED, OTHER_WAY} else "observed on neither"


def _always(found: Evidence) -> Public:
    def rule(results: Results, model: str) -> Evidence:
        del results, model
        return found

    return Public("", rule)


def _of_blocks(cells: Sequence[tuple[str, str]], share: float, length: str, named: str) -> Public:
    """A rule over cells, each a kind of text and a predictor, which are called as `named` says."""
    names = {(kind, what): named.format(kind=kind, what=what) for kind, what in cells}

    def rule(results: Results, model: str) -> Evidence:
        table = results.table(f"text_kinds/{model}/summary")
        table = table[(table["unit"] == length) & np.isclose(table["fraction"], share)]
        rows = table.set_index(["kind", "what"]).to_dict("index")
        if not all(cell in rows for cell in names):
            return _unfinished(dict.fromkeys(kind for kind, _ in rows))
        found, parts = {}, []
        for cell, name in names.items():
            above, below, blocks = (int(rows[cell][key]) for key in ("above", "below", "cells"))
            found[name] = most(above, below, blocks)
            skill = f"{rows[cell]['median']:+.2f}"
            parts.append(f"{name} {above} of {blocks}, below {below} (median {skill})")
        text = (
            f"push of {share:g} {_LENGTHS[length]}, blocks whose interval of the skill over the "
            f"identity lies above 0: {'; '.join(parts)}"
        )
        text += "".join(_exceptions(found))
        if share != _REGISTERED:
            text += ". Described: no verdict was registered for this size"
        return Evidence(text, 1, _of_all(list(found.values())))

    return Public("text_kinds", rule, "kinds.png" if len(cells) > len(_KINDS) else "skill.png")


def _exceptions(found: dict[str, str]) -> Iterator[str]:
    """Where it was not observed, if that is not everywhere alike."""
    if len(set(found.values())) > 1:
        for verdict in (NOT_OBSERVED, OTHER_WAY):
            names = [name for name, each in found.items() if each == verdict]
            if names:
                yield f". {verdict.capitalize()}: {', '.join(names)}"


def _of_all(found: Sequence[str]) -> str:
    """The verdict on a claim about every kind of text: one word of all, or not observed."""
    return found[0] if len(set(found)) == 1 else NOT_OBSERVED


def _unfinished(kinds: Any) -> Evidence:
    return Evidence(f"so far only {', '.join(kinds) or 'nothing'}", 1, NOT_RUN)


def _too_few_tasks(results: Results, folder: str) -> bool:
    """Whether a run has ended with too few tasks for a contrast; its gates are written then."""
    try:
        gates = results.table(f"{folder}/gates")
    except FileNotFoundError:
        return False
    return gates.loc[gates["enters"].astype(bool), "task"].nunique() < LEAST_TASKS


def _known(verdict: str) -> str:
    if verdict not in VERDICTS:
        raise ValueError(
            f"verdict {verdict!r} in a table of contrasts: expected one of {', '.join(VERDICTS)}"
        )
    return verdict


def _contrast_text(row: dict[str, Any]) -> str:
    ends = ("difference", "difference_low", "difference_high")
    p = f"{row['p_holm']:.3f}" if row["p_holm"] >= _LEAST_P else f"below {_LEAST_P}"
    mean, low, high = (f"{100 * row[name]:+.1f}" for name in ends)
    return (
        f"less {row['less']}: {mean} points [{low}, {high}] over {row['tasks']} "
        f"tasks, p {p} after Holm, margin {100 * row['margin']:.1f} points, CAA "
        f"gains {100 * row['caa_gain']:+.1f}: {row['verdict']}"
    )
