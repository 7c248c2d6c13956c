"""Choosing on dev: of each method family the setting that does most at one cost."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from tqdm.auto import tqdm

from lens_steer.arguments import Positive
from lens_steer.benchmark.config import ComparisonConfig
from lens_steer.benchmark.fit_cache import FitCache, Hyperparameters
from lens_steer.benchmark.kept_methods import Fits, kept_fits
from lens_steer.benchmark.method_family import MethodFamily
from lens_steer.benchmark.settings import Behaviour, CompareSettings
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge, OutOfReach, calibrate, evaluate_each
from lens_steer.reports import short_repr
from lens_steer.steering import Decoding, Intervention

Echo = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The methods that were chosen on dev, by the name of their family.

    Attributes:
        fits: One or several fits of each method; the first is made from all training pairs.
        settings: The setting of each method, its strength included.
        missing: Why a family has no method.
    """

    fits: dict[str, tuple[Intervention, ...]]
    settings: dict[str, Hyperparameters]
    missing: dict[str, str]

    __repr__ = short_repr

    @property
    def methods(self) -> dict[str, Intervention]:
        """The first fit of each method."""
        return {name: fits[0] for name, fits in self.fits.items()}


def calibrated_best(
    family: MethodFamily,
    cache: FitCache,
    dev: ContrastivePairs,
    judge: Judge | None,
    *,
    kl: Positive,
    config: ComparisonConfig,
) -> Hyperparameters:
    """The setting of a family's grid that does most on dev, each calibrated to the same cost.

    Args:
        kl: Nats per token, see `calibrate`.

    Raises:
        OutOfReach: If no setting reaches the cost.
        ValueError: As `calibrate`.

    Example:
        >>> cache = ls.benchmark.FitCache(model, train)
        >>> config = ls.benchmark.ComparisonConfig()
        >>> family = ls.benchmark.FAMILIES["CAA"]
        >>> setting = ls.benchmark.calibrated_best(family, cache, dev, None, kl=0.1, config=config)
        >>> method = family.make(cache, setting)
    """
    decoding = config.decoding
    calibrated: list[Intervention] = []
    settings: list[Hyperparameters] = []
    reason = ""
    for setting in tqdm(family.grid(cache), desc=f"calibrate {family.name}"):
        method = family.make(cache, setting)
        try:
            method = calibrate(cache.model, method, dev, kl=kl, progress=False, decoding=decoding)
        except OutOfReach as error:
            reason = str(error)
            continue
        calibrated.append(method)
        settings.append(setting | {"strength": method.strength})
    if not calibrated:
        raise OutOfReach(f"{family.name} cannot be calibrated on {dev!r}: {reason}")
    if len(settings) == 1:  # nothing to choose from
        return settings[0]
    evaluations = evaluate_each(cache.model, dev, calibrated, judge=judge, decoding=decoding)
    usable = [i for i, evaluation in enumerate(evaluations) if not evaluation.failure]
    if not usable:
        raise OutOfReach(f"{family.name} cannot be used on {dev!r}: {evaluations[0].failure}")
    return settings[max(usable, key=lambda i: evaluations[i].share)]


def stored(model: str, pairs: str, method: str, config: ComparisonConfig) -> Hyperparameters | None:
    """A setting that is kept in the package, as `python -m analyses.calibrated` chose it on dev.

    Returns:
        The setting; None for other models than the organism, for pairs and methods without one, and
        for another split or other texts than those it was chosen on.

    Example:
        >>> config = ls.benchmark.ComparisonConfig(temperature=0.7, max_new_tokens=110)
        >>> ls.benchmark.stored("organism", "organism:sentiment", "CAA", config)
    """
    place = files("lens_steer.benchmark").joinpath("calibrated.json")
    kept = json.loads(place.read_text(encoding="utf-8"))
    same = Decoding(**kept["terms"]) == config.decoding
    return kept["settings"].get(pairs, {}).get(method) if same and model == "organism" else None


def choose_all(
    families: Iterable[MethodFamily],
    cache: FitCache,
    dev: ContrastivePairs,
    judge: Judge | None,
    *,
    kl: Positive,
    config: ComparisonConfig,
    settings: Mapping[str, Hyperparameters] | None = None,
    echo: Echo | None = None,
) -> Chosen:
    """The best method of each family on dev at one cost.

    Args:
        kl: Nats per token, see `calibrate`.
        settings: Settings, by the name of a family, that were chosen before and are used as they
            are.
        echo: Gets a line for each family that is left out.

    Raises:
        OutOfReach: If no family reaches the cost.
        ValueError: As `calibrated_best`.

    Example:
        >>> chosen = ls.benchmark.choose_all(
        ...     ls.benchmark.families(), ls.benchmark.FitCache(model, train), dev, None,
        ...     kl=0.1, config=ls.benchmark.ComparisonConfig(),
        ... )
        >>> ls.compare(model, test, chosen.methods)
    """
    chosen_before = settings or {}

    def choose(family: MethodFamily) -> tuple[Fits, Hyperparameters]:
        setting = chosen_before.get(family.name)
        if setting is None:
            setting = calibrated_best(family, cache, dev, judge, kl=kl, config=config)
        return [family.make(cache, setting)], setting

    return _choose_each(families, choose, dev.name, kl, echo=echo)


def choose_and_keep(
    families: Iterable[MethodFamily],
    behaviour: Behaviour,
    settings: CompareSettings,
    *,
    skip: type[ValueError] = OutOfReach,
    echo: Echo | None = None,
) -> Chosen:
    """`choose_all` with several fits of each method, kept in the folder `methods` of the run.

    Methods that are kept already are used again where they were made on the same settings, pairs,
    weights and versions.

    Args:
        skip: The errors that leave a family out; all others end the run.
        echo: Gets a line for each family that is chosen or left out.

    Raises:
        OutOfReach: If no family has a method.
        ValueError: If a method is kept that was made on something else (what differs is named), or
            is damaged.
    """

    def choose(family: MethodFamily) -> tuple[Fits, Hyperparameters]:
        fits, setting = kept_fits(
            family,
            behaviour,
            settings,
            lambda: calibrated_best(
                family,
                behaviour.cache,
                behaviour.dev,
                behaviour.judge,
                kl=settings.kl,
                config=settings.config,
            ),
        )
        if echo is not None:
            echo(f"chosen   {behaviour.name}: {fits[0]!r}")
        return fits, setting

    return _choose_each(families, choose, behaviour.name, settings.kl, skip=skip, echo=echo)


def _choose_each(
    families: Iterable[MethodFamily],
    choose: Callable[[MethodFamily], tuple[Fits, Hyperparameters]],
    behaviour_name: str,
    kl: float,
    *,
    skip: type[ValueError] = OutOfReach,
    echo: Echo | None = None,
) -> Chosen:
    chosen = Chosen({}, {}, {})
    for family in families:
        try:
            fits, setting = choose(family)
        except skip as error:
            chosen.missing[family.name] = " ".join(str(error).split())
            if echo is not None:
                echo(f"left out {behaviour_name}: {chosen.missing[family.name]}")
            continue
        chosen.fits[family.name], chosen.settings[family.name] = tuple(fits), setting
    if not chosen.fits:
        raise OutOfReach(f"no method costs {kl} nats per token on {behaviour_name}")
    return chosen
