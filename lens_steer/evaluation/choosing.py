"""Choosing a method (its layer, its strength) on one set of prompts, to be reported on another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.evaluating import evaluate_each
from lens_steer.evaluation.judges import Judge
from lens_steer.evaluation.result import Evaluation
from lens_steer.models import SteerableModel
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call

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
        form_limit: Share of well-formed texts, below which a candidate is not taken, where the
            judge knows it.
        best: Index of the candidate with the most behaviour within the limit.
    """

    candidates: tuple[Intervention, ...]
    trials: tuple[Evaluation, ...]
    unsteered: Evaluation
    perplexity_limit: float
    min_well_formed: float
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
        if self.unsteered.well_formed is not None:
            columns["well_formed"] = [well_formed_rate(trial) for trial in trials]
        if any(trial.failure for trial in trials):
            columns["failure"] = [trial.failure for trial in trials]
        return pd.DataFrame(columns)


def choose(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    candidates: Sequence[Intervention],
    *,
    perplexity_limit: float = 2.0,
    min_well_formed: float = 0.9,
    judge: Judge | None = None,
    token_budget: int | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Choice:
    """Evaluate every candidate and take the one with the most behaviour at a bearable perplexity.

    Report the choice on other prompts: the best of many looks better than it is. A candidate that
    makes the model's logits NaN or infinite is not taken.

    Args:
        perplexity_limit: Times the unsteered model's perplexity.
        min_well_formed: Share of well-formed texts, where the judge knows it.
        judge: As `evaluate`.
        token_budget: As `evaluate_each`.
        decoding: As `evaluate`.
        options: As `evaluate`.

    Raises:
        ValueError: As `evaluate`, or if no candidate stays within the limit.
        TypeError: If a keyword is unknown.

    Example:
        >>> candidates = [ls.CAA.fit(resid.at(layer=layer)) for layer in range(4)]
        >>> choice = ls.choose(model, dev, candidates, judge=judge, seed=0)
        >>> choice.best, choice.table()
    """
    decoding = decoding_of_call(choose, decoding, options)
    if not candidates:
        raise ValueError("no candidates to choose from: expected at least one method")
    unsteered, *trials = evaluate_each(
        model,
        pairs,
        (None, *candidates),
        judge=judge,
        token_budget=token_budget,
        progress=progress,
        decoding=decoding,
    )
    bearable = [
        i
        for i, trial in enumerate(trials)
        if not trial.failure
        and trial.perplexity <= perplexity_limit * unsteered.perplexity
        and well_formed_rate(trial) >= min_well_formed
    ]
    if not bearable:
        failure = next((f"; {trial.failure}" for trial in trials if trial.failure), "")
        least = min([t.perplexity for t in trials if not t.failure], default=float("nan"))
        raise ValueError(
            f"no candidate stays below {perplexity_limit:g} x the unsteered perplexity of "
            f"{unsteered.perplexity:.3g} (the least is {least:.3g}) with {min_well_formed:.0%} of "
            f"the texts well formed, where that is known{failure}: try weaker ones"
        )
    best = max(bearable, key=lambda i: (trials[i].behaviour.mean().item(), -trials[i].perplexity))
    return Choice(
        tuple(candidates), tuple(trials), unsteered, perplexity_limit, min_well_formed, best
    )


def well_formed_rate(trial: Evaluation) -> float:
    """The share of well-formed texts; 1 where the judge cannot tell."""
    return 1.0 if trial.well_formed is None else trial.well_formed.float().mean().item()
