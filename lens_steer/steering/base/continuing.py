"""Rows of tokens continued under many methods at once, with the unsteered model's view if asked."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.axes import Mask, Tokens
from lens_steer.models import (
    Decoder,
    OpenBlock,
    SharedPrefixDecoder,
    SteerableModel,
    UncachedDecoder,
    batches,
    decode_budget,
    looked_at,
    open_blocks,
    pad,
)
from lens_steer.steering.base.decode_loop import Batch, Ending, StepCallback
from lens_steer.steering.base.decoding import Decoding
from lens_steer.steering.base.finite import NotFinite, not_finite
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.scope import Scope
from lens_steer.steering.base.steered_block import steered

Methods = tuple[Intervention, ...]  # that steer one text together; (): the model as it is


def continuations(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    *methods: Intervention,
    decoding: Decoding,
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
) -> list[list[int]]:
    """The tokens that follow each row, end-of-sequence left out; other arguments as `generate`.

    The tokens of a stop string are among them, as they were drawn: `decode_continuation` leaves
    them out.

    Raises:
        NotFinite: If logits are NaN or infinite; layer, dtype and methods are named.
    """
    [new_tokens] = continuations_of_each(
        model,
        rows,
        [methods],
        decoding,
        token_budget=token_budget,
        first_row=first_row,
        use_cache=use_cache,
        progress=progress,
    )
    return new_tokens


def continuations_of_each(  # noqa: PLR0913 - as continuations
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Methods],
    decoding: Decoding,
    *,
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
    on_step: StepCallback | None = None,
    failures: dict[int, str] | None = None,
) -> list[list[list[int]]]:
    """For each of `methods` what `continuations` gives, many to a batch.

    A prompt has the same random draws under all methods.

    Args:
        methods: Each steers its own copy of the rows; () is the model as it is.
        token_budget: Tokens of a batch, of all copies together.
        on_step: Called with every `DecodeStep`, which also has what the unsteered model says after
            the same text; text i of method k has the number k * len(rows) + i.
        failures: Is given, by their numbers, the texts that break off because steering makes their
            logits NaN or infinite, and why. None: that is an error.

    Raises:
        NotFinite: If logits are NaN or infinite, and `failures` is None or the model is so without
            steering too.
    """
    _check_reached(decoding.scope, max(len(row) for row in rows) + decoding.max_new_tokens - 1)
    steers = any(method.strength != 0 for together in methods for method in together)
    clean_copy = on_step is not None and steers  # an unsteered row is its own clean copy
    budget = max(1, (token_budget or decode_budget(model)) // (1 + clean_copy))
    sizes = [len(row) + decoding.max_new_tokens for row in rows]
    methods_at_once = max(1, budget // sum(sizes))
    new_tokens: list[list[list[int]]] = [[[] for _ in rows] for _ in methods]
    with tqdm(total=len(methods) * len(rows), desc="generate", disable=not progress) as bar:
        for start in range(0, len(methods), methods_at_once):
            part = range(len(methods))[start : start + methods_at_once]
            for batch in batches([size * len(part) for size in sizes], budget):
                texts = [(k, i) for k in part for i in batch]
                numbers = [k * len(rows) + i for k, i in texts]
                copies = MethodCopies(
                    model,
                    rows,
                    batch,
                    [methods[k] for k in part],
                    decoding,
                    clean_copy,
                    first_row=first_row,
                    use_cache=use_cache,
                )
                watch = None if on_step is None else _numbered(on_step, torch.tensor(numbers))
                new, broken = copies.decode(watch, strict=failures is None)
                if failures is not None:
                    failures |= {numbers[row]: reason for row, reason in broken.items()}
                for (k, i), text in zip(texts, new, strict=True):
                    new_tokens[k][i] = text
                bar.update(len(texts))
    return new_tokens


def _check_reached(scope: Scope, longest: int) -> None:
    """Check that explicit positions can come to pass; the last token drawn is never read.

    Raises:
        ValueError: If none can.
    """
    if not isinstance(scope, str) and min(scope) >= longest:
        raise ValueError(
            f"scope {tuple(scope)} steers nothing: the longest prompt and its continuation have "
            f"{longest} tokens that are read, at positions 0 to {longest - 1}"
        )


def _numbered(on_step: StepCallback, numbers: Int[Tensor, " text"]) -> StepCallback:
    return lambda step: on_step(replace(step, text_index=numbers[step.text_index]))


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
        clean_first = any(method.needs_prompt for own in self.methods for method in own)
        late = self.decoding.scope in ("last", "generated")
        shared = late and not clean_first and not open_blocks(model)
        if shared and len(copies) > len(tokens) and int(mask.sum(dim=1).min()) > 1:
            return SharedPrefixDecoder(model, tokens, mask, copies)
        return Decoder(model, tokens[copies], mask[copies])

    def _steer(self, stack: ExitStack) -> tuple[OpenBlock, ...]:
        """Steer each copy by its own; all that steers now, blocks around this call included."""
        _, mask, copies = self._padded
        owner = torch.arange(len(self.methods)).repeat_interleave(len(self.batch))
        if self.clean_copy:
            owner = torch.cat([owner, torch.full_like(owner, -1)])
        lengths = mask.sum(dim=1)[copies]
        for k, own in enumerate(self.methods):
            if own:
                scope, rows = self.decoding.scope, owner == k
                block = steered(self.model, *own, scope=scope, prompt_lengths=lengths, rows=rows)
                stack.enter_context(block)
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
