"""One batch of rows under many methods: a copy of every row for each, and a clean one if asked."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models import (
    Decoder,
    OpenBlock,
    SharedPrefixDecoder,
    SteerableModel,
    UncachedDecoder,
    looked_at,
    open_blocks,
    pad,
)
from lens_steer.steering.base.decode_loop import Batch, Ending, StepCallback
from lens_steer.steering.base.decoding import Decoding
from lens_steer.steering.base.finite import NotFinite, not_finite
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.steered_block import steered

Methods = tuple[Intervention, ...]  # that steer one text together; (): the model as it is


@dataclass(frozen=True, eq=False)
class MethodCopies:
    """Some rows under the first of the methods, then under the second, and so on: one batch.

    Attributes:
        batch: Which of the rows.
        clean_copy: Whether each text has a second row that nothing steers.
        first_row: Number of row 0, for its random generator.
        use_cache: False recomputes everything for each token.
    """

    model: SteerableModel
    rows: Sequence[Sequence[int]]
    batch: Sequence[int]
    methods: Sequence[Methods]
    decoding: Decoding
    clean_copy: bool
    first_row: int = 0
    use_cache: bool = True

    def decode(
        self, on_step: StepCallback | None, *, strict: bool
    ) -> tuple[list[list[int]], dict[int, str]]:
        """The new tokens of every text, and why some break off: steering breaks their logits.

        Raises:
            NotFinite: If logits break and `strict`, or without steering too.
        """
        decoding = self.decoding
        generators = [decoding.generator(self.first_row + i) for _, i in self._texts]
        prompts = [self.rows[i] for _, i in self._texts]
        ending = Ending.of(self.model, decoding.stop)
        with looked_at(self.model), torch.no_grad(), ExitStack() as stack:
            decoder = self._decoder()
            blocks = self._steer(stack)
            batch = Batch(decoder, blocks, generators, on_step, strict=strict)
            new = batch.decode(decoding, ending, prompts)
        reasons: dict[int, str] = {}  # by method: one text of each is looked into
        for row in batch.broken:
            k, _ = self._texts[row]
            if k not in reasons:
                error = self._explained(row, new[row])
                if strict or error.anyway:
                    raise error
                reasons[k] = str(error)
        return new, {row: reasons[self._texts[row][0]] for row in batch.broken}

    @property
    def _texts(self) -> list[tuple[int, int]]:
        """Method and row of each text."""
        return [(k, i) for k in range(len(self.methods)) for i in self.batch]

    @cached_property
    def _padded(self) -> tuple[Tokens, Mask, Int[Tensor, " copy"]]:
        """The rows, and which of them each row of the batch is a copy of."""
        tokens, mask = pad(self.model, [self.rows[i] for i in self.batch], left=True)
        copies = torch.arange(len(self.batch)).repeat(len(self.methods) * (1 + self.clean_copy))
        return tokens, mask, copies.to(mask.device)

    def _decoder(self) -> Decoder | UncachedDecoder | SharedPrefixDecoder:
        """Of all copies; rows are read once where nothing is steered before their last token."""
        model, (tokens, mask, copies) = self.model, self._padded
        if not self.use_cache:
            return UncachedDecoder(model, tokens[copies], mask[copies])
        clean_first = any(method.needs_prompt for together in self.methods for method in together)
        late = self.decoding.scope in ("last", "generated")
        shared = late and not clean_first and not open_blocks(model)
        if shared and len(copies) > len(tokens) and int(mask.sum(dim=1).min()) > 1:
            return SharedPrefixDecoder(model, tokens, mask, copies)
        return Decoder(model, tokens[copies], mask[copies])

    def _steer(self, stack: ExitStack) -> tuple[OpenBlock, ...]:
        """Steer each copy by its methods; all that steers now, blocks around this call included."""
        _, mask, copies = self._padded
        owner = torch.arange(len(self.methods)).repeat_interleave(len(self.batch))
        if self.clean_copy:
            owner = torch.cat([owner, torch.full_like(owner, -1)])
        lengths = mask.sum(dim=1)[copies]
        for k, together in enumerate(self.methods):
            if together:
                scope, rows = self.decoding.steered_scope, owner == k
                stack.enter_context(
                    steered(self.model, *together, scope=scope, prompt_lengths=lengths, rows=rows)
                )
        blocks = open_blocks(self.model)
        for block in blocks:
            stack.enter_context(block.generation())
        return blocks

    def _explained(self, row: int, new: Sequence[int]) -> NotFinite:
        """Why a text's logits break after these tokens; every row is given them."""
        model, (tokens, mask, copies) = self.model, self._padded
        k, i = self._texts[row]
        length = len(self.rows[i])

        def run(
            with_steering: bool, inside: AbstractContextManager[None]
        ) -> Float[Tensor, " vocab"]:
            kind = Decoder if self.use_cache else UncachedDecoder
            with ExitStack() as stack:
                decoder = kind(model, tokens[copies], mask[copies])
                if with_steering:
                    self._steer(stack)
                stack.enter_context(inside)
                logits = decoder.start()
                if new:
                    same = torch.tensor([new], device=tokens.device)
                    logits = decoder.advance(same.repeat(len(copies), 1))
            return logits[row]

        def of_text(x: Float[Tensor, "batch chunk d"]) -> Float[Tensor, "real d"]:
            width = tokens.shape[1]
            return x[row, width - length if x.shape[1] >= width else 0 :]

        text = f"prompt {self.first_row + i}, {len(new)} tokens after it"
        return not_finite(model, run, of_text, self.methods[k], text)
