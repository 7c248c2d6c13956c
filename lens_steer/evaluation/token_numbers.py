"""What each generated token cost and what was done to it, read along texts that are finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.evaluation.divergence import kl_divergence
from lens_steer.evaluation.edits import activations_around
from lens_steer.evaluation.sampled_texts import SampledText, draw_logits, draws_of, even_batches
from lens_steer.evaluation.text_costs import surprises
from lens_steer.models import SteerableModel, attach, pad, read, residual_edit
from lens_steer.sites import Kind, Site
from lens_steer.steering import Methods, Scope, unit_of

Directions = Mapping[int, Float[Tensor, " d"]]  # by layer, of the residual stream behind it


@dataclass(frozen=True, eq=False)
class TokenNumbers:
    """The numbers of one text, a row for each token that was drawn.

    Attributes:
        log_probs: Of the token under the steered model, nats; float64.
        clean_log_probs: Of the token under the unsteered model, nats; float64.
        nats: KL(steered || unsteered) of the distributions that it is one draw of; float64.
        edit_sizes: |edit| / |clean resid_post| at the position that the token was drawn from.
        projections: Of the steered residual stream there, on each direction.
        clean_projections: Of the unsteered one.
    """

    log_probs: Float[Tensor, " token"]
    clean_log_probs: Float[Tensor, " token"]
    nats: Float[Tensor, " token"]
    edit_sizes: Float[Tensor, "token site"]
    projections: Float[Tensor, "token direction"]
    clean_projections: Float[Tensor, "token direction"]


def sites_of_methods(methods: Methods) -> tuple[Site, ...]:
    """The sites that any of the methods edits, in the order of the forward pass."""
    return tuple(sorted({site for method in methods for site in method.sites}))


def unit_directions(model: SteerableModel, directions: Directions | None) -> dict[int, Tensor]:
    """The directions, in order of their layers, each divided by its length.

    Raises:
        ValueError: If the model has no such layer, or a direction is 0, not finite, or of another
            width than its residual stream.
    """
    found: dict[int, Tensor] = {}
    layers, width = int(model.cfg.n_layers), int(model.cfg.d_model)
    for layer, direction in sorted((directions or {}).items()):
        if layer >= layers:
            raise ValueError(
                f"directions: layer {layer}, expected 0 to {layers - 1}: this model has {layers}"
            )
        if direction.shape != (width,):
            raise ValueError(
                f"directions[{layer}] has shape {tuple(direction.shape)}, expected ({width},): a "
                "direction of this model's residual stream"
            )
        found[layer] = unit_of(direction.detach().float().cpu(), f"direction of layer {layer}")
    return found


def token_numbers(
    model: SteerableModel,
    texts: Sequence[SampledText],
    drawn: Sequence[Sequence[int]],
    methods: Methods,
    scope: Scope,
    directions: Directions,
) -> list[TokenNumbers]:
    """Run finished texts through the steered and the unsteered model.

    Args:
        texts: The texts, teacher-forced: nothing is drawn here.
        drawn: The tokens that were drawn for each, the end included.
        methods: What steers them.
        scope: Where.
        directions: Of length 1, by layer.

    Raises:
        ValueError: If a method does not fit the model.
        NotFinite: If logits are NaN or infinite.
    """
    found: dict[int, TokenNumbers] = {}
    for batch in even_batches(model, [len(text.ids) for text in texts]):
        part = [texts[i] for i in batch]
        ids = torch.tensor([token for i in batch for token in drawn[i]])
        counts = [text.draws for text in part]
        columns = [
            *_log_probabilities(model, part, ids, methods, scope),
            *_streams(model, part, methods, scope, directions),
        ]
        rows = zip(*(column.split(counts) for column in columns), strict=True)
        found |= {i: TokenNumbers(*row) for i, row in zip(batch, rows, strict=True)}
    return [found[i] for i in range(len(texts))]


def _log_probabilities(
    model: SteerableModel,
    texts: Sequence[SampledText],
    ids: Int[Tensor, " draw"],
    methods: Methods,
    scope: Scope,
) -> tuple[Float[Tensor, " draw"], Float[Tensor, " draw"], Float[Tensor, " draw"]]:
    """Log-probabilities of the tokens, steered and unsteered, and the divergence at each."""
    steered, _ = draw_logits(model, texts, [methods] * len(texts), scope)
    clean, _ = draw_logits(model, texts, [()] * len(texts), scope)
    nats = kl_divergence(steered, clean)
    return -surprises(steered, ids).cpu(), -surprises(clean, ids).cpu(), nats.cpu()


def _streams(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Methods,
    scope: Scope,
    directions: Directions,
) -> tuple[Float[Tensor, "draw site"], Float[Tensor, "draw direction"], Float[Tensor, "draw _"]]:
    """Relative sizes of edits, and projections of the steered and of the unsteered stream."""
    row, column = draws_of(texts)
    edited, read_at = sites_of_methods(methods), [Site(layer) for layer in directions]
    sizes, none = torch.zeros(len(row), len(edited)), torch.zeros(len(row), 0)
    sites = tuple(sorted({*edited, *read_at}))
    if not sites:
        return sizes, none, none

    def drawn_from(x: Float[Tensor, "text pos *site"]) -> Float[Tensor, "draw *site"]:
        return x[row.to(x.device), column.to(x.device)].detach()

    tokens, mask = pad(model, [text.ids for text in texts])
    streams = sorted({Site(site.layer) for site in sites})
    attach(model)
    with torch.no_grad():
        clean = read(model, tokens, mask, dict.fromkeys(streams, drawn_from))
    before, after = activations_around(model, texts, methods, sites, scope)
    for k, site in enumerate(edited):
        length = clean[Site(site.layer)].float().norm(dim=1).clamp(min=1e-30).cpu()
        change = _change(model, site, drawn_from(before[site]), drawn_from(after[site]))
        sizes[:, k] = change.cpu() / length
    if not read_at:
        return sizes, none, none
    units = [directions[site.layer] for site in read_at]
    steered, unsteered = (
        [x[site].float().cpu() @ unit for site, unit in zip(read_at, units, strict=True)]
        for x in ({site: drawn_from(after[site]) for site in read_at}, clean)
    )
    return sizes, torch.stack(steered, dim=1), torch.stack(unsteered, dim=1)


def _change(
    model: SteerableModel,
    site: Site,
    before: Float[Tensor, "draw *site"],
    after: Float[Tensor, "draw *site"],
) -> Float[Tensor, " draw"]:
    """Length of what an edit adds to the residual stream; NaN where that depends on a gate."""
    if site.kind is Kind.UP:
        return torch.full((len(before),), torch.nan)
    return residual_edit(model, site, before, after).float().norm(dim=1)
