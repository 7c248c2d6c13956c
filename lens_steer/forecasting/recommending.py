"""The function `recommend`: candidates are forecast, the best few tried, and one is taken."""

from collections.abc import Mapping, Sequence
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor
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
_TRIED = 4  # candidates
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
    all, are brought to the cost asked for and tried on the last quarter; the largest measured gain
    is taken. As that is the largest of up to four, it is a little flattered: report what the method
    does on other prompts. Give a judge if you can: margins of given continuations rank layers of
    one method well and methods of different kinds badly (`python -m analyses.forecast`).

    Args:
        model: The model, in float32 or float64.
        pairs: Paired examples, in groups if prompts are alike; 40 pairs or more.
        nats: What steering may cost, nats per token.
        minutes: About how long it may take. With little time fewer settings are forecast, at least
            three of each family.
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
        ValueError: As `forecast`, or if there is no family of a name.
        TypeError: If a keyword is unknown.

    Example:
        >>> found = ls.recommend(model, pairs, nats=0.1)
        >>> print(found.reason)
        >>> ls.generate(model, prompts, found.method, seed=0)
    """
    decoding = decoding_of_call(recommend, decoding, options, seed=0)
    check_fine(model)
    seed = int(decoding.seed or 0)
    fit, choose, check = pairs.split(0.5, 0.25, 0.25, seed=seed)
    choose, check = choose.spread(_PAIRS), check.spread(_PAIRS)
    cache = FitCache(model, fit)
    until = perf_counter() + 60 * minutes * _SHARE
    texts = FixedTexts.sample(model, choose.spread(_COST_PROMPTS), decoding=decoding)
    made, found = _forecasts(cache, choose, families(methods), until, texts, progress=progress)
    tried, refused = _calibrated(model, made, _best_of_each(found, nats), texts, nats)
    if not tried:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise NotSteerable(f"nothing can be made to cost {nats:g} nats per token: {reasons}", found)
    measured = margins(model, check, list(tried.values()), scope=decoding.steered_scope)
    shown = None
    if judge is not None:
        shown = _shown(model, check, list(tried.values()), judge, decoding)
    return Recommendation.of(found, nats, tried, measured, check.groups, shown)


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
    for n in _ROUNDS:
        new = {k: kind for k, kind in _settings(cache, kinds, n).items() if k not in made}
        begun = perf_counter()
        if not new or (forecasts and begun + per_method * len(new) > until):
            break
        methods = {name: kind.make(cache, setting) for name, (kind, setting) in new.items()}
        found = forecast_along(cache.model, pairs, methods, texts, progress=progress)
        made |= methods
        forecasts.append(found)
        per_method = (perf_counter() - begun) / len(new)
    return made, joined(forecasts)


def _settings(
    cache: FitCache, kinds: Sequence[MethodFamily], n: int
) -> dict[str, tuple[MethodFamily, Hyperparameters]]:
    """At most n settings of every family, by names that say what they are."""
    return {
        ", ".join([kind.name, *(f"{knob} {value}" for knob, value in setting.items())]): (
            kind,
            setting,
        )
        for kind in kinds
        for setting in thinned(kind, n).grid(cache)
    }


def _best_of_each(found: Forecast, nats: float | int) -> list[str]:
    """The largest gain of every family, the largest first; at most `_TRIED`."""
    order = sorted(found.names, key=lambda name: -float(found.gains(name, nats).mean()))
    best = {name.split(",")[0]: name for name in reversed(order)}
    return sorted(best.values(), key=order.index)[:_TRIED]


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
