"""Rows of tokens continued under many methods at once, the clean model beside them if asked."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer._axes import Mask, Tokens
from lens_steer.models import (
    Decoder,
    Recomputer,
    Resumed,
    SteerableModel,
    attach,
    decode_budget,
    open_blocks,
)
from lens_steer.steering.base._decode import Batch, Look
from lens_steer.steering.base._intervention import Intervention
from lens_steer.steering.base._sampling import Sampling
from lens_steer.steering.base._scope import Scope
from lens_steer.steering.base._steered import steered
from lens_steer.tokens import batches, eos_id, pad

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
    """The tokens that follow each row, end-of-sequence left out; arguments as `generate`."""
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
    look: Look | None = None,
) -> list[list[list[int]]]:
    """For each of `methods` what `continuations` gives, many to a batch.

    A prompt has the same random draws under all.

    Args:
        methods: Each steers its own copy of the rows; () is the model as it is.
        token_budget: Tokens of a batch, of all copies together.
        look: Shown every draw, beside what the clean model says after the same text; text i of
            method k has the number k * len(rows) + i.
    """
    how = Decoding(sampling, max_new_tokens, scope, first_row, use_cache)
    _check_reached(scope, max(len(row) for row in rows) + max_new_tokens - 1)
    pushing = any(method.strength != 0 for own in methods for method in own)
    beside = look is not None and pushing  # an unsteered row is its own clean copy
    budget = max(1, (token_budget or decode_budget(model)) // (1 + beside))
    together = max(1, budget // sum(len(row) + how.max_new_tokens for row in rows))
    found: list[list[list[int]]] = [[[] for _ in rows] for _ in methods]
    with tqdm(total=len(methods) * len(rows), desc="generate", disable=not progress) as bar:
        for start in range(0, len(methods), together):
            part = range(len(methods))[start : start + together]
            sizes = [(len(row) + how.max_new_tokens) * len(part) for row in rows]
            for batch in batches(sizes, budget):
                texts = [(k, i) for k in part for i in batch]
                of = torch.tensor([k * len(rows) + i for k, i in texts])
                seen = None if look is None else _numbered(look, of)
                own = [methods[k] for k in part]
                new = _side_by_side(model, rows, batch, own, how, beside=beside, look=seen)
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


def _numbered(look: Look, of: Int[Tensor, " text"]) -> Look:
    return lambda draws: look(replace(draws, of=of[draws.of]))


def _side_by_side(  # noqa: PLR0913 - what a batch is
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    batch: Sequence[int],
    methods: Sequence[Methods],
    how: Decoding,
    *,
    beside: bool,
    look: Look | None,
) -> list[list[int]]:
    """Some rows under the first of the methods, then under the second, and so on.

    Args:
        beside: Whether each text has a second row that nothing steers.
    """
    tokens, mask = pad(model, [rows[i] for i in batch], left=True)
    owner = torch.arange(len(methods)).repeat_interleave(len(batch))
    if beside:
        owner = torch.cat([owner, torch.full_like(owner, -1)])
    copies = torch.arange(len(batch)).repeat(len(owner) // len(batch)).to(mask.device)
    generators = [how.sampling.generator(how.first_row + i) for _ in methods for i in batch]
    lengths = mask.sum(dim=1)[copies]
    attach(model)
    with torch.no_grad(), ExitStack() as stack:
        decoder = _decoder(model, tokens, mask, copies, methods, how)
        for k, own in enumerate(methods):
            if own:
                mine = owner == k
                block = steered(model, *own, scope=how.scope, prompt_lengths=lengths, rows=mine)
                stack.enter_context(block)
        blocks = open_blocks(model)  # this call's, and those around it
        for block in blocks:
            stack.enter_context(block.generation())
        decoding = Batch(decoder, blocks, generators, look)
        return decoding.decode(how.sampling, eos_id(model), how.max_new_tokens)


def _decoder(  # noqa: PLR0913 - what a batch is
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask,
    copies: Int[Tensor, " copy"],
    methods: Sequence[Methods],
    how: Decoding,
) -> Decoder | Recomputer | Resumed:
    """Copies of the rows; where nothing is steered before the last prompt token, read once."""
    if not how.use_cache:
        return Recomputer(model, tokens[copies], mask[copies])
    clean_first = any(method.needs_prompt for own in methods for method in own)
    alike = how.scope in ("last", "generated") and not clean_first and not open_blocks(model)
    if alike and len(copies) > len(tokens) and int(mask.sum(dim=1).min()) > 1:
        return Resumed(model, tokens, mask, copies)
    return Decoder(model, tokens[copies], mask[copies])
