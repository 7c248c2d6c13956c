"""Which tokens of a text are attention sinks: activations many times as large as the others'.

Trained models hold a large constant at the first token of a text, and often at a delimiter or two,
for heads to attend to that have nothing to say. It is no content, and what is added there, or
averaged over it, says nothing of the text: scopes and means leave sinks out unless asked for them.
"""

from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models.attachment import Attachment, attach
from lens_steer.models.forward_pass import read
from lens_steer.models.hooks import all_hooks_at_rest
from lens_steer.models.modules import last_modules
from lens_steer.models.protocol import SteerableModel
from lens_steer.sites import Site

RATIO: Final = 10.0  # between the norm of a sink and the median norm of its text
_ROWS = 2**14  # whose sinks are remembered at most

# By model: what it was when rows were read, and the sinks of each row.
_remembered: WeakKeyDictionary[Any, tuple[Attachment, dict[tuple[int, ...], tuple[int, ...]]]] = (
    WeakKeyDictionary()
)


def sink_positions(
    norms: Float[Tensor, "batch pos layer"], mask: Bool[Tensor, "batch pos"]
) -> Bool[Tensor, "batch pos"]:
    """Which tokens are sinks, from the lengths of their activations.

    A token is a sink as a whole, at all layers alike: the first token of a text always, any other
    if its activation is over ten times as long as the median of the text at one layer or more. The
    median is over all real tokens, the lower of the two middle ones if their number is even: at
    most half of the tokens of a text can exceed it, and in a text of two tokens the second is a
    sink if it is over ten times as long as the first.

    Args:
        norms: |activation| of each token at each layer; what stands at padding is not looked at.
        mask: False at padding, on whichever side.

    Returns:
        True at sinks; a row without a real token has none.

    Example:
        >>> sink_positions(torch.tensor([[[5.0], [1.0], [1.0], [11.0]]]), torch.ones(1, 4).bool())
        tensor([[ True, False, False,  True]])
    """
    ratios = norm_ratios(norms, mask)
    first = mask & (mask.cumsum(dim=1) == 1)
    return first | (ratios > RATIO).any(dim=2)


def norm_ratios(
    norms: Float[Tensor, "batch pos layer"], mask: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos layer"]:
    """Each token's norm over the median norm of its text at that layer; NaN at padding."""
    real = norms.masked_fill(~mask[..., None], torch.nan)
    return real / real.nanmedian(dim=1, keepdim=True).values


def clean_sinks(model: SteerableModel, tokens: Tokens, mask: Mask) -> Bool[Tensor, "batch pos"]:
    """Which tokens are sinks when nothing steers the model: one forward pass, without logits.

    It may be called while a forward pass runs: no hook of that pass sees this one. What is found is
    remembered until the weights change, so that a row is read once, whatever it is needed for.
    Rows without a real token have no sinks.

    Args:
        model: The model.
        tokens: Rows of tokens, padded on either side.
        mask: False at padding.

    Example:
        >>> tokens, mask = pad(model, [encode_prompt(model, "Once upon a time")])
        >>> clean_sinks(model, tokens, mask).nonzero()
    """
    rows = [tuple(row[real].tolist()) for row, real in zip(tokens.cpu(), mask.cpu(), strict=True)]
    with all_hooks_at_rest(last_modules(model)):
        known = _found_before(model)
        new = {ids: i for i, ids in enumerate(rows) if ids and ids not in known}
        if new:
            chosen = torch.tensor(list(new.values()), device=mask.device)
            known |= dict(zip(new, _read_sinks(model, tokens[chosen], mask[chosen]), strict=True))
    found = torch.zeros_like(mask)
    for i, ids in enumerate(rows):
        columns = mask[i].nonzero()[:, 0]
        found[i, columns[list(known.get(ids, ()))]] = True
    return found


def _found_before(model: SteerableModel) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Sinks of rows that were read with these weights."""
    seen = attach(model)
    before, known = _remembered.get(model, (None, {}))
    if before is not seen or len(known) > _ROWS:
        known = {}
        _remembered[model] = seen, known
    return known


def _read_sinks(model: SteerableModel, tokens: Tokens, mask: Mask) -> list[tuple[int, ...]]:
    """The sinks of each row, counted from its first real token."""
    columns = mask.any(dim=0)
    tokens, mask = tokens[:, columns], mask[:, columns]
    sites = [Site(layer) for layer in range(model.cfg.n_layers)]
    with torch.no_grad():
        held = read(model, tokens, mask, dict.fromkeys(sites, _norms))
    norms = torch.stack([held[site].to(mask.device) for site in sites], dim=2)
    found = sink_positions(norms, mask)
    return [
        tuple(sinks[real].nonzero()[:, 0].tolist())
        for sinks, real in zip(found.cpu(), mask.cpu(), strict=True)
    ]


def _norms(x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos"]:
    return x.detach().float().norm(dim=2)
