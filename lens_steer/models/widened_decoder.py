"""Rows that are run once as far as some block, and from that block on once for every copy.

Where copies of a row differ only behind a block, such as one text under many steering methods that
all act late, what comes before that block is the same for all of them.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Count, Layer
from lens_steer.axes import Mask, Tokens
from lens_steer.models.agreement import has_hooks
from lens_steer.models.decoders import Decoder, continues_tokens_together
from lens_steer.models.hooks import placed_hooks
from lens_steer.models.protocol import SteerableModel, is_bridge

_Call = tuple[tuple[Any, ...], dict[str, Any]]


class WidenedDecoder(Decoder):
    """A batch of left-padded rows, of which the blocks from `layer` on hold several copies.

    The copies are rows of the activations that these blocks compute, and of the logits: all rows of
    the first copy, then those of the second, and so on. Tokens and rows are given for one copy.
    Prompts are read once, without their last token (`read_prompts`), which `start` runs then: rows
    may be made to differ from there on. Ask `can_widen` first.

    Args:
        model: The model.
        tokens: The prompts, of at least two columns.
        mask: False at padding.
        layer: The first block that holds copies.
        copies: How many.
    """

    def __init__(
        self, model: SteerableModel, tokens: Tokens, mask: Mask, layer: Layer, copies: Count
    ) -> None:
        super().__init__(model, tokens[:, :-1], mask[:, :-1])
        self._last, self._layer, self._copies = tokens[:, -1:], layer, copies

    def read_prompts(self) -> None:
        """Read the prompts without their last token, one copy of them in every block."""
        super().start()
        rows = torch.arange(len(self._last), device=self._last.device)
        self._select(rows, rows.repeat(self._copies))

    @override
    def start(self) -> Float[Tensor, "copy vocab"]:
        """Run the last token of the prompts, which have been read, for every copy."""
        return self.advance(self._last)

    @override
    def advance(self, tokens: Tokens, mask: Mask | None = None) -> Float[Tensor, "copy vocab"]:
        """Append a token to each row, in every copy of it; returns the logits of every copy."""
        new = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        with placed_hooks() as hooks:
            for block in self._model.blocks[self._layer :]:
                hooks.before(block, partial(_widened_call, len(tokens), self._copies))
            return self._continued(tokens, new, 1)[:, -1]

    @override
    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        held = len(self._mask) * torch.arange(self._copies, device=rows.device)
        self._mask = self._mask[rows]
        self._select(rows, (rows + held[:, None]).flatten())

    def _select(self, rows: Int[Tensor, " row"], widened: Int[Tensor, " copy"]) -> None:
        """Keep some rows of the keys and values of blocks with one copy, and of the others."""
        if is_bridge(self._model):
            for i, layer in enumerate(self._cache.layers):
                kept = rows if i < self._layer else widened
                layer.keys, layer.values = layer.keys[kept], layer.values[kept]
            return
        cache = self._cache
        cache.previous_attention_mask = cache.previous_attention_mask[rows]
        for i, entry in enumerate(cache.entries):
            kept = rows if i < self._layer else widened
            entry.past_keys, entry.past_values = entry.past_keys[kept], entry.past_values[kept]


def can_widen(model: SteerableModel, tokens: Tokens, mask: Mask) -> bool:
    """Whether `WidenedDecoder` gives what a model gives for copies of these rows.

    Not where blocks keep a state, or are given tensors that are not laid out by rows (as those of
    ALiBi), and not beside hooks of the user's own, which would see other numbers of rows.

    Args:
        model: The model.
        tokens: The rows; two of them are run as far as two columns.
        mask: False at padding.
    """
    if has_hooks(model) or not continues_tokens_together(model) or len(model.blocks) < 2:
        return False
    several = 5  # a number that hardly another axis has
    calls: list[_Call] = []
    row = int(mask.sum(dim=1).argmax())
    like = [row] * several
    decoder = Decoder(model, tokens[like, -2:], mask[like, -2:])
    with placed_hooks() as hooks:
        for block in model.blocks:
            hooks.before(block, partial(_noted, calls))
        decoder.start()
    sizes = {len(x) for call in calls for x in _tensors(call)}
    return bool(calls) and sizes <= {1, several}


def _noted(calls: list[_Call], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    calls.append((args, options))


def _tensors(value: Any) -> list[Tensor]:
    """The tensors of several axes in what a block is called with."""
    if isinstance(value, Tensor):
        return [value] if value.ndim > 1 else []
    if isinstance(value, dict):
        return _tensors(tuple(value.values()))
    if isinstance(value, tuple | list):
        return [x for part in value for x in _tensors(part)]
    return []


def _widened_call(rows: int, copies: int, args: tuple[Any, ...], options: dict[str, Any]) -> _Call:
    """What a block is called with: a copy of every row of whatever has one for each row."""
    widen = partial(_widened, rows, copies)
    return tuple(map(widen, args)), {name: widen(value) for name, value in options.items()}


def _widened(rows: int, copies: int, value: Any) -> Any:
    if isinstance(value, Tensor):
        apart = value.ndim > 1 and len(value) == rows
        return value.repeat(copies, *[1] * (value.ndim - 1)) if apart else value
    if isinstance(value, tuple):
        return tuple(_widened(rows, copies, part) for part in value)
    return value
