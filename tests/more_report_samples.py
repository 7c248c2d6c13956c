"""Further reports made by their constructors, as large as asked: what they draw and print.

What `n` counts is said by the name of the sample: layers, tokens, methods, elements or questions.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from lens_steer.activations import LayerActivations
from lens_steer.attribution import AblationReport, AgreementReport, SignReport, StabilityReport
from lens_steer.barriers import PolynomialBarrier
from lens_steer.barriers.field import DirectionTokens, FieldReport, SliceMap, slice_map, trace
from lens_steer.diagnostics import (
    ActivationVocabulary,
    EditAttribution,
    Interchange,
    Projection,
    SteerabilityReport,
    Vocabulary,
    VocabularyByLayer,
)
from lens_steer.forecasting import Forecast, Recommendation
from lens_steer.linearity import LinearityReport
from lens_steer.sites import Kind, Site
from lens_steer.steering import CAA
from tests.judged_report_samples import JUDGED_REPORTS
from tests.report_samples import (
    GROUPS,
    TEXTS,
    error_curves,
    logits,
    methods_named,
    normal,
    persistence,
    scores,
    uniform,
)


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
    draws = [normal(16, n, seed=i) for i in range(4)]
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


def activation_vocabulary(layers: int) -> ActivationVocabulary:
    """Of one activation behind each block."""
    names = tuple(f"row {layer}" for layer in range(layers))
    return ActivationVocabulary(normal(layers, 300).log_softmax(dim=1), VOCABULARY, names)


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


def forecast(n: int) -> Forecast:
    """Of as many methods, one of them without derivatives."""
    names = tuple(f"CAA, layer {i}, read mean" for i in range(n))
    groups = tuple(f"group {i // 2}" for i in range(24))
    slopes = normal(n, 24).double() + normal(n, 1, seed=1)
    curvatures = 1 + uniform(n, 8).double()
    signs, draws = torch.ones(n).double(), torch.full((8,), 20.0).double()
    margins = normal(24, seed=2).double()
    left_out = {"ODESteer": "no parabola"}
    return Forecast(names, slopes, curvatures, signs, draws, margins, groups, left_out, 0)


def recommendation(n: int) -> Recommendation:
    """Of as many candidates, at most four of which were tried."""
    found = forecast(n)
    tried = found.names[:4]
    clean = normal(24).double() - 1
    steered = clean + 2 + normal(len(tried), 24).double() / 4
    method = CAA((Site(0),), (torch.ones(4),))
    return Recommendation(method, tried, 0.1, found, clean, steered, found.groups)


def part_of_field(name: str) -> Callable[[int], Any]:
    """A part of a report of a field in 6 dimensions, or in more."""

    def made(n: int) -> Any:
        part: Any = field(n)
        for attribute in name.split("."):
            part = getattr(part, attribute)
        return part

    return made


MORE_REPORTS: dict[str, Callable[[int], Any]] = JUDGED_REPORTS | {
    "linearity": linearity,
    "ablation": ablation,
    "agreement": agreement,
    "signs": signs,
    "stability": stability,
    "field": field,
    "rise": part_of_field("rise"),
    "gap": part_of_field("gap"),
    "shape": part_of_field("shape"),
    "calibration pair": part_of_field("calibration"),
    "calibration": part_of_field("calibration.raw"),
    "directions": part_of_field("directions"),
    "plane": plane,
    "direction tokens": direction_tokens,
    "interchange": interchange,
    "edit attribution": edit_attribution,
    "projection": projection,
    "vocabulary": vocabulary,
    "activation vocabulary": activation_vocabulary,
    "vocabulary by layer": vocabulary_by_layer,
    "steerability": steerability,
    "forecast": forecast,
    "recommendation": recommendation,
}
