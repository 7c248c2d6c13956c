"""What steering costs along texts: nats between steered and unsteered at every draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.evaluation.divergence import AT_ONCE, kl_divergence
from lens_steer.evaluation.sampled_texts import (
    SampledText,
    as_sampled_texts,
    draw_logits,
    even_batches,
    penalised_draws,
)
from lens_steer.models import SteerableModel
from lens_steer.reports import short_repr
from lens_steer.steering import (
    DecodeStep,
    Decoding,
    Ending,
    Methods,
    continuations_of_each,
)

_END = -1  # stands for any token that ends a text


@savable
@dataclass(frozen=True, eq=False)
class TextCosts:
    """Nats along sampled texts, text by text; all float64 and on the CPU.

    Attributes:
        kl: Sum over a text's draws of KL(steered || unsteered), between the distributions that
            tokens are sampled from. Where the texts are the steered model's, it estimates the
            divergence of whole sequences without bias. NaN for greedy texts, and for those whose
            logits became NaN or infinite.
        draws: Tokens drawn, the end included.
        surprise: Minus the log-probability of the text's tokens under the unsteered model; NaN
            where the steered logits became NaN or infinite.
        tokens: How many tokens the text has, the end not counted.
    """

    kl: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    surprise: Float[Tensor, " text"]
    tokens: Float[Tensor, " text"]

    __repr__ = short_repr

    def __getitem__(self, part: slice) -> "TextCosts":
        """The costs of some of the texts."""
        return TextCosts(self.kl[part], self.draws[part], self.surprise[part], self.tokens[part])

    @property
    def kl_per_token(self) -> float:
        """Nats per token drawn, over all texts."""
        return float(self.kl.sum() / self.draws.sum())

    @property
    def perplexity(self) -> float:
        """Exp of the mean surprise per token; NaN if every text is empty."""
        return float((self.surprise.sum() / self.tokens.sum()).exp())


def check_comparable(decoding: Decoding) -> None:
    """Check that the divergence between steered and unsteered model is finite.

    Raises:
        ValueError: If unlikely tokens are ruled out: which ones differs between the two models.
    """
    if decoding.truncates:
        raise ValueError(
            f"top_p {decoding.top_p}, top_k {decoding.top_k}: steered and unsteered model would "
            "rule out different tokens, between which the divergence is infinite, expected top_p=1 "
            "and top_k=None: judge texts of `generate` instead"
        )


def sample_with_kl(
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
    texts = [text for new in new_tokens for text in as_sampled_texts(rows, new, limit, ending)]
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
        by_row = [methods[i] for i in batch]
        steered_logits, steered_at = draw_logits(model, ours, by_row, decoding.steered_scope)
        clean, clean_at = draw_logits(model, theirs, [()] * len(batch), decoding.steered_scope)
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


def surprises(
    logits: Float[Tensor, "draw vocab"], tokens: Int[Tensor, " draw"]
) -> Float[Tensor, " draw"]:
    """Minus the log-probability of each token drawn, 0 for the end (-1)."""
    drawn = tokens.to(logits.device)
    step = max(1, AT_ONCE // logits.shape[-1])
    parts = zip(logits.split(step), drawn.clamp(min=0).split(step), strict=True)
    chosen = [x.double().log_softmax(dim=-1).gather(-1, ids[:, None])[:, 0] for x, ids in parts]
    return -torch.cat(chosen).masked_fill(drawn == _END, 0.0)


def _drawn(texts: Sequence[SampledText]) -> Int[Tensor, " draw"]:
    rows = [(*t.ids[t.prompt_length :], *[_END] * t.ended) for t in texts]
    return torch.tensor(sum(rows, ()), dtype=torch.long)


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
