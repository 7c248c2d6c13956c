"""The results of a demo, and its report in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from lens_steer.activations import ReadPreview, SeparabilityReport
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Choice, Evaluation, Screen, SweepReport
from lens_steer.models import Prompt, SteerableModel, attach
from lens_steer.steering import Intervention, Preview

if TYPE_CHECKING:
    import pandas as pd

_FIRST_TEXTS, _SHOWN = 2, 4  # prompts with their texts, and layers, that are printed


@dataclass(frozen=True, eq=False)
class DemoReport:
    """The results of a demo.

    Attributes:
        separability: How far apart the classes are, by layer, on dev.
        screen: How much likelier each layer's push makes the desired texts, on dev.
        choice: The choice of layer and strength by texts, on dev.
        method: The method that was chosen.
        sweep: Behaviour and perplexity against nats, on test, at the chosen layer.
        chosen: The index of the chosen strength in the sweep.
        texts: Prompts with unsteered and steered continuations, on test.
        preview: The first steered text, token by token.
    """

    separability: SeparabilityReport
    screen: Screen
    choice: Choice
    method: Intervention
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


def screen_lines(screened: Screen) -> Iterator[str]:
    """Lines with the layers of the largest gain, once they are screened."""
    nats = float(screened.nats.median())
    layers = len(screened.candidates)
    yield f"screened {layers} layer{'s' * (layers > 1)}, each at about {nats:.2g} nats per token:"
    yield "         change of log-probability per token, desired less undesired texts, on dev:"
    shown = screened.best(min(_SHOWN, len(screened.candidates)))
    if len(shown) < len(screened.candidates):
        yield f"         the best {len(shown)} (screen.csv has all):"
    for i in shown:
        layer = screened.candidates[i].sites[0].layer
        yield f"         layer {layer:3} {screened.gain(i)}"


def choice_lines(choice: Choice, prompts: Sequence[Prompt]) -> Iterator[str]:
    """Lines with the choice and the first steered texts, on dev."""
    yield f"chosen   on {len(choice.unsteered.texts)} dev prompts: {choice.best!r}"
    yield from _side_by_side(
        [quoted(prompt) for prompt in prompts],
        choice.unsteered.texts,
        choice.trials[choice.best_index].texts,
        _FIRST_TEXTS,
    )


def test_lines(report: DemoReport) -> Iterator[str]:
    """Lines with what the choice does to each token, the test numbers, and texts."""
    swept, seed = report.sweep, report.sweep.seed
    unsteered = swept.method[0]
    yield "steered  the tokens in brackets, with |edit| / |activation|:"
    yield f"         {report.preview}"
    yield f"test     {swept.behaviour_name}, {len(unsteered.behaviour)} examples, 95 % intervals:"
    yield f"         unsteered {_measured(unsteered, seed)}"
    trials = {"steered": swept.method[report.chosen], "random": swept.reference[report.chosen]}
    for name, trial in trials.items():
        change = trial.minus(unsteered, seed=seed)
        yield f"         {name:9} {_measured(trial, seed)}, change {change}"
    texts = report.texts
    yield from _side_by_side(
        [repr(prompt) for prompt in texts["prompt"]],
        list(texts["unsteered"]),
        list(texts["steered"]),
        _SHOWN,
    )


def quoted(prompt: Prompt) -> str:
    """A prompt on one line; a chat by who says what."""
    if isinstance(prompt, str):
        return repr(prompt)
    return ", ".join(f"{message.role}: {message.content!r}" for message in prompt)


def _side_by_side(
    prompts: Sequence[str], unsteered: Sequence[str], steered: Sequence[str], n: int
) -> Iterator[str]:
    for prompt, before, after in list(zip(prompts, unsteered, steered, strict=False))[:n]:
        yield f"prompt   {prompt}"
        yield f"         unsteered {before!r}"
        yield f"         steered   {after!r}"


def _measured(trial: Evaluation, seed: int) -> str:
    numbers = f"{trial.interval(seed=seed)}, perplexity {trial.perplexity:.3g}"
    if not isnan(trial.kl):
        numbers += f", {trial.kl:.3f} nats per token"
    if trial.well_formed is None:
        return numbers
    return f"{numbers}, well formed {trial.well_formed.float().mean().item():.0%}"
