"""The methods of a run, kept in its folder with what each was made on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lens_steer.artifacts import describe, load, save
from lens_steer.benchmark.fit_cache import FitCache, Hyperparameters
from lens_steer.benchmark.journal import differing
from lens_steer.benchmark.method_family import MethodFamily
from lens_steer.benchmark.settings import Behaviour, CompareSettings, file_stem
from lens_steer.files import json_file, write_whole
from lens_steer.steering import Intervention

Fits = Sequence[Intervention]

_MADE_ON = "made_on"  # in a method's .json, beside its setting


def kept_fits(
    family: MethodFamily,
    behaviour: Behaviour,
    settings: CompareSettings,
    choose: Callable[[], Hyperparameters],
) -> tuple[Fits, Hyperparameters]:
    """The fits of a family on one behaviour and their setting: as they are kept, or made and kept.

    Args:
        choose: Gives the setting where none is kept.

    Raises:
        ValueError: If a method is kept that was made on something else (what differs is named), or
            is damaged; or as `choose`.
    """
    folder = settings.out / "methods"
    name = f"{file_stem(behaviour.name)}-{family.name}"
    record = folder / f"{name}.json"
    places = [folder / f"{name}-{fit}.safetensors" for fit in range(settings.fits)]
    if record.is_file():
        _check_kept(record, places, behaviour)
        return [load(place, behaviour.cache.model) for place in places], read_setting(record)
    for place in filter(Path.is_file, places):
        describe(place)  # left by a run that was killed before it wrote the record, or refused
    cache = behaviour.cache
    setting = choose()
    fits = [family.make(cache, setting)]
    for fit in range(1, settings.fits):
        resampled = cache.train.resample(seed=settings.config.seed + fit)
        fits.append(family.make(FitCache(cache.model, resampled, cache.reads), setting))
    for method, place in zip(fits, places, strict=True):
        save(method, place)
    hashes = {place.name: _sha256(place) for place in places}
    made_on = {"origin": behaviour.provenance, "files": hashes}
    content = setting | {_MADE_ON: made_on}
    text = json.dumps(content, indent=2, sort_keys=True, default=str) + "\n"
    write_whole(record, lambda target: target.write_text(text, encoding="utf-8"))
    return fits, setting


def read_setting(record: Path) -> Hyperparameters:
    """The setting in a method's `.json`, without what it was made on."""
    return {name: value for name, value in json_file(record).items() if name != _MADE_ON}


def _check_kept(record: Path, places: Sequence[Path], behaviour: Behaviour) -> None:
    content: Any = json_file(record)
    made_on = content.get(_MADE_ON) if isinstance(content, dict) else None
    if not isinstance(made_on, dict) or not {"origin", "files"} <= set(made_on):
        raise ValueError(
            f"{str(record)!r} does not say what its method was made on, as an earlier version "
            "wrote it: choose another folder"
        )
    now = json.loads(json.dumps(behaviour.provenance, default=str))
    difference = differing(made_on["origin"], now)
    if difference:
        raise ValueError(
            f"{str(record)!r} is of a method made on other settings ({difference}): choose another "
            "folder"
        )
    for place in places:
        if not place.is_file() or made_on["files"].get(place.name) != _sha256(place):
            raise ValueError(
                f"{str(place)!r} is not the method that {record.name!r} is of: delete both to make "
                "it again"
            )


def _sha256(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()
