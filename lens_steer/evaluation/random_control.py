"""Random pushes as large as a method's edits: what steering has to beat."""

from collections.abc import Sequence
from functools import cache, partial

import torch

from lens_steer.evaluation.fixed_texts import FixedTexts
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering import Additive, Intervention, Random


def random_like(
    model: SteerableModel, method: Intervention, texts: FixedTexts, *, seeds: Sequence[int]
) -> list[Random]:
    """Random directions in the layers that a method edits, as large as its edits on average.

    Args:
        method: What to compare with, at the strength it has.
        texts: The texts along which its edits are measured, once for all seeds, where the method
            does not simply add vectors, whose lengths are known.
        seeds: One for each direction.

    Raises:
        ValueError: If the method edits nothing along these texts, or its edits are NaN or infinite.

    Example:
        >>> texts = ls.evaluation.FixedTexts.sample(model, dev, seed=0)
        >>> controls = ls.evaluation.random_like(model, method, texts, seeds=range(3))
    """
    measured = cache(partial(_as_large_as, model, method, texts))  # once for all seeds
    return [Random.like(method, measured, seed=seed) for seed in seeds]


def _as_large_as(model: SteerableModel, method: Intervention, texts: FixedTexts) -> Additive:
    """One vector in each layer that a method edits, as long as its edits along texts are."""
    [sizes] = texts.sizes(model, [(method,)])
    lengths = sizes.norm.mean(dim=0)
    if not bool(lengths.isfinite().all()):
        raise ValueError(f"the edits of {method!r} are NaN or infinite: no size to compare with")
    if not bool(lengths.any()):
        raise ValueError(f"{method!r} edits nothing along these texts: no size to compare with")
    edited = [i for i, length in enumerate(lengths.tolist()) if length > 0]
    sites = tuple(Site(sizes.layers[i]) for i in edited)
    unit = torch.nn.functional.one_hot(torch.tensor(0), int(model.cfg.d_model)).float()
    vectors = tuple(lengths[i] * unit for i in edited)
    return Additive(sites, vectors, provenance=method.provenance)
