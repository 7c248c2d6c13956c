"""The best vector of each layer: the one whose small push gains most for what it costs.

A text's score at a layer is the gradient of its log-probability by a vector that is added there at
every steered position. The Fisher information F of the vector is the mean of score score', the gain
g of a share the mean of score times (judge - share), and the best vector F^-1 g is the regression
of the judge on the scores: the natural gradient. Fitted to texts of other prompts than it is
measured on, it is a lower bound of what the best vector does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.where_nats_go.texts import Written
from lens_steer.evaluation import SampledText, draws_of, even_batches
from lens_steer.models import (
    SteerableModel,
    attach,
    check_differentiable,
    forward,
    gradients_possible,
    hooked,
    pad,
)
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive

_PENALTIES = tuple(float(x) for x in np.logspace(-4, 2, 13))  # of the mean eigenvalue of F, tried


@dataclass(frozen=True, eq=False)
class BestVector:
    """The best vector of one layer.

    Attributes:
        method: Adds it; at strength 1 the score of a text varies by about 1.
        held_out: The share of the judge's variance within prompts that its score says of texts
            that were left out: about its efficiency, in nats that a small gain needs at least over
            those that it costs.
    """

    method: Additive
    held_out: float


def best_vectors(written: Written, shows: Bool[np.ndarray, "prompt text"]) -> list[BestVector]:
    """The best vector of every layer.

    The penalty of the regression is chosen for each layer by leaving texts out.

    Args:
        written: Unsteered texts of training prompts.
        shows: Whether they show the behaviour.

    Raises:
        ValueError: If the texts of no prompt differ in whether they show it.
    """
    from sklearn.linear_model import RidgeCV

    wanted = (shows - shows.mean(axis=1, keepdims=True)).ravel()
    if not wanted.any():
        raise ValueError("texts of every prompt agree: expected some that show the behaviour")
    scores = score_gradients(written)
    found = []
    for layer, of_layer in enumerate(scores.unbind(dim=1)):
        x = of_layer.numpy()
        level = float((x**2).sum()) / x.shape[1]
        ridge: Any = RidgeCV(alphas=[level * each for each in _PENALTIES], fit_intercept=False)
        coefficients = ridge.fit(x, wanted).coef_
        vector = torch.from_numpy(coefficients / (x @ coefficients).std()).float()
        held_out = 1 + float(ridge.best_score_) / float((wanted**2).mean())  # of a mean square
        found.append(BestVector(Additive((Site(layer),), (vector,)), held_out))
    return found


def score_gradients(written: Written) -> Float[Tensor, "text layer d"]:
    """d log p(text) / d v for a vector v behind each block, added at all steered positions."""
    model = written.model
    check_differentiable(model, "Gradients")
    size = len(written.texts), int(model.cfg.n_layers), int(model.cfg.d_model)
    found = torch.zeros(size).double()
    for batch in even_batches(model, [len(text.ids) for text in written.texts]):
        texts = [written.texts[i] for i in batch]
        drawn = written.drawn(batch)
        found[batch] = _of_batch(model, texts, drawn, written.decoding.temperature).cpu()
    return found


@gradients_possible()
def _of_batch(
    model: SteerableModel, texts: Sequence[SampledText], drawn: Tensor, temperature: float
) -> Float[Tensor, "text layer d"]:
    tokens, mask = pad(model, [text.ids for text in texts])
    row, column = draws_of(texts)
    kept: dict[Site, Tensor] = {}
    sites = [Site(layer) for layer in range(int(model.cfg.n_layers))]

    def keeper(site: Site) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            kept[site] = x
            return x  # else the model may go on with a tensor that this one is a view of

        return keep

    start = Site(0, Kind.RESID_PRE)
    attach(model)
    with torch.enable_grad():
        keep = {site: keeper(site) for site in sites}
        with hooked(model, {start: lambda x: x.detach().requires_grad_(), **keep}):
            logits = forward(model, tokens, mask)[row, column].float() / temperature
        score = logits.log_softmax(dim=-1).gather(-1, drawn[:, None]).sum()
        gradients = torch.autograd.grad(score, [kept[site] for site in sites])
    parts = [
        torch.zeros(len(texts), gradient.shape[-1])
        .double()
        .index_add(0, row, gradient[row, column].double())
        for gradient in gradients
    ]
    return torch.stack(parts, dim=1)
