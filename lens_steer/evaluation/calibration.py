"""The strength at which a method costs, or does, a stated amount."""

from collections.abc import Sequence
from dataclasses import replace
from math import copysign
from typing import Any

import numpy as np
from typing_extensions import Unpack

from lens_steer.arguments import Number, Positive
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.crossing import CalibrationReport, Measure, find_crossing
from lens_steer.evaluation.evaluating import check_pairs, check_scorable, evaluate_each
from lens_steer.evaluation.fixed_texts import FixedTexts
from lens_steer.evaluation.judges import Judge
from lens_steer.evaluation.local_nats import LocalNats, NotLocal
from lens_steer.models import SteerableModel
from lens_steer.steering import (
    AnyIntervention,
    Decoding,
    DecodingOptions,
    Intervention,
    decoding_of_call,
)

# Strengths to try, as multiples of the method's own; 0 is no steering.
MULTIPLES = (0.0, 0.06, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
_FORETOLD = (0.6, 1.2)  # of the strength that local nats foretell: what is tried first
_FURTHER = 1.4  # times the largest strength tried: where the target is not yet met
_MORE = "more strength is needed than foretold"
_FOLLOWS = 2.0  # times more or less than local nats foretell: the curve follows them up to this
SAMPLED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 2.8, 4.0)  # for behaviour, where texts are sampled


def calibrate(  # noqa: PLR0913 - three targets, and how texts are sampled
    model: SteerableModel,
    method: AnyIntervention,
    pairs: ContrastivePairs,
    *,
    kl: Positive | None = None,
    relative_norm: Number | None = None,
    behaviour: Number | None = None,
    judge: Judge | None = None,
    strengths: Sequence[float | int] | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> AnyIntervention:
    """The method at the strength where it costs, or does, what is asked; `report` has the curve.

    A cost in nats is looked for where `LocalNats` foretell it. Where a method has none, its curve
    does not follow them, or the target is another one, a grid of strengths is looked at first, all
    in one batch. Between the strengths around the first crossing it is then refined; where the
    curve does not reach the target, nothing is returned. Report what the method costs on other
    prompts.

    Args:
        pairs: Their prompts; a development set.
        kl: Nats per token along fixed unsteered texts: `kl_fixed`.
        relative_norm: |edit| / |residual stream|, see `EditSizes`.
        behaviour: Share that shows it, as `evaluate` scores it; the curve is straight between
            strengths tried.
        strengths: To look at first. None: what local nats foretell; or, as `report.scanned_because`
            then says, up to 8 times that or the method's own (4 for behaviour); at most the largest
            that does more than smaller ones, `method.max_useful_strength`.
        decoding: How texts are written, and what the compared distributions are sampled with; or
            the same as keywords. The seed is 0 if none is given.
        options: As `evaluate`.

    Raises:
        OutOfReach: If the target is not reached; the message has the range that is, and the
            strengths that break the model, its logits being NaN or infinite.
        ValueError: If not exactly one target is given, or as `evaluate`.
        TypeError: If a keyword is unknown.

    Example:
        >>> fair = ls.calibrate(model, method, dev, kl=0.1, max_new_tokens=20, seed=0)
        >>> fair.strength, fair.report.table()
    """
    decoding = decoding_of_call(calibrate, decoding, options, seed=0)
    targets = {"kl": kl, "relative_norm": relative_norm, "behaviour": behaviour}
    quantity, target = _one_of(targets)
    check_applicable(method, pairs, model)
    if quantity != "behaviour":
        texts = FixedTexts.sample(model, pairs, decoding=decoding)
        quantities: dict[str, Any] = {quantity: target}
        return calibrate_along(
            model, method, texts, **quantities, strengths=strengths, progress=progress
        )
    grid = _grid(method, strengths, SAMPLED)
    check_scorable(pairs, judge)

    def shares(tried: Sequence[float]) -> list[float]:
        trials = evaluate_each(
            model,
            pairs,
            [method.with_strength(strength) for strength in tried],
            judge=judge,
            decoding=decoding,
            progress=progress,
        )
        return [trial.share for trial in trials]

    report = find_crossing(shares, quantity, target, grid, refine=False)
    return replace(method.with_strength(report.strength), report=report)


def calibrate_along(
    model: SteerableModel,
    method: AnyIntervention,
    texts: FixedTexts,
    *,
    kl: Positive | None = None,
    relative_norm: Number | None = None,
    strengths: Sequence[float | int] | None = None,
    progress: bool = True,
) -> AnyIntervention:
    """What `calibrate` gives for a cost, along texts that many methods share.

    Args:
        texts: Unsteered texts, and where methods steer.
        kl: As `calibrate`.
        relative_norm: As `calibrate`.
        strengths: As `calibrate`.

    Raises:
        OutOfReach: As `calibrate`.
        ValueError: If not exactly one target is given, or a method does not fit the model.

    Example:
        >>> texts = ls.evaluation.FixedTexts.sample(model, dev, seed=0)
        >>> fair = [ls.evaluation.calibrate_along(model, m, texts, kl=0.1) for m in methods]
    """
    quantity, target = _one_of({"kl": kl, "relative_norm": relative_norm})
    method.checked_edits(model)

    def costs(tried: Sequence[float]) -> list[float]:
        methods = [(method.with_strength(strength),) for strength in tried]
        if quantity == "relative_norm":
            return [sizes.relative_norm for sizes in texts.sizes(model, methods)]
        return texts.kl(model, methods, progress=progress)

    if strengths is None and quantity == "kl":
        report = _from_local_nats(model, method, texts, target, costs)
    else:
        grid = _grid(method, strengths, MULTIPLES)
        report = find_crossing(costs, quantity, target, grid, refine=True)
    return replace(method.with_strength(report.strength), report=report)


def _from_local_nats(
    model: SteerableModel, method: Intervention, texts: FixedTexts, target: float, costs: Measure
) -> CalibrationReport:
    """Where the cost is `target`: mostly around the strength that local nats foretell.

    A curve that is another one than theirs may have met the target before: it is scanned.
    """
    try:
        local = LocalNats.along(model, method, texts)
    except NotLocal as error:
        grid, because = _grid(method, None, MULTIPLES), str(error)
        return find_crossing(costs, "kl", target, grid, refine=True, scanned_because=because)
    predicted = local.strength_at(target)
    furthest = min(MULTIPLES[-1] * abs(predicted), method.max_useful_strength)
    end = min(_FORETOLD[1] * abs(predicted), method.max_useful_strength)
    tried = [copysign(s, predicted) for s in sorted({min(_FORETOLD[0] * abs(predicted), end), end})]
    values = dict(zip(tried, costs(tried), strict=True))
    because = _not_foretold(values, local, target)
    while because == _MORE and abs(further := _FURTHER * max(values, key=abs)) <= furthest:
        values |= {further: costs([further])[0]}  # the curve flattens, and is followed still
        because = _not_foretold(values, local, target)
    known = {0.0: 0.0} | dict(zip(local.strengths, local.kl, strict=True)) | values
    grid: list[float] = []
    if because:
        grid = _grid(method.with_strength(predicted), None, MULTIPLES)
        untried = [strength for strength in grid if strength not in known]
        known |= dict(zip(untried, costs(untried), strict=True))
        if not any(value >= target for value in known.values()):  # further out in its own unit
            grid = _grid(method, None, MULTIPLES)
    return find_crossing(
        costs,
        "kl",
        target,
        grid,
        refine=True,
        known=known,
        predicted=predicted,
        scanned_because=because,
    )


def _not_foretold(values: dict[float, float], local: LocalNats, target: float) -> str:
    """What differs from the costs foretold around that strength; empty if nothing does.

    A curve that is flatter than foretold and has met the target has not met it before.
    """
    for strength, kl in values.items():
        foretold = local.kl_at(strength)
        least = min(foretold / _FOLLOWS, target)
        if not least <= kl <= foretold * _FOLLOWS:
            return (
                f"{kl:.3g} nats per token at strength {strength:.3g}, where local nats foretell "
                f"{foretold:.3g}"
            )
    return "" if max(values.values()) >= target else _MORE


def check_applicable(method: Intervention, pairs: ContrastivePairs, model: SteerableModel) -> None:
    """Raise a ValueError, before any text is sampled, for pairs or a method that cannot be used."""
    check_pairs(pairs)
    method.checked_edits(model)


def _one_of(targets: dict[str, float | int | None]) -> tuple[str, float]:
    chosen = {name: float(value) for name, value in targets.items() if value is not None}
    if len(chosen) != 1:
        raise ValueError(f"got the targets {chosen}, expected exactly one of {', '.join(targets)}")
    [(name, value)] = chosen.items()
    high = 1.0 if name == "behaviour" else np.inf
    if not (0 < value < np.inf and value <= high):
        raise ValueError(f"{name} {value:g}: expected a positive number, at most {high:g}")
    return name, value


def _grid(
    method: Intervention,
    strengths: Sequence[float | int] | None,
    multiples: Sequence[float | int],
) -> list[float]:
    if strengths is None:
        unit = float(method.strength) or 1.0
        end = min(abs(unit) * max(multiples), method.max_useful_strength)
        strengths = [unit * m for m in multiples if abs(unit * m) < end] + [copysign(end, unit)]
    tried = [float(strength) for strength in strengths]
    if len(tried) < 2 or not bool(np.isfinite(tried).all()):
        raise ValueError(f"got the strengths {tried}, expected two finite ones or more")
    if min(tried) < 0 < max(tried):
        raise ValueError(
            f"got the strengths {tried} on both sides of 0: calibrate a method and its opposite "
            "one after the other"
        )
    return sorted(tried, key=abs)
