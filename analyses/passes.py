"""Ways to run the same rows through a model: in one batch, or over a key-value cache."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from lens_steer.models import Decoder, forward, pad


def padded(
    model: ls.SteerableModel, rows: Sequence[Sequence[int]], *, left: bool
) -> list[Float[Tensor, "_ vocab"]]:
    """Logits of all rows in one batch, those at padding left out."""
    tokens, mask = pad(model, rows, left=left)
    with torch.no_grad():
        batch = forward(model, tokens, mask)
    return [row[real] for row, real in zip(batch, mask, strict=True)]


def over_a_cache(
    model: ls.SteerableModel, rows: Sequence[Sequence[int]], steps: int
) -> list[Float[Tensor, "step vocab"]]:
    """Logits after all but the last tokens of each row, and after each of those, one by one."""
    tokens, mask = pad(model, [row[:-steps] for row in rows], left=True)
    with torch.no_grad():
        decoder = Decoder(model, tokens, mask)
        found = [decoder.start()]
        for i in range(-steps, 0):
            found.append(decoder.advance(torch.tensor([[row[i]] for row in rows])))
    return list(torch.stack(found, dim=1))
