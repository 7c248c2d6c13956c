"""Rows of tokens continued under many methods at once, with the unsteered model's view if asked."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Count
from lens_steer.models import SteerableModel, batches, decode_budget
from lens_steer.steering.base.decode_loop import StepCallback
from lens_steer.steering.base.decoding import Decoding
from lens_steer.steering.base.intervention import Intervention
from lens_steer.steering.base.method_copies import MethodCopies, Methods
from lens_steer.steering.base.scope import Scope, WithSinks


def continuations(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    *methods: Intervention,
    decoding: Decoding,
    token_budget: Count | None = None,
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
    token_budget: Count | None = None,
    first_row: int = 0,
    use_cache: bool = True,
    progress: bool = False,
    on_step: StepCallback | None = None,
    with_clean: bool = True,
    failures: dict[int, str] | None = None,
) -> list[list[list[int]]]:
    """For each of `methods` what `continuations` gives, many to a batch.

    A prompt has the same random draws under all methods.

    Args:
        methods: Each steers its own copy of the rows; () is the model as it is.
        token_budget: Tokens of a batch, of all copies together.
        on_step: Called with every `DecodeStep`, which also has what the unsteered model says after
            the same text; text i of method k has the number k * len(rows) + i.
        with_clean: False leaves the unsteered model out of the steps, for callers that read their
            tokens alone: what they call clean are the steered logits, and nothing is run for them.
        failures: Is given, by their numbers, the texts that break off because steering makes their
            logits NaN or infinite, and why. None: that is an error.

    Raises:
        NotFinite: If logits are NaN or infinite, and `failures` is None or the model is so without
            steering too.
    """
    _check_reached(decoding.scope, max(len(row) for row in rows) + decoding.max_new_tokens - 1)
    steers = any(method.strength != 0 for together in methods for method in together)
    # an unsteered row is its own clean copy
    clean_copy = on_step is not None and with_clean and steers
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
    if not isinstance(scope, str | WithSinks) and min(scope) >= longest:
        raise ValueError(
            f"scope {tuple(scope)} steers nothing: the longest prompt and its continuation have "
            f"{longest} tokens that are read, at positions 0 to {longest - 1}"
        )


def _numbered(on_step: StepCallback, numbers: Int[Tensor, " text"]) -> StepCallback:
    return lambda step: on_step(replace(step, text_index=numbers[step.text_index]))
