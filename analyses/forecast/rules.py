"""Simpler rules for where to steer: each gives CAA at one layer a number, the largest is taken."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from analyses.forecast.candidates import Candidate
from lens_steer.activations import Activations, LayerActivations
from lens_steer.data import ContrastivePairs, Example
from lens_steer.evaluation import log_probabilities
from lens_steer.models import Encoded, SteerableModel, embedding_matrices, encode


def scores(
    model: SteerableModel,
    candidate: Candidate,
    train: Activations,
    dev: Activations,
    parting: Float[Tensor, " d"],
) -> dict[str, float]:
    """What every rule says of CAA at one layer and read position.

    Args:
        model: The model.
        candidate: CAA.
        train: What it was fitted to.
        dev: The pairs that rules may look at.
        parting: Mean difference of the unembedding of the first tokens at which the continuations
            of a pair part.
    """
    layer, read = int(candidate.setting["layer"]), candidate.setting["read"]
    here, there = train.at(layer=layer), dev.at(layer=layer)
    direction = here.desired.mean(dim=0) - here.undesired.mean(dim=0)
    unit = direction / direction.norm()
    return {
        "half depth": -abs(layer - int(model.cfg.n_layers) // 2) - 0.5 * (read == "last"),
        "length of the difference": float(direction.norm()) / here.centred_length,
        "AUC": _auc(there.desired @ unit, there.undesired @ unit),
        "cosine of pairs": _cosine(here, unit),
        "logit lens": float(unit @ parting.to(unit)),
    }


def _auc(desired: Float[Tensor, " x"], undesired: Float[Tensor, " y"]) -> float:
    labels = [1] * len(desired) + [0] * len(undesired)
    return float(roc_auc_score(labels, torch.cat([desired, undesired]).numpy()))


def _cosine(activations: LayerActivations, unit: Float[Tensor, " d"]) -> float:
    """The mean cosine of the differences of single pairs with the mean difference."""
    differences = activations.desired - activations.undesired
    return float((differences / differences.norm(dim=1, keepdim=True) @ unit).mean())


def parting_tokens(model: SteerableModel, pairs: ContrastivePairs) -> Float[Tensor, " d"]:
    """The mean over pairs of the unembedding's difference where their continuations part."""
    _, unembed = embedding_matrices(model)
    rows = [[encode(model, e.prompt, e.continuation) for e in pair] for pair in _sides(pairs)]
    found = [
        unembed[:, a.ids[a.prompt_length + k]] - unembed[:, b.ids[b.prompt_length + k]]
        for a, b in rows
        if (k := parting(a, b)) is not None
    ]
    return torch.stack(found).mean(dim=0)


def parting(a: Encoded, b: Encoded) -> int | None:
    """The first token of two continuations that differs; None where one begins the other."""
    tails = zip(a.ids[a.prompt_length :], b.ids[b.prompt_length :], strict=False)
    return next((k for k, (x, y) in enumerate(tails) if x != y), None)


def tilt_floor(model: SteerableModel, pairs: ContrastivePairs) -> float:
    """The least that one nat of the mean margin costs where continuations part: nats per text.

    No change of the next token's distribution does it for less than the exponential tilt towards
    the desired token and away from the undesired one: 1 / (2 mean information), to second order,
    the information of a pair being 1 / p + 1 / p' of the tokens at which it parts.
    """
    rows = [[encode(model, e.prompt, e.continuation) for e in pair] for pair in _sides(pairs)]
    first, second = (log_probabilities(model, list(side)) for side in zip(*rows, strict=True))
    found = [
        sum(float((-scores[k].double()).exp()) for scores in (first[i], second[i]))
        for i, (a, b) in enumerate(rows)
        if (k := parting(a, b)) is not None
    ]
    return 1 / (2 * float(torch.tensor(found).double().mean()))


def _sides(pairs: ContrastivePairs) -> Iterator[tuple[Example, Example]]:
    return zip(pairs.desired, pairs.undesired, strict=True)
