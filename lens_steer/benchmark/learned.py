"""A steering vector learned by gradient descent: what the pairs are worth if nothing is assumed.

Source: the loss of Cao et al. 2024, "Personalized Steering of Large Language Models: Versatile
Steering Vectors Through Bi-directional Preference Optimization" (arXiv:2406.00045), in one
direction.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Count, Seed
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import log_probabilities
from lens_steer.models import (
    Encoded,
    Provenance,
    SteerableModel,
    attach,
    check_differentiable,
    encode,
    forward,
    gradients_possible,
    input_device,
    pad,
    read,
)
from lens_steer.sites import Site
from lens_steer.steering import Additive, Scope, steered

_SHARPNESS = 0.1  # of the preference, per nat: the paper's beta


@gradients_possible()
def learn(  # noqa: PLR0913 - each is a knob of learning
    model: SteerableModel,
    pairs: ContrastivePairs,
    site: Site,
    *,
    steps: Count = 40,
    batch: Count = 16,
    rate: float = 0.05,
    scope: Scope = "last",
    seed: Seed,
    progress: bool = True,
) -> Additive:
    """The vector at one site under which desired continuations gain most over undesired ones.

    Adam, from zero, on the loss -log sigmoid(0.1 (gain of desired - gain of undesired)), gains in
    nats per sequence over the unsteered model.

    Args:
        pairs: The pairs to learn from; others than those the vector is then measured on.
        steps: The number of steps of Adam.
        batch: The number of pairs of each step, drawn anew.
        rate: The learning rate, as a share of the activation's length spread over its dimensions.
        scope: Where the vector is added, see `steered`.
        seed: The seed of the batches.

    Raises:
        ValueError: If the pairs are unpaired, the site is not one of the residual stream, or there
            are no steps or batches.

    Example:
        >>> method = ls.benchmark.learn(model, train, ls.Site(3), seed=0)
        >>> texts = ls.generate(model, test.prompts, method, seed=0)
    """
    if steps < 1 or batch < 1:
        raise ValueError(f"{steps} steps of {batch} pairs: expected at least 1 of either")
    if not pairs.paired or site.kind != "resid":
        raise ValueError(f"got {pairs!r} and {site}, expected pairs and a site of kind 'resid'")
    check_differentiable(model, "Gradients")
    sides = [
        [encode(model, e.prompt, e.continuation) for e in side]
        for side in (pairs.desired, pairs.undesired)
    ]
    before = [
        torch.stack([nats.sum() for nats in log_probabilities(model, rows)]) for rows in sides
    ]
    unit = _length(model, sides[0], site) / float(model.cfg.d_model) ** 0.5
    vector = torch.zeros(model.cfg.d_model, device=input_device(model), requires_grad=True)
    adam, draw = torch.optim.Adam([vector], lr=rate), np.random.default_rng(seed)
    for _ in tqdm(range(steps), desc="learn", disable=not progress):
        chosen = draw.choice(len(pairs), size=min(batch, len(pairs)), replace=False).tolist()
        with torch.enable_grad():
            method = Additive((site,), (unit * vector,))
            gains = [
                _nats(model, [rows[i] for i in chosen], method, scope) - known[chosen]
                for rows, known in zip(sides, before, strict=True)
            ]
            loss = -torch.nn.functional.logsigmoid(_SHARPNESS * (gains[0] - gains[1])).mean()
        [vector.grad] = torch.autograd.grad(loss, [vector])
        adam.step()
    source = Provenance(attach(model).fingerprint, pairs.name, "learned", seed)
    return Additive((site,), ((unit * vector).detach().cpu(),), provenance=source)


def _nats(
    model: SteerableModel, rows: Sequence[Encoded], method: Additive, scope: Scope
) -> Float[Tensor, " row"]:
    """Log-probability of each continuation, with gradients to the method's vector."""
    tokens, mask = pad(model, [row.ids for row in rows])
    lengths = [row.prompt_length for row in rows]
    attach(model)
    with steered(model, method, scope=scope, prompt_lengths=lengths):
        scores = forward(model, tokens, mask)[:, :-1].float().log_softmax(dim=-1)
    nats = scores.gather(-1, tokens[:, 1:, None])[..., 0]
    inside = mask[:, 1:].clone()
    for i, length in enumerate(lengths):
        inside[i, : max(length, 1) - 1] = False
    return (nats * inside).sum(dim=1).cpu()


def _length(model: SteerableModel, rows: Sequence[Encoded], site: Site) -> float:
    """Median length of the activation at the last prompt token, of at most 64 rows."""
    rows = rows[:64]
    tokens, mask = pad(model, [row.ids for row in rows])
    last = torch.tensor([max(row.prompt_length, 1) - 1 for row in rows], device=tokens.device)
    index = torch.arange(len(rows), device=tokens.device)
    attach(model)
    with torch.no_grad():
        activations = read(model, tokens, mask, {site: lambda x: x[index, last].float()})[site]
    return activations.norm(dim=-1).median().item()
