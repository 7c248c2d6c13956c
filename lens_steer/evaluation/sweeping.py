"""A method at several strengths, beside a random direction of the same size."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
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

_FEW_DECADES = 100  # of perplexity, up to which there is room for more numbers than powers of ten
_AXES = {
    "kl": "nats paid per token, KL(steered || unsteered)",
    "relative_norm": "size of the push, |strength x vector| / median |activation|",
    "strength": "strength",
}


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SweepReport(Report):
    """A method at several strengths, beside a reference.

    Attributes:
        strengths: Dimensionless, of the method.
        relative: |strength * vector| / median |activation|, for each; empty if not said.
        method: At each strength.
        reference: The reference, such as a random direction, at each of its strengths.
        behaviour_name: What the behaviour is called on the axis.
        method_name: What the method is called in the legend.
        seed: Of the texts and the intervals.
        reference_strengths: Of the reference; empty if they are those of the method.
    """

    strengths: tuple[float, ...]
    relative: tuple[float, ...]
    method: tuple[Evaluation, ...]
    reference: tuple[Evaluation, ...]
    behaviour_name: str
    method_name: str
    seed: int
    reference_strengths: tuple[float, ...] = field(default=(), metadata={"saved_if_set": True})

    @property
    def costs_known(self) -> bool:
        """Whether every trial has a cost in nats: greedy texts and trials made by hand have none.

        A trial whose logits became NaN has none either, and leaves the others theirs.
        """
        trials = (*self.method, *self.reference)
        return all(t.text_costs is not None and (t.failure or not isnan(t.kl)) for t in trials)

    def _along(self, table: "pd.DataFrame") -> str:
        """The column that the figure is drawn against; both signs of a strength cost nats."""
        if "kl" in table and min(self.strengths) >= 0:
            return "kl"
        return "relative_norm" if self.relative else "strength"

    def table(self) -> "pd.DataFrame":
        """One row per strength and method: behaviour with its interval, nats per token paid."""
        import pandas as pd

        rows = []
        of_reference = self.reference_strengths or self.strengths
        for name, trials, strengths in (
            (self.method_name, self.method, self.strengths),
            ("random", self.reference, of_reference),
        ):
            for i, trial in enumerate(trials):
                row: dict[str, Any] = {"direction": name, "strength": strengths[i]}
                if self.relative:
                    row["relative_norm"] = self.relative[i]
                if self.costs_known:
                    row["kl"] = trial.kl
                row |= trial.interval(seed=self.seed).columns("behaviour")
                row["perplexity"] = trial.perplexity
                if trial.well_formed is not None:
                    row["well_formed"] = trial.well_formed.float().mean().item()
                if trial.unjudged:
                    row["unjudged"] = trial.unjudged_share
                if trial.failure:
                    row["failure"] = trial.failure
                rows.append(row)
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Behaviour and perplexity against what is paid, or against the size of the push.

        Nats are those of each trial's own texts; where they are not known the axis is
        `relative_norm`, or the strength.
        """
        from matplotlib.ticker import LogLocator

        from lens_steer.figures import canvas, legend_outside

        table = self.table()
        along = self._along(table)
        with canvas(2, 1, width=5.0, height=5.2, sharex=True) as (figure, (above, below)):
            for name, colour in ((self.method_name, "C0"), ("random", "C7")):
                part = table[table["direction"] == name]
                x, low, high = part[along], part["behaviour_low"], part["behaviour_high"]
                above.plot(x, part["behaviour"], "o-", color=colour, label=name)
                above.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
                below.plot(x, part["perplexity"], "o-", color=colour, label=name)
                if "well_formed" in part:
                    above.plot(x, part["well_formed"], "x:", color=colour, lw=1.0)
            above.set(ylabel=fill(self.behaviour_name, 32), ylim=(0, 1.02))
            counted = f"{len(self.method[0].behaviour)} examples, 95 % interval"
            if "well_formed" in table:
                counted += "; crosses: share well formed"
            legend_outside(figure, above, title=counted, where="upper center")
            below.axhline(2 * self.method[0].perplexity, color="k", ls=":", lw=0.8)
            paid = [nats for nats in table[along] if nats > 0] if along == "kl" else []
            if paid:
                below.set_xscale("symlog", linthresh=min(paid))
                below.set_xlim(left=0)
            below.set(xlabel=_AXES[along], yscale="log")
            below.set(ylabel="perplexity of the text\n(unsteered model; dotted: 2 x)")
            below.yaxis.set_major_formatter("{x:g}")
            lowest, highest = (float(getattr(table["perplexity"], end)()) for end in ("min", "max"))
            if highest < _FEW_DECADES * lowest:
                below.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
                below.yaxis.set_minor_formatter("{x:g}")
        return figure


def sweep(  # noqa: PLR0913 - as evaluate
    model: SteerableModel,
    pairs: ContrastivePairs,
    method: Intervention,
    reference: Intervention,
    strengths: Sequence[float | int],
    *,
    reference_strengths: Sequence[float | int] | None = None,
    relative: Sequence[float] | None = None,
    judge: Judge | None = None,
    behaviour_name: str = "share preferring desired",
    token_budget: Count | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> SweepReport:
    """Evaluate a method and a reference at each strength, on the same prompts and random draws.

    Args:
        reference: Such as a random direction.
        strengths: Dimensionless; 0 is no steering.
        reference_strengths: Those of the reference, such as the ones that cost as much (see
            `LocalNats`); None takes the same.
        relative: |strength * vector| / median |activation|, for each strength, for the table.
        judge: As `evaluate`.
        behaviour_name: What the figure calls the behaviour.
        token_budget: As `evaluate_each`.
        decoding: As `evaluate`.
        options: As `evaluate`; the seed is also that of the intervals.

    Raises:
        ValueError: As `evaluate`, and if there are not as many relative sizes, or strengths of the
            reference, as strengths.
        TypeError: If a keyword is unknown.

    Example:
        >>> random = ls.Random.like(method, seed=0)
        >>> report = ls.sweep(model, test, method, random, [0.0, 1.0, 2.0], judge=judge, seed=0)
        >>> report.figure()
    """
    decoding = decoding_of_call(sweep, decoding, options)
    of_reference = strengths if reference_strengths is None else reference_strengths
    for name, values in (("relative sizes", relative), ("reference strengths", of_reference)):
        if values is not None and len(values) != len(strengths):
            raise ValueError(f"{len(values)} {name} for {len(strengths)} strengths")
    steering = [
        *map(method.with_strength, strengths),
        *map(reference.with_strength, of_reference),
    ]
    acting = [one for one in steering if one.strength != 0]
    unsteered = [None] if len(acting) < len(steering) else []  # once, however often it is asked for
    found = evaluate_each(
        model,
        pairs,
        [*acting, *unsteered],
        judge=judge,
        token_budget=token_budget,
        progress=progress,
        decoding=decoding,
    )
    in_turn = iter(found)
    trials = [next(in_turn) if one.strength != 0 else found[-1] for one in steering]
    return SweepReport(
        tuple(map(float, strengths)),
        tuple(map(float, relative or ())),
        method=tuple(trials[: len(strengths)]),
        reference=tuple(trials[len(strengths) :]),
        behaviour_name=behaviour_name,
        method_name=type(method).__name__,
        seed=decoding.seed or 0,
        reference_strengths=() if reference_strengths is None else tuple(map(float, of_reference)),
    )
