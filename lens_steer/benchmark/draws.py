"""Methods of settings that were drawn: strengths found for the local nats that settings ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lens_steer.benchmark.fit_cache import FitCache
from lens_steer.benchmark.method_family import MethodFamily
from lens_steer.evaluation import FixedTexts, LocalNats, NotLocal, calibrate_along
from lens_steer.steering import Intervention


def methods_of_draws(
    family: MethodFamily,
    cache: FitCache,
    settings: Sequence[Mapping[str, Any]],
    texts: FixedTexts,
) -> list[Intervention]:
    """The method of each setting, at its `strength`, or at the strength of its `nats`.

    These are local nats along the texts, of all methods in the same passes. A method whose cost
    near strength 0 is no parabola has none: it is calibrated to the nats, its curve scanned.

    Args:
        settings: Such as `family.draw` gives.
        texts: Unsteered texts, some ten of them.

    Raises:
        OutOfReach: If a method whose curve is scanned cannot cost so much.
        ValueError: As `family.make`.

    Example:
        >>> source = np.random.default_rng(0)
        >>> settings = [family.draw(cache, source) for _ in range(8)]
        >>> texts = ls.evaluation.FixedTexts.sample(model, dev.first(12), seed=0)
        >>> methods = ls.benchmark.methods_of_draws(family, cache, settings, texts)
    """
    made = [family.make(cache, setting) for setting in settings]
    asking = [i for i, setting in enumerate(settings) if "nats" in setting]
    local = LocalNats.along_each(cache.model, [made[i] for i in asking], texts)
    for i, found in zip(asking, local, strict=True):
        nats = float(settings[i]["nats"])
        if isinstance(found, NotLocal):
            at = calibrate_along(cache.model, made[i], texts, kl=nats, progress=False)
            made[i] = replace(at, report=None)
        else:
            made[i] = made[i].with_strength(found.strength_at(nats))
    return made
