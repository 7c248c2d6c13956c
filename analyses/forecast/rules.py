"""Simpler rules for where to steer: each gives CAA at one layer a number, the largest is taken."""

import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from analyses.forecast.candidates import Candidate
from lens_steer.activations import Activations, LayerActivations
from lens_steer.data import ContrastivePairs
from lens_steer.models import SteerableModel, embedding_matrices, encode


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
    found = []
    _, unembed = embedding_matrices(model)
    for a, b in zip(pairs.desired, pairs.undesired, strict=True):
        rows = [encode(model, e.prompt, e.continuation) for e in (a, b)]
        tails = [row.ids[row.prompt_length :] for row in rows]
        part = next(((x, y) for x, y in zip(*tails, strict=False) if x != y), None)
        if part is not None:
            found.append(unembed[:, part[0]] - unembed[:, part[1]])
    return torch.stack(found).mean(dim=0)
