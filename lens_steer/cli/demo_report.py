"""The results of a demo, and its report in words."""

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
    """The results of a demo.

    Attributes:
        separability: How far apart the classes are, by layer, on dev.
        choice: The choice of layer and strength, on dev.
        method: The method that was chosen.
        sweep: Behaviour and perplexity against strength, on test, at the chosen layer.
        chosen: The index of the chosen strength in the sweep.
        texts: Prompts with unsteered and steered continuations, on test.
        preview: The first steered text, token by token.
    """

    separability: SeparabilityReport
    choice: Choice
    method: CAA
    sweep: SweepReport
    chosen: int
    texts: "pd.DataFrame"
    preview: Preview


def introduction(
    name: str, model: SteerableModel, pairs: ContrastivePairs, previews: Sequence[ReadPreview]
) -> Iterator[str]:
    """Lines that say what the model and the pairs are, and which tokens are read."""
    made = attach(model).fingerprint
    weights = "processed" if made.processed else "raw"
    yield f"model    {name}: {made.architecture}, {made.n_layers} layers, d_model {made.d_model},"
    yield f"         {weights} weights, {made.dtype}, as {type(model).__name__}"
    yield f"pairs    {pairs!r}"
    yield "read     the tokens in brackets, here of one desired and one undesired example:"
    yield from (f"         {preview}" for preview in previews)


def report_lines(report: DemoReport) -> Iterator[str]:
    """Lines with the choice, what it does to each token, the test numbers, and texts."""
    swept, seed = report.sweep, report.sweep.seed
    unsteered = swept.method[0]
    yield f"chosen   on {len(report.choice.unsteered.texts)} dev prompts: {report.method!r}"
    yield "steered  the tokens in brackets, with |edit| / |activation|:"
    yield f"         {report.preview}"
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
    numbers = f"{trial.interval(seed=seed)}, perplexity {trial.perplexity:.3g}"
    if trial.well_formed is None:
        return numbers
    return f"{numbers}, well formed {trial.well_formed.float().mean().item():.0%}"
