"""A method at several strengths, beside a random direction of the same size."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack, override

from lens_steer.arguments import Count
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.evaluating import evaluate_each
from lens_steer.evaluation.judges import Judge
from lens_steer.evaluation.result import Evaluation
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SweepReport(Report):
    """A method at several strengths, beside a reference of the same size.

    Attributes:
        strengths: Dimensionless.
        relative: |strength * vector| / median |activation|, for each.
        method: At each strength.
        reference: The random direction at each strength.
        behaviour_name: What the behaviour is called on the axis.
        method_name: What the method is called in the legend.
        seed: Of the texts and the intervals.
    """

    strengths: tuple[float, ...]
    relative: tuple[float, ...]
    method: tuple[Evaluation, ...]
    reference: tuple[Evaluation, ...]
    behaviour_name: str
    method_name: str
    seed: int

    def table(self) -> "pd.DataFrame":
        """One row per strength and method, behaviour with its interval."""
        import pandas as pd

        rows = []
        for name, trials in ((self.method_name, self.method), ("random", self.reference)):
            for strength, relative, trial in zip(
                self.strengths, self.relative, trials, strict=True
            ):
                behaviour = trial.interval(seed=self.seed)
                row: dict[str, Any] = {
                    "direction": name,
                    "strength": strength,
                    "relative_norm": relative,
                    "behaviour": behaviour.mean,
                    "behaviour_low": behaviour.low,
                    "behaviour_high": behaviour.high,
                    "perplexity": trial.perplexity,
                }
                if trial.well_formed is not None:
                    row["well_formed"] = trial.well_formed.float().mean().item()
                if trial.failure:
                    row["failure"] = trial.failure
                rows.append(row)
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Behaviour and perplexity against the size of the push."""
        from matplotlib.ticker import LogLocator

        from lens_steer.figures import canvas

        table = self.table()
        with canvas(2, 1, width=5.0, height=5.2, sharex=True) as (figure, (above, below)):
            for name, colour in ((self.method_name, "C0"), ("random", "C7")):
                part = table[table["direction"] == name]
                x, low, high = part["relative_norm"], part["behaviour_low"], part["behaviour_high"]
                above.plot(x, part["behaviour"], "o-", color=colour, label=name)
                above.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
                below.plot(x, part["perplexity"], "o-", color=colour, label=name)
                if "well_formed" in part:
                    above.plot(x, part["well_formed"], "x:", color=colour, lw=1.0)
            above.set(ylabel=fill(self.behaviour_name, 32), ylim=(0, 1.02))
            counted = f"{len(self.method[0].behaviour)} examples, 95 % interval"
            if "well_formed" in table:
                counted += "\ncrosses: share well formed"
            above.legend(title=counted, loc="best")
            below.axhline(2 * self.method[0].perplexity, color="k", ls=":", lw=0.8)
            below.set(xlabel="size of the push, |strength x vector| / median |activation|")
            below.set(ylabel="perplexity of the text\n(unsteered model; dotted: 2 x)", yscale="log")
            below.yaxis.set_major_formatter("{x:g}")
            below.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
            below.yaxis.set_minor_formatter("{x:g}")
        return figure


def sweep(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    method: Intervention,
    reference: Intervention,
    strengths: Sequence[float],
    *,
    relative: Sequence[float],
    judge: Judge | None = None,
    behaviour_name: str = "share preferring desired",
    token_budget: Count | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> SweepReport:
    """Evaluate a method and a reference at each strength, on the same prompts and random draws.

    Args:
        reference: Such as a random direction of the same size.
        strengths: Dimensionless; 0 is no steering.
        relative: |strength * vector| / median |activation|, for each strength.
        judge: As `evaluate`.
        behaviour_name: What the figure calls the behaviour.
        token_budget: As `evaluate_each`.
        decoding: As `evaluate`.
        options: As `evaluate`; the seed is also that of the intervals.

    Raises:
        ValueError: As `evaluate`, and if there is not one relative size per strength.
        TypeError: If a keyword is unknown.

    Example:
        >>> random = ls.Random.like(method, seed=0)
        >>> sizes = [strength * resid.at(layer=3).relative_length for strength in (0.0, 1.0, 2.0)]
        >>> report = ls.sweep(model, test, method, random, [0.0, 1.0, 2.0], relative=sizes, seed=0)
        >>> report.figure()
    """
    decoding = decoding_of_call(sweep, decoding, options)
    if len(strengths) != len(relative):
        raise ValueError(f"{len(relative)} relative sizes for {len(strengths)} strengths")
    trials = evaluate_each(
        model,
        pairs,
        [one.with_strength(strength) for one in (method, reference) for strength in strengths],
        judge=judge,
        token_budget=token_budget,
        progress=progress,
        decoding=decoding,
    )
    return SweepReport(
        tuple(map(float, strengths)),
        tuple(map(float, relative)),
        method=tuple(trials[: len(strengths)]),
        reference=tuple(trials[len(strengths) :]),
        behaviour_name=behaviour_name,
        method_name=type(method).__name__,
        seed=decoding.seed or 0,
    )
