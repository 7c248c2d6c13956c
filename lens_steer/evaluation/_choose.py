"""Choosing a method (its layer, its strength) on one set of prompts, to be reported on another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from lens_steer.evaluation._evaluate import Evaluation, evaluate
from lens_steer.models import SteerableModel
from lens_steer.pairs import ContrastivePairs
from lens_steer.steering.base import Intervention

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Choice:
    """All candidates with what they did, and which of them is taken.

    Attributes:
        candidates: In the order given.
        trials: Of each.
        unsteered: The model without any.
        perplexity_limit: Times the unsteered perplexity, beyond which a candidate is not taken.
        best: Index of the candidate with the most behaviour within the limit.
    """

    candidates: tuple[Intervention, ...]
    trials: tuple[Evaluation, ...]
    unsteered: Evaluation
    perplexity_limit: float
    best: int

    @property
    def method(self) -> Intervention:
        """The candidate that is taken."""
        return self.candidates[self.best]

    def table(self) -> "pd.DataFrame":
        """One row per candidate, the unsteered model first."""
        import pandas as pd

        names = ("unsteered", *map(repr, self.candidates))
        trials = (self.unsteered, *self.trials)
        behaviour = [trial.behaviour.mean().item() for trial in trials]
        surprise = [trial.perplexity for trial in trials]
        taken = [i - 1 == self.best for i in range(len(trials))]
        columns = {"method": names, "behaviour": behaviour, "perplexity": surprise, "taken": taken}
        return pd.DataFrame(columns)


def choose(
    model: SteerableModel,
    pairs: ContrastivePairs,
    candidates: Sequence[Intervention],
    *,
    perplexity_limit: float = 2.0,
    progress: bool = True,
    **decoding: Any,
) -> Choice:
    """Evaluate every candidate and take the one with the most behaviour at a bearable perplexity.

    Report the choice on other prompts: the best of many looks better than it is.

    Args:
        perplexity_limit: Times the unsteered model's perplexity.
        decoding: As `evaluate`.

    Raises:
        ValueError: As `evaluate`, or if no candidate stays within the limit.
    """
    if not candidates:
        raise ValueError("no candidates to choose from: expected at least one method")
    unsteered = evaluate(model, pairs, **decoding)
    with tqdm(candidates, desc="choose", disable=not progress) as bar:
        trials = tuple(evaluate(model, pairs, candidate, **decoding) for candidate in bar)
    bearable = [
        i
        for i, trial in enumerate(trials)
        if trial.perplexity <= perplexity_limit * unsteered.perplexity
    ]
    if not bearable:
        least = min(trial.perplexity for trial in trials)
        raise ValueError(
            f"no candidate stays below {perplexity_limit:g} x the unsteered perplexity of "
            f"{unsteered.perplexity:.3g} (the least is {least:.3g}): try weaker ones"
        )
    best = max(bearable, key=lambda i: (trials[i].behaviour.mean().item(), -trials[i].perplexity))
    return Choice(tuple(candidates), trials, unsteered, perplexity_limit, best)
