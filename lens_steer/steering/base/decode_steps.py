"""The decode loop: one token per row and step, until every row has ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Logits
from lens_steer.models import OpenBlock, TokenDecoder
from lens_steer.steering.base.ending import Ending
from lens_steer.steering.base.finite import is_distribution
from lens_steer.steering.base.sampling import Sampling


@dataclass(frozen=True, eq=False)
class DecodeStep:
    """One token drawn for each of some texts.

    Attributes:
        of: Which texts.
        steered: The logits they were drawn from.
        clean: The logits of the model as it is, after the same text.
        tokens: What was drawn, the end-of-sequence token included.
    """

    text_index: Int[Tensor, " batch"]
    steered: Logits
    clean: Logits
    tokens: Int[Tensor, " batch"]


StepCallback = Callable[[DecodeStep], None]


class Batch:
    """Rows that are continued together; those that have ended leave it, half of them at a time.

    The decoder may have a second copy of them all after the first: it is given the same tokens.

    Attributes:
        broken: Rows whose next logits are no numbers, with or without steering; they end there,
            and if the batch is strict, all do.
    """

    broken: list[int]

    def __init__(
        self,
        decoder: TokenDecoder,
        blocks: Sequence[OpenBlock],
        generators: Sequence[torch.Generator],
        on_step: StepCallback | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._strict = strict
        self._decoder, self._blocks, self._look = decoder, blocks, on_step
        self._generators = list(generators)
        self._new: list[list[int]] = [[] for _ in generators]
        self._of = list(range(len(self._new)))  # the rows that are still there
        self._ended = [False] * len(self._new)
        self.broken = []

    def decode(
        self,
        sampling: Sampling,
        ending: Ending,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> list[list[int]]:
        """The new tokens of every row, without the end-of-text token.

        Args:
            prompts: Of every row: a text is looked for stop strings after its prompt.
        """
        logits = self._decoder.start()
        for step in range(max_new_tokens):
            self._leave_out_broken(logits)
            if all(self._ended) or (self._strict and self.broken):
                break
            copies = len(logits) // len(self._of)
            tokens = sampling.draw(logits[: len(self._of)], self._generators)
            self._show(logits, tokens)
            self._take(tokens.tolist(), ending, prompts)
            if all(self._ended) or step == max_new_tokens - 1:
                break
            if 2 * sum(self._ended) >= len(self._ended):
                tokens = tokens[self._thin(copies, logits.device).to(tokens.device)]
            logits = self._decoder.advance(tokens.repeat(copies)[:, None].to(logits.device))
        return self._new

    def _leave_out_broken(self, logits: Float[Tensor, "copies vocab"]) -> None:
        """End rows with a NaN or +inf among their logits, or nothing but -inf, in any copy."""
        finite = is_distribution(logits).reshape(-1, len(self._of)).all(dim=0)
        if bool(finite.all()):
            return
        for i in (~finite).nonzero()[:, 0].tolist():
            if not self._ended[i]:
                self._ended[i] = True
                self.broken.append(self._of[i])

    def _show(self, logits: Float[Tensor, "copies vocab"], tokens: Int[Tensor, " batch"]) -> None:
        if self._look is None:
            return
        n = len(self._of)
        going = torch.tensor(self._going(), device=logits.device)
        here = going.to(tokens.device)
        of = torch.tensor(self._of)[here]
        self._look(DecodeStep(of, logits[:n][going], logits[-n:][going], tokens[here]))

    def _take(
        self, tokens: Sequence[int], ending: Ending, prompts: Sequence[Sequence[int]]
    ) -> None:
        for i, token in enumerate(tokens):
            if self._ended[i]:
                continue
            new, prompt = self._new[self._of[i]], prompts[self._of[i]]
            if token not in ending.tokens:
                new.append(token)
            self._ended[i] = token in ending.tokens or ending.stops(prompt, new)

    def _going(self) -> list[int]:
        return [i for i, ended in enumerate(self._ended) if not ended]

    def _thin(self, copies: int, device: torch.device) -> Int[Tensor, " kept"]:
        """Leave the ended rows out; returns which of the first copy stayed."""
        going = self._going()
        kept = torch.tensor(going, device=device)
        rows = torch.cat([kept + k * len(self._of) for k in range(copies)])
        self._decoder.select_rows(rows)
        for block in self._blocks:
            block.select_rows(rows)
        self._generators = [self._generators[i] for i in going]
        self._of = [self._of[i] for i in going]
        self._ended = [False] * len(going)
        return kept
