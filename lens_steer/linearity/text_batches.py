"""Texts up to the token that is linearised at, in batches that leave room for many copies."""

from collections.abc import Iterator, Sequence

import torch

from lens_steer.activations import ReadPosition, span
from lens_steer.data import ContrastivePairs, Example
from lens_steer.models import (
    Encoded,
    SteerableModel,
    check_fits,
    encode,
    encode_prompt,
    input_device,
    is_bridge,
)

Texts = ContrastivePairs | Sequence[str] | Sequence[Example]
_LEAST = 16  # copies of a text's token that one batch has room for


def token_rows(model: SteerableModel, texts: Texts, read: ReadPosition) -> list[tuple[int, ...]]:
    """Each text's tokens, the last being the one that `capture` reads.

    Raises:
        ValueError: If there is no text, one is empty or too long, or `read` is no single token.
    """
    if isinstance(texts, str):
        raise ValueError(f"got one string, {texts[:40]!r}: expected a list of texts, [...]")
    if read == "mean":
        raise ValueError("read position 'mean': a block is linearised at one token; use 'last'")
    rows = []
    for text in texts.desired if isinstance(texts, ContrastivePairs) else texts:
        encoded = _encoded(model, text)
        if not encoded.ids:
            raise ValueError(f"the text {text!r} has no token: give it at least one")
        rows.append(encoded.ids[: span(encoded, read)[0] + 1])
    if not rows:
        raise ValueError("no texts: expected at least one to linearise at")
    return rows


def _encoded(model: SteerableModel, text: str | Example) -> Encoded:
    if isinstance(text, Example):
        return encode(model, text.prompt, text.continuation)
    ids = tuple(encode_prompt(model, text))
    check_fits(model, len(ids), text)
    return Encoded(ids, len(ids))


def name_of(texts: Texts) -> str:
    """What the texts are called in reports."""
    return texts.name if isinstance(texts, ContrastivePairs) else f"{len(texts)} texts"


def default_budget(model: SteerableModel) -> int:
    """Bytes for the copies of one batch: a processor's cache, or a small part of a GPU's memory."""
    return 2**30 if input_device(model).type == "cuda" else 3 * 2**24


def row_bytes(model: SteerableModel, length: int, *, light: bool) -> int:
    """Bytes of one copy of a text's token on its way back through a block.

    Args:
        length: Tokens of the text.
        light: Whether the copy has no keys and values of its own, see `FrozenContextBlocks`.
    """
    cfg = model.cfg
    width = next(iter(model.blocks[0].parameters())).element_size()
    attention = length * cfg.n_heads * (3 if light else 2 * cfg.d_head)
    return width * (attention + 4 * cfg.d_mlp + 8 * cfg.d_model)


def batched(
    model: SteerableModel, rows: Sequence[tuple[int, ...]], budget: int
) -> Iterator[list[int]]:
    """Indices of rows, similar lengths together, so many that several copies of each fit.

    In a float64 model only rows of one length go together, see `FrozenContextBlocks`.
    """
    alike = next(iter(model.blocks[0].parameters())).dtype is torch.float64
    light = is_bridge(model)  # or it turns out when they are run, see `BlockMaps.of_rows`
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (len(rows[i]), i)):
        full = _LEAST * (len(batch) + 1) * row_bytes(model, len(rows[i]), light=light) > budget
        if batch and (full or (alike and len(rows[i]) != len(rows[batch[0]]))):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
