"""Choosing a method (its layer, its strength) on one set of prompts, to be reported on another."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack, override

from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.evaluating import evaluate_each
from lens_steer.evaluation.judges import Judge
from lens_steer.evaluation.result import Evaluation
from lens_steer.models import SteerableModel
from lens_steer.reports import ROWS, WIDTH, Report, screenful
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Choice(Report):
    """All candidates with what they did, and which of them is taken.

    Attributes:
        candidates: In the order given.
        trials: What each of them did.
        unsteered: The model without any.
        perplexity_limit: Times the unsteered perplexity, beyond which a candidate is not taken.
        min_well_formed: Share of well-formed texts, below which a candidate is not taken, where the
            judge knows it.
        best_index: Number of the candidate with the most behaviour within the limits.
        seed: Of the intervals.
    """

    candidates: tuple[Intervention, ...]
    trials: tuple[Evaluation, ...]
    unsteered: Evaluation
    perplexity_limit: float | int
    min_well_formed: float | int
    best_index: int
    seed: Seed = 0

    @property
    def best(self) -> Intervention:
        """The candidate that is taken: the one with the most behaviour within the limits."""
        return self.candidates[self.best_index]

    @property
    def method(self) -> Intervention:
        """As `best`."""
        return self.best

    def table(self) -> "pd.DataFrame":
        """One row per candidate, the unsteered model first; behaviour with its 95 % interval."""
        import pandas as pd

        trials = (self.unsteered, *self.trials)
        intervals = [trial.interval(seed=self.seed) for trial in trials]
        columns: dict[str, Any] = {
            "method": ("unsteered", *map(repr, self.candidates)),
            "behaviour": [trial.behaviour.mean().item() for trial in trials],
            "behaviour_low": [interval.low for interval in intervals],
            "behaviour_high": [interval.high for interval in intervals],
            "perplexity": [trial.perplexity for trial in trials],
            "taken": [i - 1 == self.best_index for i in range(len(trials))],
        }
        if self.unsteered.well_formed is not None:
            columns["well_formed"] = [well_formed_rate(trial) for trial in trials]
        if any(trial.unjudged for trial in trials):
            columns["unjudged"] = [trial.unjudged_share for trial in trials]
        if any(trial.failure for trial in trials):
            columns["failure"] = [trial.failure for trial in trials]
        return pd.DataFrame(columns)

    @override
    def __repr__(self) -> str:
        taken = f"taken: {self.best!r}, number {self.best_index} of {len(self.candidates)}"
        return f"Choice, {shorten(taken, WIDTH - 8)}\n{screenful(self.table(), rows=ROWS - 1)}"

    @override
    def figure(self) -> "Figure":
        """Behaviour of every candidate against the perplexity of its texts."""
        from matplotlib.ticker import LogLocator

        from lens_steer.figures import canvas, legend_outside

        table = self.table()
        y, low, high = (table[f"behaviour{end}"] for end in ("", "_low", "_high"))
        x = table["perplexity"]
        with canvas() as (figure, axes):
            axes.errorbar(
                x, y, [(y - low).clip(lower=0), (high - y).clip(lower=0)], fmt="o", color="C7", lw=1
            )
            axes.plot(x[:1], y[:1], "ko", label="unsteered")
            axes.plot(x[table["taken"]], y[table["taken"]], "s", color="C3", label="taken")
            axes.axvline(self.perplexity_limit * self.unsteered.perplexity, color="k", ls=":", lw=1)
            axes.set(xscale="log", ylim=(-0.02, 1.02), ylabel="share that shows the behaviour")
            axes.set(xlabel="perplexity of the text (unsteered model; dotted: limit)")
            axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}")
            title = f"{len(self.unsteered.behaviour)} examples, 95 % interval"
            legend_outside(figure, title=title)
        return figure

    def map_figure(self) -> "Figure":
        """Behaviour over layer and strength beside its cost, the choice ringed.

        The cost is nats per token; where those are not known, perplexity.

        Raises:
            ValueError: If a candidate edits several layers, or two share a layer and strength.
        """
        from lens_steer.evaluation.choice_drawing import draw_layers_and_strengths

        return draw_layers_and_strengths(self)


def choose(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    candidates: Sequence[Intervention],
    *,
    perplexity_limit: float | int = 2.0,
    min_well_formed: float | int = 0.9,
    judge: Judge | None = None,
    token_budget: Count | None = None,
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
        rate = well_formed_rate(unsteered)
        advice = "try weaker ones"
        if rate < min_well_formed:
            advice = (
                f"{rate:.0%} of the unsteered are, raise max_new_tokens or lower min_well_formed"
            )
        least = min([t.perplexity for t in trials if not t.failure], default=float("nan"))
        raise ValueError(
            f"no candidate stays below {perplexity_limit:g} x the unsteered perplexity of "
            f"{unsteered.perplexity:.3g} (the least is {least:.3g}) with {min_well_formed:.0%} of "
            f"the texts well formed, where that is known{failure}: {advice}"
        )
    best = max(bearable, key=lambda i: (trials[i].behaviour.mean().item(), -trials[i].perplexity))
    return Choice(
        tuple(candidates),
        tuple(trials),
        unsteered,
        perplexity_limit,
        min_well_formed,
        best,
        decoding.seed or 0,
    )


def well_formed_rate(trial: Evaluation) -> float:
    """The share of well-formed texts; 1 where the judge cannot tell."""
    return 1.0 if trial.well_formed is None else trial.well_formed.float().mean().item()
