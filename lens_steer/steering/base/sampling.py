"""Drawing the next token of each row from a generator of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Logits


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest token, 1 samples the model as it is.
        top_p: Share of the probability that is sampled from, the likeliest tokens first; 1 is all
            of it.
        seed: Row i of a call draws from a generator seeded by (seed, i), whatever batch it is in.
        stop: A text ends before the first of these strings.
    """

    temperature: float | int = 1.0
    top_p: float | int = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"temperature {self.temperature}: expected 0 (greedy) or a positive number"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: expected a share above 0, at most 1")
        if self.temperature > 0 and self.seed is None:
            raise ValueError("no seed: sampling needs one (seed=0), or temperature=0.0 for greedy")
        object.__setattr__(self, "stop", _strings(self.stop))

    def generator(self, row: int) -> torch.Generator:
        """The generator of one row."""
        state = np.random.SeedSequence([self.seed or 0, row]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]) % 2**63)

    def draw(self, logits: Logits, generators: Sequence[torch.Generator]) -> Int[Tensor, " batch"]:
        """The next token of each row: the largest of logits / temperature + Gumbel noise.

        The noise belongs to the row, so that two settings are compared on the same draws.
        """
        scores = logits.float().cpu()
        if self.temperature == 0:
            return scores.argmax(dim=-1)
        scores = nucleus(scores / self.temperature, self.top_p)
        noise = torch.stack(
            [torch.empty(scores.shape[1]).exponential_(generator=g) for g in generators]
        )
        return (scores - noise.log()).argmax(dim=-1)


def _strings(stop: Sequence[str]) -> tuple[str, ...]:
    iterable = isinstance(stop, Iterable) and not isinstance(stop, str)
    if not iterable or not all(isinstance(text, str) and text for text in stop):
        raise ValueError(
            f"got stop={stop!r}, expected a list of strings, none empty: write stop=['\\n']"
        )
    return tuple(stop)


def nucleus(logits: Float[Tensor, "batch vocab"], top_p: float) -> Float[Tensor, "batch vocab"]:
    """Logits outside the smallest set of tokens that holds `top_p` set to minus infinity."""
    if top_p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
    return logits.masked_fill((before >= top_p).gather(-1, order.argsort(dim=-1)), -torch.inf)
