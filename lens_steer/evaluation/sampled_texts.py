"""Texts as they were sampled, and the logits that each of their tokens is drawn from."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.arguments import CountFromZero
from lens_steer.artifacts import savable
from lens_steer.models import (
    Encoded,
    SteerableModel,
    batches,
    continuation_places,
    logits_at,
    looked_at,
    pad,
)
from lens_steer.reports import short_repr
from lens_steer.steering import (
    Decoding,
    Ending,
    Methods,
    Scope,
    is_distribution,
    not_finite,
    steered,
)

_LOGITS_AT_ONCE = 2**27  # float32 numbers of one batch: half a gigabyte
_TOKENS_AT_ONCE = 2**12  # of a batch
_LONGER, _FEW = 1.2, 8  # a batch has little padding, unless it would have few rows


@savable
@dataclass(frozen=True)
class SampledText(Encoded):
    """A text as it was sampled.

    Attributes:
        ended: Whether a token that ends a text was drawn after `ids`. If not, the text was cut off,
            or stopped by a string, whose tokens are among `ids`.
    """

    ended: bool = False

    __repr__ = short_repr

    @property
    def draws(self) -> int:
        """How often a token was drawn, the end included."""
        return len(self.ids) - self.prompt_length + self.ended


def as_sampled_texts(
    rows: Sequence[Sequence[int]],
    new_tokens: Sequence[Sequence[int]],
    max_new_tokens: CountFromZero,
    ending: Ending | None = None,
) -> list[SampledText]:
    """Prompts with what was generated after them.

    Args:
        rows: The tokens of each prompt.
        new_tokens: The tokens that were generated after each.
        max_new_tokens: A text of so many new tokens was cut off.
        ending: What ends a text; None if there are no stop strings.
    """
    return [
        SampledText(
            (*row, *new),
            len(row),
            ended=len(new) < max_new_tokens and not (ending and ending.stops(row, new)),
        )
        for row, new in zip(rows, new_tokens, strict=True)
    ]


def penalised_draws(
    decoding: Decoding, logits: Float[Tensor, "draw vocab"], texts: Sequence[SampledText]
) -> Float[Tensor, "draw vocab"]:
    """The logits of `draw_logits`, each penalised by the tokens of its text before it."""
    if not decoding.reads_rows:
        return logits
    rows = [text.ids[: text.prompt_length + k] for text in texts for k in range(text.draws)]
    return decoding.penalised(logits, rows)


def draw_logits(
    model: SteerableModel,
    texts: Sequence[Encoded],
    methods: Sequence[Methods],
    scope: Scope,
    *,
    strict: bool = True,
    numbers: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "draw vocab"], Int[Tensor, " draw"]]:
    """The logits that each token of each text is drawn from, one text after another.

    Args:
        texts: Run teacher-forced: nothing is drawn.
        methods: What steers each text.
        scope: Where they steer.
        strict: False leaves logits that are NaN or infinite as they are.
        numbers: What errors call each text; None: 0, 1, ...

    Returns:
        The logits, and the number of the text that each row of them belongs to.

    Raises:
        NotFinite: If logits are NaN or infinite; layer, dtype and methods are named.
    """
    tokens, mask = pad(model, [text.ids for text in texts])
    lengths = [text.prompt_length for text in texts]
    row_of, column_of = draws_of(texts)

    def run(
        with_steering: bool, inside: AbstractContextManager[None]
    ) -> Float[Tensor, "draw vocab"]:
        active = methods if with_steering else [()] * len(methods)
        steering = steered_by_row(model, active, lengths, scope)
        with looked_at(model), torch.no_grad(), steering, inside:
            return logits_at(model, tokens, mask, row_of, column_of).float()

    logits = run(True, nullcontext())
    finite = is_distribution(logits)
    if strict and not bool(finite.all()):
        row = int(row_of[int((~finite).nonzero()[0])])
        draws = (row_of == row).nonzero()[:, 0].to(logits.device)
        raise not_finite(
            model,
            lambda *how: run(*how)[draws],
            lambda x: x[row][mask[row]],
            methods[row],
            f"text {row if numbers is None else numbers[row]}",
        )
    return logits, row_of


def draws_of(texts: Sequence[Encoded]) -> tuple[Int[Tensor, " draw"], Int[Tensor, " draw"]]:
    """(row, column) of every position from which a token is drawn, rows padded on the right.

    A row's first token is not drawn: it has nothing before it.
    """
    rows, columns = continuation_places([_with_end(text) for text in texts])
    return rows, columns - 1


def _with_end(text: Encoded) -> Encoded:
    """The text with one more token, whichever, where its end was drawn."""
    ended = isinstance(text, SampledText) and text.ended
    return Encoded((*text.ids, 0), text.prompt_length) if ended else text


@contextmanager
def steered_by_row(
    model: SteerableModel,
    methods: Sequence[Methods],
    lengths: Sequence[int],
    scope: Scope,
) -> Iterator[None]:
    """While it lasts, row i of the batch is steered by `methods[i]`."""
    with ExitStack() as stack:
        # By identity: a method of the user's own may have no hash.
        keys = [tuple(map(id, of_row)) for of_row in methods]
        for key, combination in dict(zip(keys, methods, strict=True)).items():
            if not combination:
                continue
            rows = [of_row == key for of_row in keys]
            block = steered(model, *combination, scope=scope, prompt_lengths=lengths, rows=rows)
            stack.enter_context(block)
        yield


def even_batches(model: SteerableModel, lengths: Sequence[int]) -> Iterator[list[int]]:
    """Batches of rows of about one length, as large as all their logits may be kept in memory."""
    budget = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // int(model.cfg.d_vocab)))
    for batch in batches(lengths, budget):
        start = 0
        for end, i in enumerate(batch):
            if end - start >= _FEW and lengths[i] > _LONGER * lengths[batch[start]]:
                yield batch[start:end]
                start = end
        yield batch[start:]
