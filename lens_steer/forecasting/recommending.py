"""The function `recommend`: candidates are forecast, the best few tried, and one is taken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import Unpack

from lens_steer.arguments import Positive, Text
from lens_steer.benchmark import FitCache, Hyperparameters, MethodFamily, families, thinned
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, Judge, OutOfReach, calibrate_along, evaluate_each
from lens_steer.forecasting.forecasting import check_fine, forecast_along
from lens_steer.forecasting.pair_margins import margins
from lens_steer.forecasting.recommendation import NotSteerable, Recommendation
from lens_steer.forecasting.report import Forecast, joined
from lens_steer.models import SteerableModel
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call

METHODS = "CAA,LinearAcT,ITI,SADI,ODESteer"
_PAIRS = 32  # that candidates are forecast on, at most, and as many that the best are tried on
_COST_PROMPTS = 8
_TRIED = 4  # candidates at a time
_SHARE = 0.6  # of the time, for forecasts
_ROUNDS = (3, 6, 12)  # settings of each family, at most: one alone may be a poor one


def recommend(  # noqa: PLR0913 - what may be tried, and for how long
    model: SteerableModel,
    pairs: ContrastivePairs,
    *,
    nats: Positive = 0.1,
    minutes: Positive = 5.0,
    methods: Text = METHODS,
    judge: Judge | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Recommendation:
    """Which method to steer with, where and how hard, or the reason why none will do.

    Half of the pairs are fitted to (whole groups). Settings of the families are forecast on a
    quarter, by `forecast`, as many as there is time for. The best of every family, at most four in
    all, are brought to the cost asked for and tried on the last quarter, then the next ones in the
    order of their forecasts while there is time; the largest measured gain is taken. As the largest
    of several it is flattered: report what the method does on other prompts. Give a judge if you
    can, whose texts are written after the prompts of both quarters: margins of given continuations
    rank layers of one method well and methods of different kinds badly (`python -m
    analyses.forecast`). Give pairs in many groups: what is tried is told from nothing by intervals
    over them. How right it was: `python -m analyses.recommendations`.

    Args:
        model: The model, in float32 or float64.
        pairs: Paired examples, in groups if prompts are alike; 40 pairs or more.
        nats: What steering may cost, nats per token.
        minutes: About how long it may take. With little time fewer settings are forecast, at least
            three of each family, and fewer tried, at least the best of each.
        methods: Families by name, separated by commas, or `all`; see `ls.benchmark.families`.
        judge: If given, the methods that are tried write texts, and the largest share that shows
            the behaviour is taken.
        progress: Whether to show a bar.
        decoding: How texts are written, and where methods steer; or the same as keywords. The seed
            is 0 if none is given.
        options: As `generate`.

    Raises:
        NotSteerable: If nothing that was tried surely moves the margin at that cost; it has the
            forecast, and says what was found.
        ValueError: As `forecast`, if there is no family of a name, or if none can be fitted. One
            that cannot is named in the forecast's `left_out`.
        TypeError: If a keyword is unknown.

    Example:
        >>> found = ls.recommend(model, pairs, nats=0.1)
        >>> print(found.reason)
        >>> ls.generate(model, prompts, found.method, seed=0)
    """
    decoding = decoding_of_call(recommend, decoding, options, seed=0)
    check_fine(model)
    kinds = families(methods)
    begun = perf_counter()
    forecast_until, end = begun + 60 * minutes * _SHARE, begun + 60 * minutes
    fit, choose, check = pairs.split(0.5, 0.25, 0.25, seed=int(decoding.seed or 0))
    choose, check = choose.spread(_PAIRS), check.spread(_PAIRS)
    cache = FitCache(model, fit)
    texts = FixedTexts.sample(model, choose.spread(_COST_PROMPTS), decoding=decoding)
    made, found = _forecasts(cache, choose, kinds, forecast_until, texts, progress=progress)
    written = _together(choose, check)
    trials = _Trials.none()
    with tqdm(total=len(found.names), desc="tried", disable=not progress) as bar:
        for names in _in_turn(found, nats):
            last = perf_counter()
            some, why = _calibrated(model, made, names, texts, nats)
            measured = margins(model, check, list(some.values()), scope=decoding.steered_scope)
            shown = None
            if judge is not None:
                shown = _shown(model, written, list(some.values()), judge, decoding)
            trials = trials.and_then(some, why, measured, shown)
            bar.update(len(names))
            if 2 * perf_counter() - last > end:  # the next would take as long
                break
    if not trials.methods:
        reasons = "; ".join(f"{name}: {why}" for name, why in trials.refused.items())
        raise NotSteerable(f"nothing can be made to cost {nats:g} nats per token: {reasons}", found)
    return Recommendation.of(
        found, nats, trials.methods, trials.margins, check.groups, trials.shown
    )


@dataclass(frozen=True, eq=False)
class _Trials:
    """What has been tried so far.

    Attributes:
        methods: At the cost, by name.
        refused: Why others cannot be brought to it.
        margins: Of the unsteered model first, then of each method; nats.
        shown: The same of texts and the prompts' groups; None without a judge.
    """

    methods: dict[str, Intervention]
    refused: dict[str, str]
    margins: Float[Tensor, "setting pair"]
    shown: tuple[Float[Tensor, "setting prompt"], Sequence[str]] | None

    @classmethod
    def none(cls) -> "_Trials":
        """Before the first."""
        return cls({}, {}, torch.zeros(0, 0), None)

    def and_then(
        self,
        methods: Mapping[str, Intervention],
        refused: Mapping[str, str],
        margins: Float[Tensor, "setting pair"],
        shown: tuple[Float[Tensor, "setting prompt"], Sequence[str]] | None,
    ) -> "_Trials":
        """These with more, whose tables begin with the same unsteered row."""
        if len(self.margins):
            margins = torch.cat([self.margins, margins[1:]])
        if self.shown is not None and shown is not None:
            shown = (torch.cat([self.shown[0], shown[0][1:]]), shown[1])
        return _Trials({**self.methods, **methods}, {**self.refused, **refused}, margins, shown)


def _together(first: ContrastivePairs, second: ContrastivePairs) -> ContrastivePairs:
    desired, undesired = (first.desired, second.desired), (first.undesired, second.undesired)
    return ContrastivePairs(sum(desired, ()), sum(undesired, ()), name=first.name)


def _forecasts(  # noqa: PLR0913 - what is forecast, and until when
    cache: FitCache,
    pairs: ContrastivePairs,
    kinds: Sequence[MethodFamily],
    until: float,
    texts: FixedTexts,
    *,
    progress: bool,
) -> tuple[dict[str, Intervention], Forecast]:
    """Candidates and their forecast: rounds of more settings, while there is time for the next."""
    made: dict[str, Intervention] = {}
    forecasts: list[Forecast] = []
    per_method = 0.0
    left_out: dict[str, str] = {}
    for n in _ROUNDS:
        new = {k: kind for k, kind in _settings(cache, kinds, n, left_out).items() if k not in made}
        begun = perf_counter()
        if not new or (forecasts and begun + per_method * len(new) > until):
            break
        methods = {}
        for name, (kind, setting) in new.items():
            try:
                methods[name] = kind.make(cache, setting)
            except ValueError as error:
                left_out[name] = str(error)
        if methods:
            found = forecast_along(cache.model, pairs, methods, texts, progress=progress)
            made |= methods
            forecasts.append(found)
        per_method = (perf_counter() - begun) / len(new)
    if not forecasts:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise ValueError(f"no method can be fitted to these pairs: {reasons}")
    found = joined(forecasts)
    return made, replace(found, left_out=found.left_out | left_out)


def _settings(
    cache: FitCache, kinds: Sequence[MethodFamily], n: int, left_out: dict[str, str]
) -> dict[str, tuple[MethodFamily, Hyperparameters]]:
    """At most n settings of every family, by names that say what they are.

    A family whose settings cannot be found for these pairs is noted in `left_out`.
    """
    found = {}
    for kind in kinds:
        try:
            settings = thinned(kind, n).grid(cache)
        except ValueError as error:
            left_out[kind.name] = str(error)
            continue
        for setting in settings:
            name = ", ".join([kind.name, *(f"{knob} {value}" for knob, value in setting.items())])
            found[name] = (kind, setting)
    return found


def _in_turn(found: Forecast, nats: float | int) -> Iterator[list[str]]:
    """What is tried together: the best of every family, then the others, the best first."""
    order = sorted(found.names, key=lambda name: -float(found.gains(name, nats).mean()))
    best = {name.split(",")[0]: name for name in reversed(order)}
    first = sorted(best.values(), key=order.index)[:_TRIED]
    yield first
    rest = [name for name in order if name not in first]
    for i in range(0, len(rest), _TRIED):
        yield rest[i : i + _TRIED]


def _calibrated(
    model: SteerableModel,
    methods: Mapping[str, Intervention],
    names: Sequence[str],
    texts: FixedTexts,
    nats: float | int,
) -> tuple[dict[str, Intervention], dict[str, str]]:
    """Methods at the strength of a cost, and why others have none."""
    found, refused = {}, {}
    for name in names:
        try:
            found[name] = calibrate_along(model, methods[name], texts, kl=nats, progress=False)
        except OutOfReach as error:
            refused[name] = str(error)
    return found, refused


def _shown(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention],
    judge: Judge,
    decoding: Decoding,
) -> tuple[Float[Tensor, "setting prompt"], Sequence[str]]:
    """The behaviour of every prompt's text, unsteered first, and the prompts' groups."""
    trials = evaluate_each(model, pairs, [None, *methods], judge=judge, decoding=decoding)
    return torch.stack([trial.behaviour.double() for trial in trials]), trials[0].groups
