"""Continuing prompts while steering: one decode loop, a random generator per row."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer._axes import Mask, Tokens
from lens_steer.models import Decoder, Recomputer, Resumed, SteerableModel, attach, decode_budget
from lens_steer.steering.base._decode import Batch
from lens_steer.steering.base._intervention import Intervention
from lens_steer.steering.base._sampling import Sampling
from lens_steer.steering.base._scope import Scope
from lens_steer.steering.base._steered import steered
from lens_steer.tokens import (
    Prompt,
    as_prompt,
    batches,
    check_fits,
    decode_continuation,
    encode_prompt,
    eos_id,
    pad,
    render,
)


def generate(  # noqa: PLR0913 - each is a knob of decoding that users know
    model: SteerableModel,
    prompts: Sequence[Prompt | Sequence[Any]],
    *methods: Intervention,
    max_new_tokens: int = 40,
    temperature: float | int = 1.0,
    top_p: float | int = 1.0,
    seed: int | None = None,
    scope: Scope = "last",
    token_budget: int | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
) -> list[str]:
    """Continue prompts, steered by `methods` if any are given.

    Prompts of different lengths are batched; a row's text does not depend on its batch.

    Args:
        prompts: Texts, or chats (lists of messages).
        max_new_tokens: At most; a row ends earlier at the end-of-sequence token.
        temperature: 0 is greedy, 1 samples the model as it is.
        top_p: Share of the probability that is sampled from.
        seed: Needed unless greedy; row i draws from a generator seeded by (seed, i).
        scope: Where to steer, see `steered`.
        token_budget: Tokens of a batch, prompts and continuations together; only speed and memory
            depend on it. None: as many as have their keys and values in a gigabyte.
        first_row: Number of the first row, to continue a list in parts.
        use_cache: False recomputes everything for each token: slow, the same text.

    Returns:
        The continuations only, a leading space kept.

    Raises:
        ValueError: If there are no prompts, one has no tokens or does not fit the context with what
            is to be generated, sampling has no seed, or a method does not fit the model.
    """
    sampling = Sampling(temperature, top_p, seed)
    rows = prompt_rows(model, prompts, max_new_tokens)
    found = continuations(
        model,
        rows,
        *methods,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        first_row=first_row,
        use_cache=use_cache,
        progress=progress,
    )
    return [decode_continuation(model, row, new) for row, new in zip(rows, found, strict=True)]


def prompt_rows(
    model: SteerableModel, prompts: Sequence[Prompt | Sequence[Any]], max_new_tokens: int
) -> list[list[int]]:
    """The tokens of each prompt, checked against the context.

    Raises:
        ValueError: As `generate`.
    """
    if isinstance(prompts, str):
        raise ValueError(f"got one text {prompts!r}, expected a list of prompts: write [prompt]")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens}: expected at least 1")
    given = [as_prompt(prompt) for prompt in prompts]
    if not given:
        raise ValueError("no prompts: expected at least one")
    rows = [encode_prompt(model, prompt) for prompt in given]
    for row, prompt in zip(rows, given, strict=True):
        if not row:
            raise ValueError(
                "an empty prompt, and this model has no beginning-of-sequence token: give it a word"
            )
        check_fits(model, len(row) + max_new_tokens, render(model, prompt))
    return rows


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
    found: dict[int, list[int]] = {}
    with tqdm(total=len(rows), desc="generate", disable=not progress) as bar:
        budget = token_budget or decode_budget(model)
        for batch in batches([len(row) + max_new_tokens for row in rows], budget):
            tokens, mask = pad(model, [rows[i] for i in batch], left=True)
            generators = [sampling.generator(first_row + i) for i in batch]
            lengths = mask.sum(dim=1)
            with attach(model).lock, torch.no_grad(), ExitStack() as stack:
                if methods:
                    block = steered(model, *methods, scope=scope, prompt_lengths=lengths)
                    stack.enter_context(block)
                decoder = (Decoder if use_cache else Recomputer)(model, tokens, mask)
                new = _decoded(model, decoder, generators, sampling, max_new_tokens)
            found |= zip(batch, new, strict=True)
            bar.update(len(batch))
    return [found[i] for i in range(len(rows))]


def continuations_of_each(  # noqa: PLR0913 - as continuations
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Intervention | None],
    *,
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope = "last",
    token_budget: int | None = None,
    progress: bool = False,
) -> list[list[list[int]]]:
    """For each method (None: unsteered) what `continuations` gives, many methods to a batch.

    A prompt has the same random draws under every method.

    Args:
        methods: Each steers its own copy of the rows, alone.
        token_budget: Tokens of a batch, of all copies together.
    """
    each = sum(len(row) + max_new_tokens for row in rows)
    budget = token_budget or decode_budget(model)
    together = max(1, budget // each)  # methods whose rows fit one batch
    found: list[list[list[int]]] = []
    with tqdm(total=len(methods), desc="generate", disable=not progress) as bar:
        for start in range(0, len(methods), together):
            part = methods[start : start + together]
            found += _side_by_side(model, rows, part, sampling, max_new_tokens, scope, budget)
            bar.update(len(part))
    return found


def _side_by_side(  # noqa: PLR0913 - as continuations
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Intervention | None],
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope,
    token_budget: int,
) -> list[list[list[int]]]:
    """Every row under every method; a batch holds all copies of its rows, copy k the k-th's."""
    found: list[list[list[int]]] = [[[]] * len(rows) for _ in methods]
    sizes = [(len(row) + max_new_tokens) * len(methods) for row in rows]
    for batch in batches(sizes, token_budget):
        tokens, mask = pad(model, [rows[i] for i in batch], left=True)
        copies = torch.arange(len(batch)).repeat(len(methods))
        owner = torch.arange(len(methods)).repeat_interleave(len(batch))
        generators = [sampling.generator(batch[i]) for i in copies.tolist()]
        lengths = mask.sum(dim=1)[copies.to(mask.device)]
        with attach(model).lock, torch.no_grad(), ExitStack() as stack:
            decoder = _copied(model, tokens, mask, copies.to(tokens.device), methods, scope)
            for k, method in enumerate(methods):
                if method is not None:
                    own = owner == k
                    block = steered(model, method, scope=scope, prompt_lengths=lengths, rows=own)
                    stack.enter_context(block)
            new = _decoded(model, decoder, generators, sampling, max_new_tokens)
        for k, i, text in zip(owner.tolist(), copies.tolist(), new, strict=True):
            found[k][batch[i]] = text
    return found


def _copied(  # noqa: PLR0913 - as continuations
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask,
    copies: Int[Tensor, " copy"],
    methods: Sequence[Intervention | None],
    scope: Scope,
) -> Decoder | Resumed:
    """Copies of the rows; where nothing is steered before the last prompt token, read once."""
    clean_first = any(m is not None and _prepares(m) for m in methods)
    alike = scope in ("last", "generated") and not clean_first and not attach(model).sessions
    if alike and int(mask.sum(dim=1).min()) > 1:
        return Resumed(model, tokens, mask, copies)
    return Decoder(model, tokens[copies], mask[copies])


def _prepares(method: Intervention) -> bool:
    return type(method).prepare is not Intervention.prepare


def _decoded(
    model: SteerableModel,
    decoder: Decoder | Recomputer | Resumed,
    generators: Sequence[torch.Generator],
    sampling: Sampling,
    max_new_tokens: int,
) -> list[list[int]]:
    """One batch, under the steered blocks that are open."""
    with ExitStack() as stack:
        sessions = attach(model).sessions  # this call's, and those around it
        for session in sessions:
            stack.enter_context(session.generation())
        return Batch(decoder, sessions, generators).decode(sampling, eos_id(model), max_new_tokens)
