"""The methods there are, and the settings that are found or kept for them."""

import json
from importlib.resources import files

from tqdm.auto import tqdm

from lens_steer.benchmark.method_families.contender import FitCache, Hyperparameters, MethodFamily
from lens_steer.benchmark.method_families.elements import CAAContender, SADIContender
from lens_steer.benchmark.method_families.flows import ODESteerContender
from lens_steer.benchmark.method_families.regulators import LQRContender, TrackerContender
from lens_steer.benchmark.method_families.transport import (
    FishBackContender,
    LinearAcTContender,
    MeanAcTContender,
    MiMiCContender,
)
from lens_steer.benchmark.method_families.vectors import (
    AblationContender,
    AngularContender,
    ITIContender,
    RepEContender,
    ResidualITIContender,
)
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge, OutOfReach, calibrate, evaluate_each
from lens_steer.steering import Intervention

_KINDS = (
    *(CAAContender, SADIContender, LQRContender, TrackerContender, ODESteerContender),
    *(MeanAcTContender, LinearAcTContender, MiMiCContender, FishBackContender),
    *(RepEContender, ITIContender, ResidualITIContender, AblationContender, AngularContender),
)
FAMILIES: dict[str, MethodFamily] = {each.name: each() for each in _KINDS}
DEFAULT = ("CAA", "SADI", "LQR", "LQRTracker", "ODESteer")  # where no methods are named


def families(names: str | None = None) -> list[MethodFamily]:
    """Some by their names, separated by commas; `all` is every one, None those of `DEFAULT`.

    Raises:
        ValueError: If there is no such method; the message lists them.
    """
    named = {None: list(DEFAULT), "all": list(FAMILIES)}
    chosen = named[names] if names in named else [n.strip() for n in str(names).split(",")]
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown or not chosen:
        known = ", ".join(FAMILIES)
        raise ValueError(f"unknown methods {unknown}: expected all, or some of {known}")
    return [FAMILIES[name] for name in chosen]


def stored(model: str, pairs: str, method: str, terms: ComparisonConfig) -> Hyperparameters | None:
    """The setting kept in the package, found on dev by `python -m analyses.calibrated`.

    None for other models, pairs and methods, and for another split or other texts than those it was
    found on.
    """
    place = files("lens_steer.benchmark.method_families").joinpath("calibrated.json")
    known = json.loads(place.read_text(encoding="utf-8"))
    same = all(getattr(terms, name) == value for name, value in known["terms"].items())
    return known["settings"].get(pairs, {}).get(method) if same and model == "organism" else None


def calibrated_best(
    contender: MethodFamily,
    inputs: FitCache,
    dev: ContrastivePairs,
    judge: Judge | None,
    *,
    kl: float,
    terms: ComparisonConfig,
) -> Hyperparameters:
    """Of the grid, each setting calibrated to one cost on dev, the one that does most there.

    Args:
        kl: Nats per token, see `calibrate`.

    Raises:
        OutOfReach: If no setting reaches the cost.
        ValueError: As `calibrate`.
    """
    how = terms.decoding
    ready: list[Intervention] = []
    settings: list[Hyperparameters] = []
    refused = ""
    for setting in tqdm(contender.grid(inputs), desc=f"calibrate {contender.name}"):
        method = contender.make(inputs, setting)
        try:
            ready.append(calibrate(inputs.model, method, dev, kl=kl, progress=False, **how))
        except OutOfReach as error:
            refused = str(error)
            continue
        settings.append(setting | {"strength": ready[-1].strength})
    if not ready:
        raise OutOfReach(f"{contender.name} cannot be calibrated on {dev!r}: {refused}")
    trials = evaluate_each(inputs.model, dev, ready, judge=judge, **how)
    usable = [i for i, trial in enumerate(trials) if not trial.failure]
    if not usable:
        raise OutOfReach(f"{contender.name} cannot be used on {dev!r}: {trials[0].failure}")
    return settings[max(usable, key=lambda i: trials[i].share)]
