"""The decode loop: one token per row and step, until every row has ended."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.models import Decoder, Recomputer, Resumed
from lens_steer.steering.base._sampling import Sampling
from lens_steer.steering.base._session import Session


class Batch:
    """Rows that are continued together; those that have ended leave it, half of them at a time."""

    def __init__(
        self,
        decoder: Decoder | Recomputer | Resumed,
        sessions: Sequence[Session],
        generators: Sequence[torch.Generator],
    ) -> None:
        self._decoder, self._sessions = decoder, sessions
        self._generators = list(generators)
        self._new: list[list[int]] = [[] for _ in generators]
        self._texts = list(self._new)  # of the rows that are still there
        self._ended = [False] * len(self._new)

    def decode(self, sampling: Sampling, eos: int | None, max_new_tokens: int) -> list[list[int]]:
        """The new tokens of every row, without the end-of-text token."""
        logits = self._decoder.start()
        for step in range(max_new_tokens):
            tokens = sampling.draw(logits, self._generators)
            self._take(tokens.tolist(), eos)
            if all(self._ended) or step == max_new_tokens - 1:
                break
            if 2 * sum(self._ended) >= len(self._ended):
                tokens = tokens[self._thin(tokens.device)]
            logits = self._decoder.advance(tokens[:, None].to(logits.device))
        return self._new

    def _take(self, tokens: Sequence[int], eos: int | None) -> None:
        for i, token in enumerate(tokens):
            self._ended[i] = self._ended[i] or token == eos
            if not self._ended[i]:
                self._texts[i].append(token)

    def _thin(self, device: torch.device) -> Int[Tensor, " kept"]:
        going = [i for i, ended in enumerate(self._ended) if not ended]
        rows = torch.tensor(going, device=device)
        self._decoder.keep(rows)
        for session in self._sessions:
            session.keep(rows)
        self._generators = [self._generators[i] for i in going]
        self._texts = [self._texts[i] for i in going]
        self._ended = [False] * len(going)
        return rows
