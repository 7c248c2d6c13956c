"""How texts are written: one value that every function which samples takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import TypedDict

from lens_steer.arguments import Count, CountFromZero, Expected, Positive, Seed, Share, Temperature
from lens_steer.artifacts import savable
from lens_steer.axes import Logits
from lens_steer.steering.base.sampling import (
    Rows,
    likeliest,
    nucleus,
    repetition_penalised,
    without_repeated_ngrams,
)
from lens_steer.steering.base.scope import Scope, WithSinks, check_scope

Stops = Annotated[
    Sequence[str], Expected("a list of texts, none empty, as ['\\n']", lambda stop: all(stop))
]


class DecodingOptions(TypedDict, total=False):
    """The fields of `Decoding` as keywords: `def f(..., **options: Unpack[DecodingOptions])`."""

    temperature: Temperature
    top_p: Share
    top_k: Count | None
    max_new_tokens: Count
    scope: Scope
    sink: bool
    seed: Seed | None
    stop: Stops
    repetition_penalty: Positive
    no_repeat_ngram: CountFromZero


@savable
@dataclass(frozen=True)
class Decoding:
    """How texts are written, and where they are steered.

    Everything that depends on a text's tokens is what Hugging Face's `generate` means by it.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest token, 1 samples the model as it is.
        top_p: Share of the probability that is sampled from, the likeliest tokens first; 1 is all
            of it.
        top_k: Number of the likeliest tokens that are sampled from; None is all of them.
        max_new_tokens: At most; a text ends earlier at any end token that the tokenizer or the
            model's generation config names.
        scope: Where methods steer, see `steered`.
        sink: Whether scopes `prompt` and `all` steer attention sinks too, see `steered`.
        seed: Row i of a call draws from a generator seeded by (seed, i), whatever batch it is in.
            Needed wherever tokens are drawn, unless greedily.
        stop: A text ends before the first of these strings, however it is tokenised.
        repetition_penalty: Logits of tokens already in the row, prompt included, are divided by it
            where positive and multiplied where negative; 1 is the identity.
        no_repeat_ngram: No n-gram of this length is written twice in a row, prompt included; 0 is
            off.

    Raises:
        ValueError: If a field makes no sense; the message names it.

    Example:
        >>> how = ls.Decoding(temperature=0.7, max_new_tokens=60, seed=0, stop=["."])
        >>> texts = ls.generate(model, prompts, method, decoding=how)
        >>> trial = ls.evaluate(model, pairs, method, judge=judge, decoding=how)
    """

    temperature: Temperature = 1.0
    top_p: Share = 1.0
    top_k: Count | None = None
    max_new_tokens: Count = 40
    scope: Scope = "last"
    sink: bool = False
    seed: Seed | None = None
    stop: Stops = ()
    repetition_penalty: Positive = 1.0
    no_repeat_ngram: CountFromZero = 0

    def __post_init__(self) -> None:
        if isinstance(self.scope, WithSinks):  # both ways to write it make one value
            object.__setattr__(self, "sink", True)
            object.__setattr__(self, "scope", self.scope.scope)
        object.__setattr__(self, "scope", check_scope(self.scope))
        object.__setattr__(self, "stop", tuple(self.stop))

    @property
    def steered_scope(self) -> Scope:
        """`scope` and `sink` as one value: what functions that take a scope alone are given."""
        return check_scope(self.scope, sink=self.sink)

    def check_seed(self) -> None:
        """Raise a ValueError if tokens are to be drawn without a seed."""
        if self.temperature > 0 and self.seed is None:
            raise ValueError("no seed: sampling needs one (seed=0), or temperature=0.0 for greedy")

    @property
    def reads_rows(self) -> bool:
        """Whether the next token's distribution depends on the tokens before it directly."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram > 0

    @property
    def truncates(self) -> bool:
        """Whether unlikely tokens are ruled out: which, differs between two distributions."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k is not None)

    def generator(self, row: int) -> torch.Generator:
        """The generator of one row.

        Raises:
            ValueError: If there is no seed, and texts are not greedy.
        """
        self.check_seed()
        state = np.random.SeedSequence([self.seed or 0, row]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]) % 2**63)

    def penalised(self, logits: Logits, rows: Rows) -> Logits:
        """The logits after the repetition penalty, and without n-grams that would be repeated.

        Args:
            logits: Of the next token of each row.
            rows: The tokens of each row so far, prompt included.

        Raises:
            ValueError: If no token is left to a row.
        """
        if not self.reads_rows:
            return logits
        scores = logits.float()
        if self.repetition_penalty != 1:
            scores = repetition_penalised(scores, rows, self.repetition_penalty)
        if self.no_repeat_ngram > 0:
            scores = without_repeated_ngrams(scores, rows, self.no_repeat_ngram)
        return scores

    def draw(self, logits: Logits, generators: Sequence[torch.Generator]) -> Int[Tensor, " batch"]:
        """The next token of each row: the largest of logits / temperature + Gumbel noise.

        The noise belongs to the row, so that two settings are compared on the same draws.

        Args:
            logits: As `penalised` gives them.
            generators: Of each row.
        """
        scores = logits.float().cpu()
        if self.temperature == 0:
            return scores.argmax(dim=-1)
        scores = scores / self.temperature
        if self.top_k is not None:
            scores = likeliest(scores, self.top_k)
        scores = nucleus(scores, self.top_p)
        noise = torch.stack(
            [torch.empty(scores.shape[1]).exponential_(generator=g) for g in generators]
        )
        return (scores - noise.log()).argmax(dim=-1)


def decoding_of_call(
    function: Callable[..., Any],
    decoding: Decoding | None,
    options: Mapping[str, Any],
    *,
    seed: Seed | None = None,
) -> Decoding:
    """The `Decoding` that a public function was called with, as one value or as keywords.

    Args:
        function: The function that the user has called; errors name it.
        decoding: Its argument `decoding`.
        options: All keywords that are no parameters of its own.
        seed: Taken where neither has one.

    Raises:
        ValueError: If both are given (but for the seed of a `decoding` without one), or there is no
            seed and texts are not greedy.
    """
    if decoding is None:
        chosen = Decoding(**options)
    elif set(options) - {"seed"} or (options and decoding.seed is not None):
        raise ValueError(
            f"{function.__qualname__}() got decoding={decoding} and {', '.join(options)} as well, "
            "expected one of the two: write dataclasses.replace(decoding, ...)"
        )
    else:
        chosen = replace(decoding, **options)
    chosen = replace(chosen, seed=seed) if chosen.seed is None else chosen
    chosen.check_seed()
    return chosen
