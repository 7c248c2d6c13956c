"""What a steering method does to a set of prompts: behaviour, perplexity, texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.evaluation._intervals import Interval, interval
from lens_steer.evaluation._judges import FormJudge, Judge
from lens_steer.evaluation._likelihood import perplexity, preference
from lens_steer.models import SteerableModel
from lens_steer.pairs import ContrastivePairs
from lens_steer.steering.base import (
    Intervention,
    Sampling,
    Scope,
    continuations,
    continuations_of_each,
    prompt_rows,
)
from lens_steer.tokens import Encoded, decode_continuation, render


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One method on one set of prompts.

    Attributes:
        behaviour: In [0, 1], for each prompt (with a judge) or pair (without).
        groups: Of each, for intervals.
        perplexity: Of the texts under the unsteered model; NaN if every text is empty.
        texts: One continuation per prompt.
        well_formed: Whether each text is; None if the judge cannot tell.
    """

    behaviour: Float[Tensor, " example"]
    groups: tuple[Any, ...]
    perplexity: float
    texts: tuple[str, ...]
    well_formed: Bool[Tensor, " prompt"] | None = None

    def interval(self, *, seed: int) -> Interval:
        """Mean behaviour with its interval."""
        return interval(self.behaviour, self.groups, seed=seed)

    def minus(self, other: "Evaluation", *, seed: int) -> Interval:
        """Mean difference in behaviour to another evaluation of the same examples, paired.

        Raises:
            ValueError: If the other is of other examples.
        """
        if self.groups != other.groups:
            raise ValueError(
                "the two evaluations are of different examples: evaluate the same pairs"
            )
        return interval(self.behaviour - other.behaviour, self.groups, seed=seed)


def evaluate(  # noqa: PLR0913 - each is a knob of decoding
    model: SteerableModel,
    pairs: ContrastivePairs,
    *methods: Intervention,
    judge: Judge | None = None,
    seed: int,
    temperature: float | int = 1.0,
    max_new_tokens: int = 40,
    scope: Scope = "last",
    token_budget: int = 4096,
) -> Evaluation:
    """Continue the prompts of `pairs`, steered, and score what comes.

    Args:
        judge: Scores the texts. None: the behaviour is the share of pairs whose desired
            continuation has the higher log-probability per token.
        seed: The same seed gives every method the same random draws, so that differences are
            paired.
        token_budget: As `generate`.

    Raises:
        ValueError: As `generate`; without a judge, if the pairs are unpaired.
    """
    rows = prompt_rows(model, pairs.prompts, max_new_tokens)
    sampling = Sampling(temperature, seed=seed)
    found = continuations(
        *(model, rows, *methods),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
    )
    return _scored(model, pairs, methods, rows, found, judge=judge, scope=scope)


def evaluate_each(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention | None],
    *,
    judge: Judge | None = None,
    seed: int,
    temperature: float | int = 1.0,
    max_new_tokens: int = 40,
    scope: Scope = "last",
    token_budget: int = 16384,
    progress: bool = False,
) -> list[Evaluation]:
    """What `evaluate` gives for each method alone (None: unsteered), many to a batch.

    Args:
        methods: They may be of different kinds, layers and strengths.
        token_budget: Tokens of a batch, prompts and continuations of all methods together; only
            speed and memory depend on it.

    Raises:
        ValueError: As `evaluate`.
    """
    rows = prompt_rows(model, pairs.prompts, max_new_tokens)
    sampling = Sampling(temperature, seed=seed)
    found = continuations_of_each(
        *(model, rows, methods),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        scope=scope,
        token_budget=token_budget,
        progress=progress,
    )
    return [
        _scored(model, pairs, () if m is None else (m,), rows, new, judge=judge, scope=scope)
        for m, new in zip(methods, found, strict=True)
    ]


def _scored(  # noqa: PLR0913 - what a text is scored with
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Sequence[Intervention],
    rows: Sequence[Sequence[int]],
    found: Sequence[Sequence[int]],
    *,
    judge: Judge | None,
    scope: Scope,
) -> Evaluation:
    prompts, well_formed = pairs.prompts, None
    texts = [decode_continuation(model, row, new) for row, new in zip(rows, found, strict=True)]
    written = [Encoded((*row, *new), len(row)) for row, new in zip(rows, found, strict=True) if new]
    if judge is None:
        behaviour = (preference(model, pairs, *methods, scope=scope) > 0).float()
        groups = tuple(e.group or e.prompt or i for i, e in enumerate(pairs.desired))
    else:
        asked = [render(model, prompt) for prompt in prompts]
        behaviour = judge(asked, texts)
        if isinstance(judge, FormJudge):
            well_formed = judge.well_formed(asked, texts)
        group_of = {e.prompt: e.group or e.prompt for e in (*pairs.undesired, *pairs.desired)}
        groups = tuple(group_of[prompt] for prompt in prompts)
    return Evaluation(behaviour, groups, perplexity(model, written), tuple(texts), well_formed)
