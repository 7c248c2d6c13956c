"""One of every public class that is no report, as large as it gets: what is printed of it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import Moments, ReadPreview
from lens_steer.arguments import Accepts, Expected
from lens_steer.barriers import CountSketch, FourierBarrier, JointBarrier, SketchBarrier, flows
from lens_steer.barriers.field import FlowPaths, HeldOutRows
from lens_steer.cli import DemoSettings
from lens_steer.data import (
    About,
    DistinctParts,
    Example,
    LeftOut,
    Prompts,
    PublishedSet,
    Question,
    Questions,
    Template,
)
from lens_steer.intervals import Interval, Intervals, Resampling
from lens_steer.linearity import PullbackFisher
from lens_steer.models import (
    Encoded,
    Fingerprint,
    FirstPosition,
    Message,
    Provenance,
    Sink,
    Sinks,
    Versions,
)
from lens_steer.organism.genres import genres
from lens_steer.sites import Kind, Site
from lens_steer.tracking import Envelope, FeatureBound, LinearLoop, PredictionBand, Trajectories
from lens_steer.tracking.trajectories import LinearSystem
from tests.judged_report_samples import generation
from tests.report_samples import (
    GROUPS,
    TEXTS,
    around,
    caa,
    captured,
    evaluation,
    features,
    normal,
    uniform,
)

LAYERS, WIDTH, MANY = 80, 600, 500
LONG = "a long text that goes on and on, " * 120
SITES = tuple(Site(layer) for layer in range(LAYERS))
STEPS = (*range(LAYERS + 1),)


def _d(*shape: int) -> Tensor:
    return normal(*shape).double()


@cache
def barrier() -> ls.PolynomialBarrier:
    square = _d(WIDTH, WIDTH)
    return ls.PolynomialBarrier.of_quadratic(square + square.T, _d(WIDTH), 0.0)


def jacobians() -> ls.LayerJacobians:
    return ls.LayerJacobians.from_tensors(normal(LAYERS, 4, 4), normal(LAYERS + 1, 4))


def fingerprint() -> Fingerprint:
    sizes = "LlamaForCausalLM", LAYERS, WIDTH, 64, 64, 4 * WIDTH, 128_000, False, "float32"
    return Fingerprint(*sizes, tuple(uniform(LAYERS).tolist()), tuple(uniform(LAYERS).tolist()))


def question(i: int) -> Question:
    return Question(f"{i} {LONG}", tuple(f"{k} {LONG}" for k in range(10)), (True, *[False] * 9))


def questions() -> Questions:
    return Questions(tuple(map(question, range(20))), name="a set")


def prompts() -> Prompts:
    return Prompts(tuple(f"{i} {LONG}" for i in range(MANY)))


def examples(side: str) -> tuple[Example, ...]:
    return tuple(Example(f"{i} {LONG}", f" {side} {LONG}", f"group {i}") for i in range(MANY))


def sketch() -> CountSketch:
    buckets = torch.zeros(2, WIDTH + 1, dtype=torch.long)
    return CountSketch(buckets, torch.ones(2, WIDTH + 1), 2000, 0.1, 1.0)


def fourier() -> FourierBarrier:
    return FourierBarrier(
        frequencies=_d(9, WIDTH), phases=_d(9), amplitudes=_d(9), bias=0.0, layer=3
    )


def linear() -> ls.LinearBarrier:
    return ls.LinearBarrier(weight=_d(WIDTH), bias=0.1, layer=3)


def bound() -> FeatureBound:
    step = Envelope(uniform(LAYERS).double(), uniform(LAYERS).double(), 1.1, 0.1, 40)
    square, state = _d(LAYERS, 4, 4), _d(LAYERS + 1, 4)
    system = LinearSystem(square, state, state, _d(LAYERS + 1))
    return FeatureBound(system, 0, uniform(LAYERS).double(), None, step, None)


def trial() -> ls.benchmark.Trial:
    return ls.benchmark.Trial("CAA", "mentions the sea", "gpt2", 0, 0, 1.0, LONG, evaluation(0.5))


def config() -> ls.benchmark.ComparisonConfig:
    return ls.benchmark.ComparisonConfig(stop=("\nQ:", "\n\n"))


# Without a model; what needs one is below.
VALUES: dict[str, Callable[[], Any]] = {
    "ContrastivePairs": lambda: ls.ContrastivePairs(examples("good"), examples("bad")),
    "Site": lambda: SITES[-1],
    "Kind": lambda: Kind.RESID,
    "Activations": lambda: captured(LAYERS),
    "LayerActivations": lambda: captured(LAYERS).at(layer=3),
    "FeatureDirections": lambda: features(LAYERS),
    "LayerJacobians": jacobians,
    "LinearBarrier": linear,
    "PolynomialBarrier": barrier,
    "Decoding": lambda: ls.Decoding(stop=("\nQ:", "\n\n"), scope=STEPS),
    "WordList": lambda: ls.WordList(tuple(f"word{i}" for i in range(MANY))),
    "Comparison": lambda: ls.Comparison((trial(),) * MANY, config(), {("sea", "CAA"): 1.0}),
    "ReadPreview": lambda: ReadPreview(tuple(f" t{i}" for i in range(MANY)), 300, (499,)),
    "ContrastStats": lambda: ls.activations.ContrastStats.of(captured(LAYERS)),
    "Moments": lambda: Moments(9, _d(LAYERS, WIDTH), _d(LAYERS, WIDTH).abs()),
    "Accepts": lambda: Accepts(dict[int, str]),
    "Expected": lambda: Expected("a whole number", lambda value: value > 0),
    "Extremum": lambda: barrier().supremum(),
    "FourierBarrier": fourier,
    "JointBarrier": lambda: JointBarrier(barriers=(linear(),) * 20, layer=3),
    "CountSketch": sketch,
    "SketchBarrier": lambda: SketchBarrier(weights=_d(2000), bias=0.0, sketch=sketch(), layer=3),
    "HeldOutRows": lambda: HeldOutRows(torch.arange(MANY) % 2 == 0, tuple(range(MANY)), 0),
    "FlowPaths": lambda: FlowPaths.of(barrier(), _d(9, WIDTH), 0.1),
    "FlowEnd": lambda: flows.FlowEnd(_d(9, WIDTH), torch.ones(9, dtype=torch.bool)),
    "Trajectory": lambda: flows.Trajectory(_d(5, 9, WIDTH), torch.ones(9, dtype=torch.bool)),
    "TargetReached": lambda: flows.TargetReached(
        _d(9, WIDTH), _d(9), torch.ones(9, dtype=torch.bool)
    ),
    "State": lambda: flows.State.start(barrier().grad, _d(9, WIDTH)),
    "RK4": flows.RK4,
    "Euler": flows.Euler,
    "Midpoint": flows.Midpoint,
    "GeodesicEuler": flows.GeodesicEuler,
    "GeodesicMidpoint": flows.GeodesicMidpoint,
    "AnswerBias": lambda: ls.benchmark.AnswerBias(tuple(map(str, range(MANY))), _d(MANY)),
    "Chosen": lambda: ls.benchmark.Chosen(
        {"CAA": (caa(3),) * 9}, {"CAA": {"layer": 3}}, {"LQR": LONG}
    ),
    "ComparisonConfig": config,
    "LayerPrior": ls.benchmark.LayerPrior,
    "MethodFamily": lambda: ls.benchmark.FAMILIES["CAA"],
    "CompareSettings": lambda: ls.benchmark.CompareSettings(
        "gpt2", ("organism:sentiment",) * 9, Path("out"), config()
    ),
    "ModelDefaults": lambda: ls.benchmark.ModelDefaults("organism:sentiment", "last", 40),
    "FixedCosts": lambda: ls.benchmark.FixedCosts(_d(MANY), _d(MANY), _d(MANY), _d(MANY), _d(MANY)),
    "Trial": trial,
    "DemoSettings": lambda: DemoSettings("organism", "organism:sentiment", Path("out"), 0),
    "Example": lambda: examples("good")[0],
    "LeftOut": lambda: LeftOut({f"reason {i}": tuple(map(str, range(MANY))) for i in range(5)}),
    "DistinctParts": lambda: DistinctParts((prompts(),) * 2, (LeftOut(), LeftOut()), (MANY,) * 2),
    "Prompts": prompts,
    "About": lambda: About("a set", "MIT", LONG, counts=LONG),
    "PublishedSet": lambda: PublishedSet(About("a set", "MIT", LONG), questions=questions()),
    "Question": lambda: question(0),
    "Questions": questions,
    "Template": lambda: Template("own", LONG + "{question}", instruction=LONG),
    "Probe": lambda: ls.diagnostics.Probe(LONG, " good", " bad"),
    "ExactMatch": lambda: ls.evaluation.ExactMatch({f"{i} {LONG}": ["yes"] for i in range(MANY)}),
    "RefusalPhrases": ls.evaluation.RefusalPhrases,
    "AnswerLikelihoods": lambda: ls.evaluation.AnswerLikelihoods(
        questions(), ((), *[(caa(3),)] * 9), _d(10, 20, 10), ((1,) * 10,) * 20
    ),
    "AnswerThreshold": lambda: ls.evaluation.AnswerThreshold(0.1),
    "EditSizes": lambda: edit_sizes(),
    "Endpoint": lambda: ls.evaluation.Endpoint("http://localhost:1/v1", "judge", "{text} " + LONG),
    "ErrorRates": lambda: ls.evaluation.ErrorRates(80, 100, 90, 100),
    "FixedTexts": lambda: ls.evaluation.FixedTexts((sampled(),) * MANY),
    "GeneratedText": lambda: generation(MANY)[0],
    "FirstPerson": ls.evaluation.FirstPerson,
    "IsQuestion": ls.evaluation.IsQuestion,
    "PastTense": ls.evaluation.PastTense,
    "Judgement": lambda: ls.evaluation.Judgement(torch.zeros(MANY), (LONG,) * MANY),
    "LocalNats": lambda: ls.evaluation.LocalNats((1.0, 2.0), (0.1, 0.4), around(1.0), 9, 9),
    "AnswerCosts": lambda: ls.evaluation.AnswerCosts(_d(9), _d(9, 20), _d(9, 20), _d(9, 20)),
    "Evaluation": lambda: evaluated(),
    "SampledText": lambda: sampled(),
    "TextClassifier": lambda: ls.evaluation.TextClassifier(
        tuple(f"term {i}" for i in range(MANY)), uniform(MANY).double(), _d(MANY), 0.0,
        ls.evaluation.ErrorRates(80, 100, 90, 100),
    ),
    "TextCosts": lambda: text_costs(),
    "Interval": lambda: Interval(1 / 3, 0.25, 0.5),
    "Intervals": lambda: Intervals([Interval(1 / 3, 0.25, 0.5)] * LAYERS),
    "Resampling": lambda: Resampling.of((MANY,), seed=0),
    "PullbackFisher": lambda: PullbackFisher(_d(9, WIDTH), 3, 9),
    "Fingerprint": fingerprint,
    "FirstPosition": lambda: FirstPosition((99.0,) * LAYERS, (3,) * LAYERS, (0.9,) * LAYERS),
    "Versions": lambda: Versions((("torch", "2.13.0"),) * 12, "Linux-" + LONG[:40], "cpu"),
    "Message": lambda: Message("user", LONG),
    "Provenance": lambda: Provenance(fingerprint(), "organism:sentiment", "last"),
    "Sink": lambda: Sink(0, 0, "<bos>", 3, 99.0, 5, 0.9),
    "Sinks": lambda: Sinks((Sink(0, 0, "<bos>", 3, 99.0, 5, 0.9),) * MANY, MANY, 9 * MANY),
    "Encoded": lambda: Encoded(tuple(range(MANY)), 3),
    "Genre": lambda: genres()["review"],
    "FeatureBound": bound,
    "PredictionBand": lambda: PredictionBand(_d(9, LAYERS), _d(9, LAYERS)),
    "Envelope": lambda: bound().step,
    "LinearLoop": lambda: LinearLoop("A - B K", _d(LAYERS, 4, 4), _d(LAYERS, 4)),
    "Trajectories": lambda: Trajectories(_d(TEXTS, LAYERS + 1, 4), _d(TEXTS, LAYERS, 4), GROUPS),
}  # fmt: skip


def edit_sizes() -> ls.evaluation.EditSizes:
    size, texts = _d(MANY, LAYERS), torch.zeros(MANY).long()
    return ls.evaluation.EditSizes(size, size, size, texts, tuple(range(LAYERS)))


def sampled() -> ls.evaluation.SampledText:
    return ls.evaluation.SampledText(tuple(range(MANY)), 3)


def text_costs() -> ls.evaluation.TextCosts:
    return ls.evaluation.TextCosts(*(uniform(MANY, seed=i).double() + 1 for i in range(4)))


def evaluated() -> ls.evaluation.Evaluation:
    shown, keys = uniform(MANY), tuple(range(MANY))
    costs: Any = {"text_costs": text_costs(), "text_groups": keys, "failure": LONG}
    return ls.evaluation.Evaluation(shown, keys, 5.0, (LONG,) * MANY, shown > 0.1, **costs)
