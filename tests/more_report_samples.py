"""Further reports made by their constructors, as large as asked: what they draw and print.

What `n` counts is said by the name of the sample: layers, tokens, methods, elements or questions.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from lens_steer.activations import LayerActivations
from lens_steer.attribution import AblationReport, AgreementReport, SignReport, StabilityReport
from lens_steer.barriers import PolynomialBarrier
from lens_steer.barriers.field import DirectionTokens, FieldReport, SliceMap, slice_map, trace
from lens_steer.benchmark import (
    AnswerTable,
    CostTails,
    EnergyMap,
    RandomSearchCurve,
    Specificity,
)
from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.tails import Tail
from lens_steer.diagnostics import (
    EditAttribution,
    Interchange,
    Projection,
    SteerabilityReport,
    Vocabulary,
    VocabularyByLayer,
)
from lens_steer.evaluation import (
    BinaryScores,
    ChoiceScores,
    GeneratedText,
    Generation,
    SideBySide,
    SweepReport,
)
from lens_steer.linearity import LinearityReport
from lens_steer.sites import Kind, Site
from lens_steer.steering import Decoding
from tests.report_samples import (
    GROUPS,
    TEXTS,
    around,
    error_curves,
    evaluation,
    logits,
    methods_named,
    normal,
    persistence,
    scores,
    uniform,
)

QUESTIONS = 24


def linearity(layers: int) -> LinearityReport:
    return LinearityReport(error_curves(layers), persistence(layers), logits(layers))


def ablation(n: int) -> AblationReport:
    """So many elements in all, of which powers of 2 are taken out."""
    ks = tuple(2**i for i in range(n.bit_length()))
    lost = normal(len(ks), TEXTS).double().cumsum(0)
    return AblationReport(
        ks, lost, lost / 5, lost[0].abs(), GROUPS, Kind.HEAD, "relative_magnitude", 5, 0
    )


def agreement(n: int) -> AgreementReport:
    """Of as many attributions; at 18 and more a map."""
    made = {f"attribution {i} (24 pairs)": _scores(i) for i in range(3 if n < 18 else min(n, 20))}
    return AgreementReport.of(made, k=8)


def _scores(seed: int) -> Any:
    one = scores(12)
    return type(one)(normal(12, 16, seed=seed), Kind.HEAD, one.layers, one.name)


def signs(n: int) -> SignReport:
    return SignReport(uniform(n).double(), tuple(range(n)), 0)


def stability(n: int) -> StabilityReport:
    """As many sizes as usual, up to 16 times n pairs."""
    sizes = tuple(size for size in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128) if size <= n)
    halves, whole = uniform(len(sizes), 20), uniform(len(sizes), 20, seed=1)
    return StabilityReport(sizes, halves, whole, 16, "relative_magnitude", "head", 16 * n, 0)


@cache
def field(n: int) -> FieldReport:
    """Held-out rows of a planted quadratic barrier in n dimensions."""
    shift = torch.ones(n) / n**0.5
    draws = [normal(40, n, seed=i) for i in range(4)]
    training, held = (
        LayerActivations.from_tensors(up + shift, down - shift, layer=3)
        for up, down in (draws[:2], draws[2:])
    )
    barrier = PolynomialBarrier.fit(training, gamma=1.0, C=1.0)
    return trace(barrier, held, 0.8, training=training, seed=2)


@cache
def plane(n: int) -> SliceMap:
    held = LayerActivations.from_tensors(normal(40, n) + 0.5, normal(40, n, seed=1))
    return slice_map(_quadratic(n), held, 0.4)


def _quadratic(n: int) -> PolynomialBarrier:
    square = normal(n, n).double()
    return PolynomialBarrier.of_quadratic(square + square.T, normal(n).double(), 0.0)


def direction_tokens(n: int) -> DirectionTokens:
    return DirectionTokens.of(_quadratic(n), normal(n, 400))


def energy(n: int) -> EnergyMap:
    """Of methods that edit as many layers."""
    names = methods_named(4)
    shares = {
        name: {layer: around(1 / n, 0.5 / n) for layer in range(n)}
        for name in names
        if name != "unsteered"
    }
    return EnergyMap("mentions the sea", 1.0, names, shares, dict.fromkeys(shares, 6))


def tails(n: int) -> CostTails:
    """Of as many methods, at most 18."""
    names = methods_named(min(n, 18))
    made = []
    for i, name in enumerate(names[1:]):
        nats = np.sort(np.exp(normal(40, seed=i).numpy().astype(float)))
        values = float(nats.mean()), float(nats[20]), float(nats[37])
        made.append(Tail(name, nats, *(around(value, value / 3) for value in values)))
    return CostTails("mentions the sea", 1.0, names, tuple(made), 12)


def specificity(n: int) -> Specificity:
    """Of as many methods and behaviours, at most 8."""
    size = min(n, 8)
    names = methods_named(size)[2:]
    behaviours = tuple(f"behaviour: number {i} of some set" for i in range(size))
    entries = tuple(
        tuple(around(float(i == j) + 0.1 * i, 0.4) for j in range(size)) for i in range(size)
    )
    return Specificity(names, behaviours, (0.87,) * size, entries, (40,) * size, (12,) * size)


def search(n: int) -> RandomSearchCurve:
    """Of as many trials."""

    def sums(trials: int, seed: int) -> Sums:
        ones = np.ones((trials, 4))
        shown = uniform(trials, 4, seed=seed).numpy().astype(float)
        cells: dict[str, Any] = dict.fromkeys(Sums.__dataclass_fields__, ones)
        return Sums(**cells | {"behaviour": shown, "kl": 0.01 * ones})

    keys = tuple("abcd")
    return RandomSearchCurve(
        "a method of some family", sums(n, 0), sums(n + 1, 1), (keys, keys), 0.1, 0
    )


def interchange(layers: int) -> Interchange:
    counts, names = (1, 2, 4, 8), ("CAA", "a method of some family", "SADI of heads")
    places = (layers // 4, layers // 2, layers - 1)
    moved, gap = normal(layers, len(counts), TEXTS).double(), uniform(TEXTS).double() + 1
    pushed = normal(len(names), TEXTS, seed=2).double()
    return Interchange(
        tuple(range(layers)), counts, moved, gap, names, places, pushed, 0.25, GROUPS, 0
    )


def edit_attribution(layers: int) -> EditAttribution:
    """With 32 heads in a layer."""
    effects = normal(TEXTS, layers, 33).double() / 30
    checked = tuple(range(5, 25))
    patched = effects.flatten(1).T[list(checked)] * 1.1
    path, total = normal(TEXTS).double(), 2 + uniform(TEXTS).double()
    method = f"CAA(strength=1, |v|=3) at blocks.{layers // 2}.hook_resid_post"
    return EditAttribution(method, effects, effects / 3, path, total, checked, patched, GROUPS, 0)


def projection(n: int) -> Projection:
    """Of a text of as many tokens, at as many layers."""
    words = tuple(f" token{i}" for i in range(n))
    return Projection((words, words[:3]), (normal(n, n), normal(n, 3)), tuple(range(n)))


VOCABULARY = tuple(f" word number {i}" for i in range(300))


def vocabulary(layers: int) -> Vocabulary:
    slopes, z = normal(300), normal(300, seed=1)
    what = "mean difference of two classes of texts"
    return Vocabulary(slopes, z, VOCABULARY, what, layers - 1, "logit", float("nan"), 24, 200, 100)


def vocabulary_by_layer(layers: int) -> VocabularyByLayer:
    z, slopes = normal(layers, 300), normal(layers, 300, seed=1)
    what = "mean difference of two classes of texts"
    return VocabularyByLayer(z, slopes, VOCABULARY, tuple(range(layers)), (), what, "logit")


def steerability(n: int) -> SteerabilityReport:
    """Of as many methods, at most 18."""
    names = methods_named(min(n, 18))[2:]
    slopes = normal(len(names), 20).double()
    groups = tuple(f"group {i // 2}" for i in range(20))
    return SteerabilityReport(names, slopes, 1.01 * slopes, groups, 0.05, 0)


def binary(n: int) -> BinaryScores:
    """Of as many questions."""
    labels = torch.arange(n) % 2 == 0
    odds = normal(n).double() + labels
    keys = tuple(map(str, range(n)))
    return BinaryScores(odds, labels, uniform(n).double(), (" Yes", " No"), keys)


def choices(questions: int, seed: int = 0) -> ChoiceScores:
    log_probs = -5 * uniform(questions, 4, seed=seed).double() - 1
    correct = torch.zeros(questions, 4, dtype=torch.bool)
    correct[:, 0] = True
    lengths = torch.full((questions, 4), 3)
    return ChoiceScores(log_probs, correct, lengths, 4 * lengths, tuple(map(str, range(questions))))


def answers(n: int) -> AnswerTable:
    """Of as many methods, at most 18."""
    rows = methods_named(min(n, 18))
    costs = 0.1 * torch.arange(4 * len(rows)).reshape(-1, 4).double()
    made = tuple(choices(QUESTIONS, seed) for seed in range(len(rows)))
    return AnswerTable("a set of questions", rows, made, costs, ("the prompt is as published",))


def generation(n: int, strength: float = 1.0) -> Generation:
    """Texts of as many tokens, and one shorter, steered at as many layers."""
    sites = tuple(Site(layer) for layer in range(n))
    rows = tuple(_text(count, len(sites), strength) for count in (n, max(n // 2, 1)))
    return Generation(rows, sites, (0, 1), ("CAA at strength 1",), Decoding(max_new_tokens=n))


def _text(count: int, sites: int, strength: float) -> GeneratedText:
    words = tuple(f" word{i}" for i in range(count))
    nats = strength * uniform(count).double()
    sides = normal(count, 2), normal(count, 2)
    return GeneratedText(
        "A prompt that ends in", "".join(words), torch.arange(count), words, -nats, -2 * nats,
        nats, uniform(count, sites), *sides, "length",
    )  # fmt: skip


def side_by_side(n: int) -> SideBySide:
    strengths = (0.0, 0.5, 1.0, 2.0)
    return SideBySide("CAA", strengths, tuple(generation(n, x) for x in strengths))


def sweep(n: int) -> SweepReport:
    """Of as many strengths."""
    strengths = tuple(4 * i / n for i in range(n))
    trials = [tuple(evaluation(i / n, seed + i) for i in range(n)) for seed in (0, 50)]
    return SweepReport(strengths, (), *trials, "share of texts that mention the sea", "CAA", 0)


def part_of_field(name: str) -> Callable[[int], Any]:
    """A part of a report of a field in 6 dimensions, or in more."""

    def made(n: int) -> Any:
        part: Any = field(n)
        for attribute in name.split("."):
            part = getattr(part, attribute)
        return part

    return made


MORE_REPORTS: dict[str, Callable[[int], Any]] = {
    "linearity": linearity,
    "ablation": ablation,
    "agreement": agreement,
    "signs": signs,
    "stability": stability,
    "field": field,
    "gap": part_of_field("gap"),
    "shape": part_of_field("shape"),
    "calibration pair": part_of_field("calibration"),
    "calibration": part_of_field("calibration.raw"),
    "directions": part_of_field("directions"),
    "plane": plane,
    "direction tokens": direction_tokens,
    "energy": energy,
    "tails": tails,
    "specificity": specificity,
    "search": search,
    "interchange": interchange,
    "edit attribution": edit_attribution,
    "projection": projection,
    "vocabulary": vocabulary,
    "vocabulary by layer": vocabulary_by_layer,
    "steerability": steerability,
    "binary": binary,
    "choices": choices,
    "answers": answers,
    "generation": generation,
    "side by side": side_by_side,
    "sweep": sweep,
}
