"""Methods that `lens-steer compare` has chosen, kept in files with what they were made on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lens_steer.artifacts import describe, load, save
from lens_steer.benchmark.journal import differing
from lens_steer.benchmark.method_families import FitCache, MethodFamily, calibrated_best
from lens_steer.benchmark.settings import Behaviour, CompareSettings, stem
from lens_steer.files import json_file, write_whole
from lens_steer.steering import Intervention

_RECORD = "made_on"  # in a method's .json, beside its setting


def method_of(
    contender: MethodFamily, behaviour: Behaviour, settings: CompareSettings
) -> list[Intervention]:
    """The best on dev at the stated cost, made from train and from resampled train; kept in files.

    What is kept is used again where it was made on the same settings, pairs, weights and versions.

    Raises:
        OutOfReach: If no setting reaches the cost.
        ValueError: If a method is kept that was made on others (what differs is named), or is
            damaged.
    """
    folder = settings.out / "methods"
    name = f"{stem(behaviour.name)}-{contender.name}"
    record = folder / f"{name}.json"
    places = [folder / f"{name}-{fit}.safetensors" for fit in range(settings.fits)]
    if record.is_file():
        _check(record, places, behaviour)
        return [load(place, behaviour.inputs.model) for place in places]
    for place in filter(Path.is_file, places):
        describe(place)  # of a run that was killed before it wrote the record, or refused
    setting, found = _made(contender, behaviour, settings)
    for method, place in zip(found, places, strict=True):
        save(method, place)
    own = {"origin": behaviour.origin, "files": {place.name: _sha256(place) for place in places}}
    text = json.dumps(setting | {_RECORD: own}, indent=2, sort_keys=True, default=str) + "\n"
    write_whole(record, lambda target: target.write_text(text, encoding="utf-8"))
    return found


def setting_of(record: Path) -> dict[str, Any]:
    """The setting in a method's `.json`, without what it was made on."""
    return {name: value for name, value in json_file(record).items() if name != _RECORD}


def _made(
    contender: MethodFamily, behaviour: Behaviour, settings: CompareSettings
) -> tuple[dict[str, Any], list[Intervention]]:
    model, inputs, seed = behaviour.inputs.model, behaviour.inputs, settings.terms.seed
    setting = calibrated_best(
        *(contender, inputs, behaviour.dev, behaviour.judge), kl=settings.kl, terms=settings.terms
    )
    found = [contender.make(inputs, setting)]
    for fit in range(1, settings.fits):
        again = inputs.train.resample(seed=seed + fit)
        found.append(contender.make(FitCache(model, again, inputs.reads), setting))
    return dict(setting), found


def _check(record: Path, places: Sequence[Path], behaviour: Behaviour) -> None:
    kept = json_file(record)
    own = kept.get(_RECORD) if isinstance(kept, dict) else None
    if not isinstance(own, dict) or not {"origin", "files"} <= set(own):
        raise ValueError(
            f"{str(record)!r} does not say what its method was made on, as an earlier version "
            "wrote it: choose another folder"
        )
    other = differing(own["origin"], json.loads(json.dumps(behaviour.origin, default=str)))
    if other:
        raise ValueError(
            f"{str(record)!r} is of a method made on other terms ({other}): choose another folder"
        )
    for place in places:
        if not place.is_file() or own["files"].get(place.name) != _sha256(place):
            raise ValueError(
                f"{str(place)!r} is not the method that {record.name!r} is of: delete both to make "
                "it again"
            )


def _sha256(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()
