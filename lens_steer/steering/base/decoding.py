"""Rows of tokens continued under many methods at once, the clean model beside them if asked."""

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
from lens_steer.steering.base.decode_steps import Batch, StepCallback
from lens_steer.steering.base.ending import Ending
from lens_steer.steering.base.finite import NotFinite, not_finite
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.sampling import Sampling
from lens_steer.steering.base.scope import Scope
from lens_steer.steering.base.steered_block import steered

Methods = tuple[Intervention, ...]  # what steers one text together; none: the model as it is


@dataclass(frozen=True)
class Decoding:
    """How rows are continued; as in `generate`.

    Attributes:
        use_cache: False recomputes everything for each token.
    """

    sampling: Sampling
    max_new_tokens: int
    scope: Scope = "last"
    first_row: int = 0
    use_cache: bool = True


def continuations(  # noqa: PLR0913 - as generate
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    *methods: Intervention,
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope = "last",
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
) -> list[list[int]]:
    """The tokens that follow each row, end-of-sequence left out; arguments as `generate`.

    Those of a stop string are among them: they were drawn. `decode_continuation` leaves it out.

    Raises:
        NotFinite: If logits are NaN or infinite; layer, dtype and methods are named.
    """
    [found] = continuations_of_each(
        *(model, rows, [methods]),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        first_row=first_row,
        use_cache=use_cache,
        progress=progress,
    )
    return found


def continuations_of_each(  # noqa: PLR0913 - as continuations
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Methods],
    *,
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope = "last",
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
    on_step: StepCallback | None = None,
    failures: dict[int, str] | None = None,
) -> list[list[list[int]]]:
    """For each of `methods` what `continuations` gives, many to a batch.

    A prompt has the same random draws under all.

    Args:
        methods: Each steers its own copy of the rows; () is the model as it is.
        token_budget: Tokens of a batch, of all copies together.
        look: Shown every draw, beside what the clean model says after the same text; text i of
            method k has the number k * len(rows) + i.
        failures: Is given, by their numbers, the texts that break off because steering makes their
            logits NaN or infinite, and why. None: that is an error.

    Raises:
        NotFinite: If logits are NaN or infinite, and `failures` is None or the model is so without
            steering too.
    """
    how = Decoding(sampling, max_new_tokens, scope, first_row, use_cache)
    _check_reached(scope, max(len(row) for row in rows) + max_new_tokens - 1)
    pushing = any(method.strength != 0 for own in methods for method in own)
    beside = on_step is not None and pushing  # an unsteered row is its own clean copy
    budget = max(1, (token_budget or decode_budget(model)) // (1 + beside))
    together = max(1, budget // sum(len(row) + how.max_new_tokens for row in rows))
    found: list[list[list[int]]] = [[[] for _ in rows] for _ in methods]
    with tqdm(total=len(methods) * len(rows), desc="generate", disable=not progress) as bar:
        for start in range(0, len(methods), together):
            part = range(len(methods))[start : start + together]
            sizes = [(len(row) + how.max_new_tokens) * len(part) for row in rows]
            for batch in batches(sizes, budget):
                texts = [(k, i) for k in part for i in batch]
                of = [k * len(rows) + i for k, i in texts]
                seen = None if on_step is None else _numbered(on_step, torch.tensor(of))
                own = [methods[k] for k in part]
                side = _SideBySide(model, rows, batch, own, how, beside)
                new, broken = side.decode(seen, strict=failures is None)
                if failures is not None:
                    failures |= {of[row]: reason for row, reason in broken.items()}
                for (k, i), text in zip(texts, new, strict=True):
                    found[k][i] = text
                bar.update(len(texts))
    return found


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


def _numbered(look: StepCallback, of: Int[Tensor, " text"]) -> StepCallback:
    return lambda draws: look(replace(draws, text_index=of[draws.text_index]))


@dataclass(frozen=True, eq=False)
class _SideBySide:
    """Some rows under the first of the methods, then under the second, and so on.

    Attributes:
        batch: Which of the rows.
        beside: Whether each text has a second row that nothing steers.
    """

    model: SteerableModel
    rows: Sequence[Sequence[int]]
    batch: Sequence[int]
    methods: Sequence[Methods]
    how: Decoding
    beside: bool

    def decode(
        self, look: StepCallback | None, *, strict: bool
    ) -> tuple[list[list[int]], dict[int, str]]:
        """The new tokens of every text, and why some break off: steering breaks their logits.

        Raises:
            NotFinite: If logits break and `strict`, or without steering too.
        """
        model, how = self.model, self.how
        tokens, mask, copies = self._padded
        generators = [how.sampling.generator(how.first_row + i) for _, i in self._texts]
        prompts = [self.rows[i] for _, i in self._texts]
        ending = Ending.of(model, how.sampling.stop)
        with looked_at(model), torch.no_grad(), ExitStack() as stack:
            decoder = _decoder(model, tokens, mask, copies, self.methods, how)
            blocks = self._steer(stack)
            decoding = Batch(decoder, blocks, generators, look, strict=strict)
            new = decoding.decode(how.sampling, ending, prompts, how.max_new_tokens)
        reasons: dict[int, str] = {}  # of each method: one text is looked into
        for row in decoding.broken:
            k, _ = self._texts[row]
            if k not in reasons:
                error = self._explained(row, new[row])
                if strict or error.anyway:
                    raise error
                reasons[k] = str(error)
        return new, {row: reasons[self._texts[row][0]] for row in decoding.broken}

    @property
    def _texts(self) -> list[tuple[int, int]]:
        """Method and row of each."""
        return [(k, i) for k in range(len(self.methods)) for i in self.batch]

    @cached_property
    def _padded(self) -> tuple[Tokens, Mask, Int[Tensor, " copy"]]:
        """The rows, and which of them each row of the batch is a copy of."""
        tokens, mask = pad(self.model, [self.rows[i] for i in self.batch], left=True)
        copies = torch.arange(len(self.batch)).repeat(len(self.methods) * (1 + self.beside))
        return tokens, mask, copies.to(mask.device)

    def _steer(self, stack: ExitStack) -> tuple[OpenBlock, ...]:
        """Steer each copy by its own; all that steers now, blocks around this call included."""
        _, mask, copies = self._padded
        owner = torch.arange(len(self.methods)).repeat_interleave(len(self.batch))
        if self.beside:
            owner = torch.cat([owner, torch.full_like(owner, -1)])
        lengths = mask.sum(dim=1)[copies]
        for k, own in enumerate(self.methods):
            if own:
                mine, scope = owner == k, self.how.scope
                block = steered(self.model, *own, scope=scope, prompt_lengths=lengths, rows=mine)
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
            kind = Decoder if self.how.use_cache else UncachedDecoder
            with ExitStack() as stack:
                decoder = kind(model, tokens[copies], mask[copies])
                if with_steering:
                    self._steer(stack)
                stack.enter_context(inside)
                logits = decoder.start()
                if new:
                    given = torch.tensor([new], device=tokens.device)
                    logits = decoder.advance(given.repeat(len(copies), 1))
            return logits[row]

        def look(x: Float[Tensor, "batch chunk d"]) -> Float[Tensor, "real d"]:
            width = tokens.shape[1]
            return x[row, width - length if x.shape[1] >= width else 0 :]

        text = f"prompt {self.how.first_row + i}, {len(new)} tokens after it"
        return not_finite(model, run, look, self.methods[k], text)


def _decoder(  # noqa: PLR0913 - what a batch is
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask,
    copies: Int[Tensor, " copy"],
    methods: Sequence[Methods],
    how: Decoding,
) -> Decoder | UncachedDecoder | SharedPrefixDecoder:
    """Copies of the rows; where nothing is steered before the last prompt token, read once."""
    if not how.use_cache:
        return UncachedDecoder(model, tokens[copies], mask[copies])
    clean_first = any(method.needs_prompt for own in methods for method in own)
    alike = how.scope in ("last", "generated") and not clean_first and not open_blocks(model)
    if alike and len(copies) > len(tokens) and int(mask.sum(dim=1).min()) > 1:
        return SharedPrefixDecoder(model, tokens, mask, copies)
    return Decoder(model, tokens[copies], mask[copies])
