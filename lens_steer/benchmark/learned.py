"""A steering vector learned by gradient descent: what the pairs are worth if nothing is assumed.

Source: the loss of Cao et al. 2024, "Personalized Steering of Large Language Models: Versatile
Steering Vectors Through Bi-directional Preference Optimization" (arXiv:2406.00045), in one
direction.
"""

from collections.abc import Callable, Sequence

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
    batches,
    check_differentiable,
    continuation_places,
    encode,
    gradients_possible,
    input_device,
    logits_at,
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
    steps: Count = 10,
    batch: Count = 16,
    rate: float = 0.2,
    scope: Scope = "last",
    token_budget: Count = 512,
    seed: Seed,
    on_step: Callable[[], object] | None = None,
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
        token_budget: Tokens whose activations are kept for a backward pass, padding included;
            speed and memory only. A pair is never parted.
        seed: The seed of the batches.
        on_step: Called after every step, such as the `update` of a caller's own bar.
        progress: Whether to show a bar.

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
        torch.stack([n.sum() for n in log_probabilities(model, rows, token_budget=token_budget)])
        for rows in sides
    ]
    unit = _length(model, sides[0], site) / float(model.cfg.d_model) ** 0.5
    vector = torch.zeros(model.cfg.d_model, device=input_device(model), requires_grad=True)
    adam, draw = torch.optim.Adam([vector], lr=rate), np.random.default_rng(seed)
    lengths = [
        max(map(len, pair)) for pair in zip(*([r.ids for r in s] for s in sides), strict=True)
    ]
    for _ in tqdm(range(steps), desc="learn", disable=not progress):
        chosen = draw.choice(len(pairs), size=min(batch, len(pairs)), replace=False).tolist()
        vector.grad = torch.zeros_like(vector)
        for part in batches([2 * lengths[i] for i in chosen], token_budget):
            of_part = [chosen[k] for k in part]
            with torch.enable_grad():
                method = Additive((site,), (unit * vector,))
                nats = _nats(model, [rows[i] for rows in sides for i in of_part], method, scope)
                gains = nats - torch.cat([known[of_part] for known in before])
                margin = gains[: len(part)] - gains[len(part) :]
                loss = -torch.nn.functional.logsigmoid(_SHARPNESS * margin).sum() / len(chosen)
            vector.grad += torch.autograd.grad(loss, [vector])[0]
        adam.step()
        if on_step is not None:
            on_step()
    source = Provenance(attach(model).fingerprint, pairs.name, "learned", seed)
    return Additive((site,), ((unit * vector).detach().cpu(),), provenance=source)


def _nats(
    model: SteerableModel, rows: Sequence[Encoded], method: Additive, scope: Scope
) -> Float[Tensor, " row"]:
    """Log-probability of each continuation, with gradients to the method's vector."""
    tokens, mask = pad(model, [row.ids for row in rows])
    lengths = [row.prompt_length for row in rows]
    row_of, column_of = continuation_places(rows)
    attach(model)
    with steered(model, method, scope=scope, prompt_lengths=lengths):
        scores = logits_at(model, tokens, mask, row_of, column_of - 1).float().log_softmax(dim=-1)
    nats = scores.gather(-1, tokens[row_of, column_of, None].to(scores.device))[:, 0]
    return nats.new_zeros(len(rows)).index_add(0, row_of.to(nats.device), nats).cpu()


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
