"""What steering costs along texts: nats between steered and unsteered at every draw."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.evaluation.divergence import kl_divergence
from lens_steer.models import Encoded, SteerableModel, batches, forward, looked_at, pad
from lens_steer.steering import (
    DecodeStep,
    Decoding,
    Ending,
    Methods,
    Scope,
    continuations_of_each,
    is_distribution,
    not_finite,
    steered,
)

_END = -1  # stands for any token that ends a text
_LOGITS_AT_ONCE = 2**27  # float32 numbers of one batch: half a gigabyte
_TOKENS_AT_ONCE, _LONGER, _FEW = 2**12, 1.2, 8  # of a batch: little padding, but not one by one


@savable
@dataclass(frozen=True)
class SampledText(Encoded):
    """A text as it was sampled.

    Attributes:
        ended: A token that ends a text was drawn after `ids`; else the text was cut off, or stopped
            by a string, whose tokens are among `ids`.
    """

    ended: bool = False

    @property
    def draws(self) -> int:
        """How often a token was drawn, the end included."""
        return len(self.ids) - self.prompt_length + self.ended


@savable
@dataclass(frozen=True, eq=False)
class TextCosts:
    """Nats along sampled texts, text by text; all float64 and on the CPU.

    Attributes:
        kl: Sum over a text's draws of KL(steered || unsteered), sampling distribution included:
            without bias the divergence of whole sequences, where the texts are the steered model's.
            NaN for greedy texts, and for those whose logits became NaN or infinite.
        draws: Tokens drawn, the end included.
        surprise: Minus the log-probability of the text's tokens under the unsteered model; NaN
            where the steered logits became NaN or infinite.
        tokens: How many they are; the end is not counted.
    """

    kl: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    surprise: Float[Tensor, " text"]
    tokens: Float[Tensor, " text"]

    def __getitem__(self, part: slice) -> "TextCosts":
        """Of some of the texts."""
        return TextCosts(self.kl[part], self.draws[part], self.surprise[part], self.tokens[part])

    @property
    def kl_per_token(self) -> float:
        """Nats per token drawn, over all texts."""
        return float(self.kl.sum() / self.draws.sum())

    @property
    def perplexity(self) -> float:
        """Exp of the mean surprise per token; NaN if every text is empty."""
        return float((self.surprise.sum() / self.tokens.sum()).exp())


def written(
    rows: Sequence[Sequence[int]],
    found: Sequence[Sequence[int]],
    max_new_tokens: int,
    ending: Ending | None = None,
) -> list[SampledText]:
    """Prompts with what was generated after them.

    Args:
        ending: What ended the texts; None where no string could stop one.
    """
    return [
        SampledText(
            (*row, *new),
            len(row),
            ended=len(new) < max_new_tokens and not (ending and ending.stops(row, new)),
        )
        for row, new in zip(rows, found, strict=True)
    ]


def check_comparable(decoding: Decoding) -> None:
    """Check that two distributions that are truncated alike keep the same tokens.

    Raises:
        ValueError: If unlikely tokens are ruled out, as which these are differs between them: their
            divergence is infinite.
    """
    if decoding.truncates:
        raise ValueError(
            f"top_p {decoding.top_p}, top_k {decoding.top_k}: steered and unsteered model would "
            "rule out different tokens, between which the divergence is infinite, expected top_p=1 "
            "and top_k=None: judge texts of `generate` instead"
        )


def sample_with_kl(  # noqa: PLR0913 - as continuations_of_each
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    methods: Sequence[Methods],
    decoding: Decoding,
    *,
    token_budget: int | None = None,
    progress: bool = False,
    failures: dict[int, str] | None = None,
) -> tuple[list[SampledText], TextCosts]:
    """Continue each row under each of `methods`, compared with the clean model as it is drawn.

    Args:
        failures: As `continuations_of_each`: takes the texts whose logits became NaN or infinite.

    Returns:
        All texts of the first of `methods`, then those of the second, and so on; what
        `teacher_forced_kl` gives for them.

    Raises:
        ValueError: If a method does not fit the model, or as `check_comparable`.
    """
    check_comparable(decoding)
    n = len(rows) * len(methods)
    ending = Ending.of(model, decoding.stop)
    nats = _NatsOfSteps.of(n, decoding, ending)
    new_tokens = continuations_of_each(
        model,
        rows,
        methods,
        decoding,
        token_budget=token_budget,
        progress=progress,
        on_step=nats.add,
        failures=failures,
    )
    broken = list(failures or ())
    nats.kl[broken], nats.surprise[broken] = torch.nan, torch.nan
    limit = decoding.max_new_tokens
    texts = [text for new in new_tokens for text in written(rows, new, limit, ending)]
    return texts, _text_costs(texts, nats.kl, nats.surprise)


@dataclass(frozen=True, eq=False)
class _NatsOfSteps:
    """Sums over the steps of a decode loop, text by text.

    Attributes:
        kl: KL(steered || unsteered); NaN where texts are greedy.
        surprise: Minus the log-probability under the unsteered model.
        ends: Tokens that end a text, whose surprise is not counted.
    """

    kl: Float[Tensor, " text"]
    surprise: Float[Tensor, " text"]
    ends: Int[Tensor, " end"]
    temperature: float | int

    @classmethod
    def of(cls, n: int, decoding: Decoding, ending: Ending) -> "_NatsOfSteps":
        kl = torch.full((n,), 0.0 if decoding.temperature > 0 else torch.nan).double()
        ends = torch.tensor(sorted(ending.tokens))
        return cls(kl, torch.zeros(n).double(), ends, decoding.temperature)

    def add(self, step: DecodeStep) -> None:
        if self.temperature > 0:
            nats = kl_divergence(step.steered, step.clean, temperature=self.temperature)
            self.kl[step.text_index] += nats.cpu()
        drawn = step.tokens.masked_fill(torch.isin(step.tokens, self.ends.to(step.tokens)), _END)
        self.surprise[step.text_index] += surprises(step.clean_as_given, drawn).cpu()


def teacher_forced_kl(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Sequence[Methods],
    decoding: Decoding,
    *,
    clean_texts: Sequence[SampledText] | None = None,
) -> TextCosts:
    """Steer each text by its own methods, and compare with the clean model.

    Args:
        texts: Teacher-forced: nothing is drawn here.
        decoding: What the compared distributions are sampled with, and where methods steer. At
            temperature 0 their divergence is left out (NaN): between greedy texts it is 0 or
            infinite.
        clean_texts: The same continuations after other prompts, for the clean model: what a prompt
            does.

    Raises:
        ValueError: If a method does not fit the model, or as `check_comparable`; with
            `clean_texts`, if n-grams are ruled out, which depend on the prompt.
        NotFinite: If logits are NaN or infinite.
    """
    check_comparable(decoding)
    if clean_texts is not None and decoding.no_repeat_ngram > 0 and decoding.temperature > 0:
        raise ValueError(
            f"no_repeat_ngram {decoding.no_repeat_ngram}: after different prompts different tokens "
            "are ruled out, between which the divergence is infinite, expected 0"
        )
    others = texts if clean_texts is None else clean_texts
    kl = torch.full((len(texts),), 0.0 if decoding.temperature > 0 else torch.nan).double()
    surprise = torch.zeros(len(texts)).double()
    for batch in even_batches(model, [len(text.ids) for text in texts]):
        ours, theirs = [texts[i] for i in batch], [others[i] for i in batch]
        own = [methods[i] for i in batch]
        steered_logits, steered_at = draw_logits(model, ours, own, decoding.scope)
        clean, clean_at = draw_logits(model, theirs, [()] * len(batch), decoding.scope)
        if decoding.temperature > 0:
            nats = kl_divergence(
                penalised_draws(decoding, steered_logits, ours),
                penalised_draws(decoding, clean, theirs),
                temperature=decoding.temperature,
            )
            kl[batch] = _summed(nats, steered_at, len(batch))
        nats = surprises(clean, _drawn(theirs))
        surprise[batch] = _summed(nats, clean_at, len(batch))
    return _text_costs(texts, kl, surprise)


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
    texts: Sequence[SampledText],
    methods: Sequence[Methods],
    scope: Scope,
    *,
    strict: bool = True,
) -> tuple[Float[Tensor, "draw vocab"], Int[Tensor, " draw"]]:
    """The logits that each token of each text is drawn from, one text after another, and whose.

    Args:
        strict: False leaves logits that are NaN or infinite as they are.

    Raises:
        NotFinite: If logits are NaN or infinite; layer, dtype and methods are named.
    """
    tokens, mask = pad(model, [text.ids for text in texts])
    lengths = [text.prompt_length for text in texts]
    of, at = draws_of(texts)

    def run(
        with_steering: bool, inside: AbstractContextManager[None]
    ) -> Float[Tensor, "draw vocab"]:
        own = methods if with_steering else [()] * len(methods)
        steering = each_by_its_own(model, own, lengths, scope)
        with looked_at(model), torch.no_grad(), steering, inside:
            logits = forward(model, tokens, mask)
        return logits[of.to(logits.device), at.to(logits.device)].float()

    found = run(True, nullcontext())
    finite = is_distribution(found)
    if strict and not bool(finite.all()):
        row = int(of[int((~finite).nonzero()[0])])
        mine = (of == row).nonzero()[:, 0].to(found.device)
        raise not_finite(
            *(model, lambda *how: run(*how)[mine], lambda x: x[row][mask[row]]),
            *(methods[row], f"text {row}"),
        )
    return found, of


def draws_of(texts: Sequence[SampledText]) -> tuple[Int[Tensor, " draw"], Int[Tensor, " draw"]]:
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
    logits: Float[Tensor, "draw vocab"], tokens: Int[Tensor, " draw"]
) -> Float[Tensor, " draw"]:
    """Minus the log-probability of each token drawn, 0 for the end (-1)."""
    drawn = tokens.to(logits.device)[:, None]
    scores = -logits.double().log_softmax(dim=-1).gather(-1, drawn.clamp(min=0))[:, 0]
    return scores.masked_fill(drawn[:, 0] == _END, 0.0)


def _drawn(texts: Sequence[SampledText]) -> Int[Tensor, " draw"]:
    each = [(*t.ids[t.prompt_length :], *[_END] * t.ended) for t in texts]
    return torch.tensor(sum(each, ()), dtype=torch.long)


def _summed(
    values: Float[Tensor, " draw"], of: Int[Tensor, " draw"], n: int
) -> Float[Tensor, " n"]:
    return torch.zeros(n).double().index_add(0, of, values.double().cpu())


def _text_costs(
    texts: Sequence[SampledText], kl: Float[Tensor, " text"], surprise: Float[Tensor, " text"]
) -> TextCosts:
    draws = torch.tensor([text.draws for text in texts]).double()
    tokens = torch.tensor([len(text.ids) - text.prompt_length for text in texts]).double()
    return TextCosts(kl, draws, surprise, tokens)
