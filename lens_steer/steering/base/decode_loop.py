"""The decode loop: one token per row and step, until every row has ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Logits
from lens_steer.models import (
    Decoder,
    OpenBlock,
    SharedPrefixDecoder,
    SteerableModel,
    UncachedDecoder,
    decode_continuation,
    eos_ids,
    tokenizer_of,
)
from lens_steer.reports import short_repr
from lens_steer.steering.base.decoding import Decoding
from lens_steer.steering.base.finite import is_distribution


@dataclass(frozen=True, eq=False)
class Ending:
    """What ends a text: a token that is no part of it, or a string before which it stops.

    Attributes:
        model: The model, whose tokenizer reads the texts.
        tokens: The tokens that end a text.
        stop: A text ends before the first of these strings.
    """

    model: SteerableModel
    tokens: frozenset[int]
    stop: tuple[str, ...]

    __repr__ = short_repr

    @classmethod
    def of(cls, model: SteerableModel, stop: Sequence[str]) -> "Ending":
        """The model's own end tokens, and stop strings.

        A special token may be one of the strings: as it is never part of a text, it ends the text
        as a token.

        Raises:
            ValueError: If a string holds a special token and more.
        """
        if not stop:
            return cls(model, frozenset(eos_ids(model)), ())
        added = tokenizer_of(model).added_tokens_decoder.items()
        special = {token.content: number for number, token in added if token.special}
        strings = tuple(text for text in stop if text not in special)
        for text in strings:
            inside = [name for name in special if name in text]
            if inside:
                raise ValueError(
                    f"the stop string {text!r} has the special token {inside[0]!r} in it, which is "
                    f"never part of a text: write stop=[{inside[0]!r}]"
                )
        ends = {special[text] for text in stop if text in special}
        return cls(model, frozenset({*eos_ids(model), *ends}), strings)

    def stops(self, prompt: Sequence[int], new: Sequence[int]) -> bool:
        """Whether what follows a prompt holds a stop string, however it is tokenised."""
        if not self.stop:
            return False
        text = decode_continuation(self.model, prompt, new)
        return any(string in text for string in self.stop)


@dataclass(frozen=True, eq=False)
class DecodeStep:
    """One token drawn for each of some texts.

    Attributes:
        text_index: The number of each text.
        steered: The logits that the tokens were drawn from, repetition penalised; the temperature
            has not divided them yet.
        clean: Those of the unsteered model after the same text, penalised in the same way.
        clean_as_given: Those of the unsteered model, not penalised.
        tokens: What was drawn, the end-of-sequence token included.
    """

    text_index: Int[Tensor, " batch"]
    steered: Logits
    clean: Logits
    clean_as_given: Logits
    tokens: Int[Tensor, " batch"]

    __repr__ = short_repr


StepCallback = Callable[[DecodeStep], None]


class Batch:
    """Rows that are continued together; those that have ended leave it, half of them at a time.

    The decoder may hold a second copy of all rows after the first, which nothing steers: it is
    given the same tokens, and a step shows what the unsteered model says after them.

    Attributes:
        broken: Rows whose next logits are not finite, with or without steering. They end there;
            if the batch is strict, all rows do.
    """

    broken: list[int]

    def __init__(
        self,
        decoder: Decoder | UncachedDecoder | SharedPrefixDecoder,
        blocks: Sequence[OpenBlock],
        generators: Sequence[torch.Generator],
        on_step: StepCallback | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._strict = strict
        self._decoder, self._blocks, self._on_step = decoder, blocks, on_step
        self._generators = list(generators)
        self._new: list[list[int]] = [[] for _ in generators]
        self._remaining = list(range(len(self._new)))  # numbers of the rows that have not left
        self._ended = [False] * len(self._new)  # of the remaining rows
        self.broken = []

    def decode(
        self, decoding: Decoding, ending: Ending, prompts: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """The new tokens of every row, without the end-of-text token.

        Args:
            decoding: How tokens are drawn, and how many.
            ending: What ends a text.
            prompts: Of every row.
        """
        logits = self._decoder.start()
        for step in range(decoding.max_new_tokens):
            self._end_broken(logits)
            if all(self._ended) or (self._strict and self.broken):
                break
            copies = len(logits) // len(self._remaining)
            tokens = self._draw(logits, decoding, prompts)
            self._append(tokens.tolist(), ending, prompts)
            if all(self._ended) or step == decoding.max_new_tokens - 1:
                break
            if 2 * sum(self._ended) >= len(self._ended):
                tokens = tokens[self._drop_ended(copies, logits.device).to(tokens.device)]
            logits = self._decoder.advance(tokens.repeat(copies)[:, None].to(logits.device))
        return self._new

    def _end_broken(self, logits: Float[Tensor, "copies vocab"]) -> None:
        """End rows with a NaN or +inf among their logits, or nothing but -inf, in any copy."""
        finite = is_distribution(logits).reshape(-1, len(self._remaining)).all(dim=0)
        if bool(finite.all()):
            return
        for i in (~finite).nonzero()[:, 0].tolist():
            if not self._ended[i]:
                self._ended[i] = True
                self.broken.append(self._remaining[i])

    def _draw(
        self,
        logits: Float[Tensor, "copies vocab"],
        decoding: Decoding,
        prompts: Sequence[Sequence[int]],
    ) -> Int[Tensor, " batch"]:
        """The next token of every remaining row, shown to whoever watches the steps."""
        n = len(self._remaining)
        steered, clean = logits[:n], logits[-n:]
        penalised, clean_penalised = steered, clean
        if decoding.reads_rows:
            rows = [[*prompts[i], *self._new[i]] for i in self._remaining]
            penalised = decoding.penalised(steered, rows)
            if self._on_step is not None:
                clean_penalised = decoding.penalised(clean, rows)
        tokens = decoding.draw(penalised, self._generators)
        if self._on_step is not None:
            going = torch.tensor(self._going(), device=logits.device)
            drawn = going.to(tokens.device)
            index = torch.tensor(self._remaining)[drawn]
            step = DecodeStep(
                index, penalised[going], clean_penalised[going], clean[going], tokens[drawn]
            )
            self._on_step(step)
        return tokens

    def _append(
        self, tokens: Sequence[int], ending: Ending, prompts: Sequence[Sequence[int]]
    ) -> None:
        for i, token in enumerate(tokens):
            if self._ended[i]:
                continue
            new, prompt = self._new[self._remaining[i]], prompts[self._remaining[i]]
            if token not in ending.tokens:
                new.append(token)
            self._ended[i] = token in ending.tokens or ending.stops(prompt, new)

    def _going(self) -> list[int]:
        return [i for i, ended in enumerate(self._ended) if not ended]

    def _drop_ended(self, copies: int, device: torch.device) -> Int[Tensor, " kept"]:
        """Let the ended rows leave; returns which of the first copy stayed."""
        going = self._going()
        kept = torch.tensor(going, device=device)
        rows = torch.cat([kept + k * len(self._remaining) for k in range(copies)])
        self._decoder.select_rows(rows)
        for block in self._blocks:
            block.select_rows(rows)
        self._generators = [self._generators[i] for i in going]
        self._remaining = [self._remaining[i] for i in going]
        self._ended = [False] * len(going)
        return kept
