"""Scores of elements from the difference between the classes (SADI's element selection)."""

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.activations import Activations, ContrastStats, Moments
from lens_steer.attribution.scores import ElementScores
from lens_steer.models import Provenance, SteerableModel, attach, output_weight
from lens_steer.sites import Kind, Site


def contrast(activations: Activations | ContrastStats) -> ElementScores:
    """Mean over pairs of the desired minus the undesired activation, per element.

    A head's activation is the mean over its width, as published: it depends on the basis in which
    the head's values are written, see `contrast_norm` and `contrast_in_resid`.

    Returns:
        Scores with standard error and sign consistency where each pair's own value is known:
        from `Activations` of paired examples, and (but for heads) from their statistics.

    Source: SADI (arXiv:2410.12299), section 3.1.

    Example:
        >>> scores = ls.attribution.contrast(ls.capture(model, pairs, "head"))
        >>> sadi = ls.SADI(scores.top(16), delta=2.0)
    """
    name = "mean difference, desired - undesired"
    if isinstance(activations, ContrastStats):
        return _of_statistics(activations, name)
    a = activations
    desired, undesired = (_elementwise(side, a.kind) for side in (a.desired, a.undesired))
    if not a.paired:
        sides = Moments.of(desired), Moments.of(undesired)
        values = sides[0].mean - sides[1].mean
        error = sum(side.variance / side.count for side in sides) ** 0.5
        return ElementScores(values, a.kind, a.layers, name, error, provenance=a.provenance)
    gap = desired - undesired
    moments = Moments.of(gap)
    agree = ((gap * moments.mean) > 0).float().mean(dim=0)
    return ElementScores(
        moments.mean, a.kind, a.layers, name, _standard_error(moments), agree, a.provenance
    )


def contrast_norm(activations: Activations | ContrastStats) -> ElementScores:
    """Length of each element's mean difference: of a head, whatever basis it is written in.

    It has no sign; of one-dimensional elements it is the absolute value.

    Example:
        >>> ls.attribution.contrast_norm(heads).top(16)
    """
    a, direction = activations, activations.direction
    values = direction.norm(dim=-1) if a.kind is Kind.HEAD else direction.abs()
    name = "|mean difference|"
    return ElementScores(values, a.kind, a.layers, name, provenance=a.provenance)


def contrast_in_resid(
    model: SteerableModel, activations: Activations | ContrastStats
) -> ElementScores:
    """Length of what each element's mean difference writes to the residual stream.

    A head writes through its W_O, a neuron through its row of W_out; a dimension is written as it
    is. Norms behind them are left out.

    Raises:
        ValueError: If the activations are of another model, or of kind `gate`, or the weights are
            not what the model computes with (adapters, quantized layers).

    Example:
        >>> ls.attribution.contrast_in_resid(model, heads).top(16)
    """
    a = activations
    attach(model)
    if a.provenance is not None:
        a.provenance.check(model)
    values = torch.stack(
        [
            _written(model, Site(layer, a.kind), x)
            for layer, x in zip(a.layers, a.direction, strict=True)
        ]
    )
    name = "|mean difference| in the residual stream"
    return ElementScores(values, a.kind, a.layers, name, provenance=a.provenance)


def _written(
    model: SteerableModel, site: Site, direction: Float[Tensor, "*site"]
) -> Float[Tensor, " element"]:
    match site.kind:
        case Kind.HEAD:
            through = output_weight(model, site).detach().float().cpu()
            return torch.einsum("he,hed->hd", direction, through).norm(dim=-1)
        case Kind.GATE | Kind.UP:
            kind = site.kind.value
            raise ValueError(f"kind {kind!r} is not what a neuron writes: capture 'neuron'")
        case Kind.NEURON:
            return direction.abs() * output_weight(model, site).detach().float().cpu().norm(dim=-1)
        case _:
            return direction.abs()


def contrast_of_pairs(activations: Activations, pairs: Int[np.ndarray, " chosen"]) -> ElementScores:
    """The mean difference of some of the pairs, by number; one may be counted again."""
    a = activations
    return contrast(Activations(a.desired[pairs], a.undesired[pairs], a.kind, a.layers))


def _of_statistics(stats: ContrastStats, name: str) -> ElementScores:
    s, values = stats, _elementwise(stats.direction[None], stats.kind)[0]
    if s.kind is Kind.HEAD or s.difference is None or s.positive is None or s.negative is None:
        return ElementScores(values, s.kind, s.layers, name, provenance=s.provenance)
    positive, negative = (count / s.difference.count for count in (s.positive, s.negative))
    agree = torch.where(values > 0, positive, torch.where(values < 0, negative, 0.0))
    return ElementScores(
        values, s.kind, s.layers, name, _standard_error(s.difference), agree, s.provenance
    )


def over_pairs(
    of_pairs: Float[Tensor, "pair layer element"], kind: Kind, name: str, source: Provenance
) -> ElementScores:
    """Scores from those of every pair: mean, standard error, and agreement in sign."""
    mean, n = of_pairs.mean(dim=0), len(of_pairs)
    error = of_pairs.std(dim=0) / n**0.5 if n > 1 else None
    agree = ((of_pairs * mean) > 0).double().mean(dim=0)
    return ElementScores(mean, kind, tuple(range(len(mean))), name, error, agree, source)


def summed(x: Float[Tensor, "row *site"], kind: Kind) -> Float[Tensor, "row element"]:
    """Products with a gradient, one for each element: those of a head's dimensions are summed."""
    return x.sum(dim=-1) if kind is Kind.HEAD else x


def _elementwise(x: Float[Tensor, "n layer *site"], kind: Kind) -> Float[Tensor, "n layer element"]:
    """One number for each element: a head's is the mean over its width."""
    return reduce(x, "n layer head d_head -> n layer head", "mean") if kind is Kind.HEAD else x


def _standard_error(moments: Moments) -> Float[Tensor, "layer element"]:
    return (moments.variance / moments.count).sqrt()
