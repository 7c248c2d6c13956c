"""Random pushes that cost as much, or are as large, as a method's edits: what it has to beat."""

from collections.abc import Sequence
from functools import cache, partial

import torch

from lens_steer.activations import Activations
from lens_steer.arguments import Positive
from lens_steer.evaluation.calibration import calibrate_along
from lens_steer.evaluation.fixed_texts import FixedTexts
from lens_steer.models import SteerableModel
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, Intervention, Random, VectorMethod


def random_like(
    model: SteerableModel,
    method: Intervention,
    texts: FixedTexts,
    *,
    seeds: Sequence[int],
    kl: Positive | None = None,
) -> list[Random]:
    """Random directions in the layers that a method edits, as large as its edits on average.

    Args:
        method: What to compare with, at the strength it has.
        texts: The texts along which its edits are measured, once for all seeds, where the method
            does not simply add vectors, whose lengths are known.
        seeds: One for each direction.
        kl: Nats per token along the texts that each is to cost instead, such as the method's own:
            at equal lengths random directions may cost 40 times as much. Then lengths only say how
            a push is spread over layers.

    Raises:
        OutOfReach: If a direction cannot cost so much.
        ValueError: If the method edits nothing along these texts, or its edits are NaN or infinite.

    Example:
        >>> texts = ls.evaluation.FixedTexts.sample(model, dev, seed=0)
        >>> [paid] = texts.kl(model, [(method,)])
        >>> controls = ls.evaluation.random_like(model, method, texts, seeds=range(3), kl=paid)
    """
    measured = cache(partial(_as_large_as, model, method, texts))  # once for all seeds
    drawn = [Random.like(method, measured, seed=seed) for seed in seeds]
    return _costing(model, drawn, texts, kl)


def random_as_activations_vary(
    model: SteerableModel,
    method: Intervention,
    texts: FixedTexts,
    *,
    seeds: Sequence[int],
    kl: Positive | None = None,
) -> list[Random]:
    """Directions drawn from the covariance of the clean residual stream, else as `random_like`.

    The covariance is that of the unsteered activations at the positions that are steered, in the
    layers that the method edits: directions in which activations vary by themselves.

    Args:
        method: As `random_like`.
        texts: As `random_like`; the covariance is measured along them, too.
        seeds: One for each direction.
        kl: As `random_like`.

    Raises:
        OutOfReach: As `random_like`.
        ValueError: As `random_like`, or if activations do not vary.

    Example:
        >>> texts = ls.evaluation.FixedTexts.sample(model, dev, seed=0)
        >>> controls = ls.evaluation.random_as_activations_vary(model, method, texts, seeds=[0, 1])
    """
    in_stream = all(site.kind is Kind.RESID for site in method.sites)
    added = isinstance(method, VectorMethod) and in_stream
    sized = method if added else _as_large_as(model, method, texts)
    layers = tuple(sorted({site.layer for site in sized.sites}))
    stream = texts.clean_stream(model, layers).resid
    # One class, which is put on both sides: the covariance within classes is its own.
    spread = Activations(stream, stream, Kind.RESID, layers, paired=False)
    drawn = [Random.like(sized, seed=seed, covariance_of=spread) for seed in seeds]
    return _costing(model, drawn, texts, kl)


def _costing(
    model: SteerableModel, methods: Sequence[Random], texts: FixedTexts, kl: float | None
) -> list[Random]:
    """The methods as they are, or each at the strength of that cost."""
    if kl is None:
        return list(methods)
    return [calibrate_along(model, one, texts, kl=kl, progress=False) for one in methods]


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
