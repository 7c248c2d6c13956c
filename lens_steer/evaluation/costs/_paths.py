"""What steering costs along texts: nats between steered and unsteered at every draw."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.evaluation.costs._divergence import kl_divergence
from lens_steer.models import SteerableModel, attach, forward
from lens_steer.steering.base import (
    Draws,
    Methods,
    Sampling,
    Scope,
    continuations_of_each,
    steered,
)
from lens_steer.tokens import Encoded, batches, eos_id, pad

_LOGITS_AT_ONCE = 2**27  # float32 numbers of one batch: half a gigabyte
_TOKENS_AT_ONCE, _LONGER, _FEW = 2**12, 1.2, 8  # of a batch: little padding, but not one by one


@dataclass(frozen=True)
class Written(Encoded):
    """A text as it was sampled.

    Attributes:
        ended: The end-of-sequence token was drawn after `ids`; else the text was cut off.
    """

    ended: bool = False

    @property
    def draws(self) -> int:
        """How often a token was drawn, the end included."""
        return len(self.ids) - self.prompt_length + self.ended


@dataclass(frozen=True, eq=False)
class Paths:
    """Nats along sampled texts, text by text; all float64 and on the CPU.

    Attributes:
        kl: Sum over a text's draws of KL(steered || unsteered), sampling distribution included:
            without bias the divergence of whole sequences, where the texts are the steered model's.
            NaN for greedy texts.
        draws: Tokens drawn, the end included.
        surprise: Minus the log-probability of the text's tokens under the unsteered model.
        tokens: How many they are; the end is not counted.
    """

    kl: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    surprise: Float[Tensor, " text"]
    tokens: Float[Tensor, " text"]

    def __getitem__(self, part: slice) -> "Paths":
        """Of some of the texts."""
        return Paths(self.kl[part], self.draws[part], self.surprise[part], self.tokens[part])

    @property
    def kl_per_token(self) -> float:
        """Nats per token drawn, over all texts."""
        return float(self.kl.sum() / self.draws.sum())

    @property
    def perplexity(self) -> float:
        """Exp of the mean surprise per token; NaN if every text is empty."""
        return float((self.surprise.sum() / self.tokens.sum()).exp())


def written(
    rows: Sequence[Sequence[int]], found: Sequence[Sequence[int]], max_new_tokens: int
) -> list[Written]:
    """Prompts with what was generated after them."""
    return [
        Written((*row, *new), len(row), ended=len(new) < max_new_tokens)
        for row, new in zip(rows, found, strict=True)
    ]


def sampled(  # noqa: PLR0913 - as continuations_of_each
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Methods],
    *,
    sampling: Sampling,
    max_new_tokens: int,
    scope: Scope = "last",
    token_budget: int | None = None,
    progress: bool = False,
) -> tuple[list[Written], Paths]:
    """Continue each row under each of `methods`, compared with the clean model as it is drawn.

    Returns:
        All texts of the first of `methods`, then those of the second, and so on; what `along` gives
        for them.

    Raises:
        ValueError: If a method does not fit the model.
    """
    n = len(rows) * len(methods)
    kl = torch.full((n,), 0.0 if sampling.temperature > 0 else torch.nan).double()
    surprise, end = torch.zeros(n).double(), eos_id(model)

    def look(draws: Draws) -> None:
        if sampling.temperature > 0:
            nats = kl_divergence(draws.steered, draws.clean, temperature=sampling.temperature)
            kl[draws.of] += nats.cpu()
        surprise[draws.of] += surprises(draws.clean, draws.tokens, end).cpu()

    found = continuations_of_each(
        *(model, rows, methods),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        progress=progress,
        look=look,
    )
    texts = [text for new in found for text in written(rows, new, max_new_tokens)]
    return texts, _paths(texts, kl, surprise)


def along(  # noqa: PLR0913 - what a path depends on
    model: SteerableModel,
    texts: Sequence[Written],
    methods: Sequence[Methods],
    *,
    temperature: float | int,
    scope: Scope = "last",
    beside: Sequence[Written] | None = None,
) -> Paths:
    """Steer each text by its own methods, and compare with the clean model.

    Args:
        texts: Teacher-forced: nothing is drawn here.
        temperature: Of the distributions compared; 0 leaves their divergence out (NaN): between
            greedy texts it is 0 or infinite.
        beside: The same continuations after other prompts, for the clean model: what a prompt does.

    Raises:
        ValueError: If a method does not fit the model.
    """
    others = texts if beside is None else beside
    kl = torch.full((len(texts),), 0.0 if temperature > 0 else torch.nan).double()
    surprise, end = torch.zeros(len(texts)).double(), eos_id(model)
    for batch in even_batches(model, [len(text.ids) for text in texts]):
        ours, theirs = [texts[i] for i in batch], [others[i] for i in batch]
        pushed, steered_at = draw_logits(model, ours, [methods[i] for i in batch], scope)
        clean, clean_at = draw_logits(model, theirs, [()] * len(batch), scope)
        if temperature > 0:
            nats = kl_divergence(pushed, clean, temperature=temperature)
            kl[batch] = _summed(nats, steered_at, len(batch))
        nats = surprises(clean, _drawn(theirs, end), end)
        surprise[batch] = _summed(nats, clean_at, len(batch))
    return _paths(texts, kl, surprise)


def draw_logits(
    model: SteerableModel,
    texts: Sequence[Written],
    methods: Sequence[Methods],
    scope: Scope,
) -> tuple[Float[Tensor, "draw vocab"], Int[Tensor, " draw"]]:
    """The logits that each token of each text is drawn from, one text after another, and whose."""
    tokens, mask = pad(model, [text.ids for text in texts])
    lengths = [text.prompt_length for text in texts]
    attach(model)
    with torch.no_grad(), each_by_its_own(model, methods, lengths, scope):
        logits = forward(model, tokens, mask)
    of, at = draws_of(texts)
    return logits[of.to(logits.device), at.to(logits.device)].float(), of


def draws_of(texts: Sequence[Written]) -> tuple[Int[Tensor, " draw"], Int[Tensor, " draw"]]:
    """(row, column) of every position from which a token is drawn, rows padded on the right."""
    rows = [torch.full((text.draws,), i) for i, text in enumerate(texts)]
    columns = [torch.arange(text.draws) + text.prompt_length - 1 for text in texts]
    return torch.cat(rows), torch.cat(columns)


@contextmanager
def each_by_its_own(
    model: SteerableModel,
    methods: Sequence[Methods],
    lengths: Sequence[int],
    scope: Scope,
) -> Iterator[None]:
    """While it lasts, row i of the batch is steered by `methods[i]`."""
    with ExitStack() as stack:
        for own in dict.fromkeys(filter(None, methods)):
            rows = [each == own for each in methods]
            block = steered(model, *own, scope=scope, prompt_lengths=lengths, rows=rows)
            stack.enter_context(block)
        yield


def even_batches(model: SteerableModel, lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of rows of about one length, as many as may have all their logits kept."""
    budget = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // int(model.cfg.d_vocab)))
    for batch in batches(lengths, budget):
        start = 0
        for end, i in enumerate(batch):
            if end - start >= _FEW and lengths[i] > _LONGER * lengths[batch[start]]:
                yield batch[start:end]
                start = end
        yield batch[start:]


def surprises(
    logits: Float[Tensor, "draw vocab"], tokens: Int[Tensor, " draw"], end: int | None
) -> Float[Tensor, " draw"]:
    """Minus the log-probability of each token drawn, 0 for the end."""
    drawn = tokens.to(logits.device)[:, None]
    scores = -logits.double().log_softmax(dim=-1).gather(-1, drawn)[:, 0]
    return scores.masked_fill(drawn[:, 0] == (-1 if end is None else end), 0.0)


def _drawn(texts: Sequence[Written], end: int | None) -> Int[Tensor, " draw"]:
    each = [(*t.ids[t.prompt_length :], *[end] * t.ended) for t in texts]
    return torch.tensor(sum(each, ()), dtype=torch.long)


def _summed(
    values: Float[Tensor, " draw"], of: Int[Tensor, " draw"], n: int
) -> Float[Tensor, " n"]:
    return torch.zeros(n).double().index_add(0, of, values.double().cpu())


def _paths(
    texts: Sequence[Written], kl: Float[Tensor, " text"], surprise: Float[Tensor, " text"]
) -> Paths:
    draws = torch.tensor([text.draws for text in texts]).double()
    tokens = torch.tensor([len(text.ids) - text.prompt_length for text in texts]).double()
    return Paths(kl, draws, surprise, tokens)
