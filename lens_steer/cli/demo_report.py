"""What the demo found, and how it is told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lens_steer.activations import ReadPreview, SeparabilityReport
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Choice, Evaluation, SweepReport
from lens_steer.models import SteerableModel, attach
from lens_steer.steering import CAA, Preview

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class DemoReport:
    """What a run found.

    Attributes:
        separability: Of the classes, by layer, on dev.
        choice: Of layer and strength, on dev.
        method: The choice.
        sweep: On test, at the chosen layer.
        chosen: Index of the chosen strength in the sweep.
        texts: Prompts with unsteered and steered continuations, on test.
        shown: The first steered text, token by token.
    """

    separability: SeparabilityReport
    choice: Choice
    method: CAA
    sweep: SweepReport
    chosen: int
    texts: "pd.DataFrame"
    shown: Preview


def introduction(
    name: str, model: SteerableModel, pairs: ContrastivePairs, found: Sequence[ReadPreview]
) -> Iterator[str]:
    """The model, the pairs, and which tokens are read."""
    seen = attach(model).fingerprint
    weights = "processed" if seen.processed else "raw"
    yield f"model    {name}: {seen.architecture}, {seen.n_layers} layers, d_model {seen.d_model},"
    yield f"         {weights} weights, {seen.dtype}, as {type(model).__name__}"
    yield f"pairs    {pairs!r}"
    yield "read     the tokens in brackets, here of one desired and one undesired example:"
    yield from (f"         {reading}" for reading in found)


def report_lines(report: DemoReport) -> Iterator[str]:
    """The choice, what it does to each token, the test numbers, and texts side by side."""
    swept, seed = report.sweep, report.sweep.seed
    unsteered = swept.method[0]
    yield f"chosen   on {len(report.choice.unsteered.texts)} dev prompts: {report.method!r}"
    yield "steered  the tokens in brackets, with |edit| / |activation|:"
    yield f"         {report.shown}"
    yield f"test     {swept.behaviour_name}, {len(unsteered.behaviour)} examples, 95 % intervals:"
    yield f"         unsteered {_measured(unsteered, seed)}"
    trials = {"steered": swept.method[report.chosen], "random": swept.reference[report.chosen]}
    for name, trial in trials.items():
        change = trial.minus(unsteered, seed=seed)
        yield f"         {name:9} {_measured(trial, seed)}, change {change}"
    for _, row in report.texts.head(4).iterrows():
        yield f"prompt   {row['prompt']!r}"
        yield f"         unsteered {row['unsteered']!r}"
        yield f"         steered   {row['steered']!r}"


def _measured(trial: Evaluation, seed: int) -> str:
    found = f"{trial.interval(seed=seed)}, perplexity {trial.perplexity:.3g}"
    if trial.well_formed is None:
        return found
    return f"{found}, well formed {trial.well_formed.float().mean().item():.0%}"
