"""Read a language model and steer it.

>>> import lens_steer as ls
>>> model = ls.load_model("organism")  # "gpt2", or any HookedTransformer or TransformerBridge
>>> pairs = ls.ContrastivePairs.load("organism:sentiment")  # a .jsonl file, a list of tuples
>>> train, dev, test = pairs.split(0.6, 0.2, 0.2, seed=0)
>>> resid = ls.capture(model, train, "resid")  # activations of either class, at every layer
>>> method = ls.CAA.fit(resid.at(layer=3))  # a value: 2 * a - b, with_strength(0.5), print it
>>> texts = ls.generate(model, test.prompts, method, seed=0)  # or: with ls.steered(model, method):

The names below are what most work needs, in the order of that work. Everything else is in the room
it belongs to: `models`, `data`, `activations`, `attribution`, `linearity`, `barriers` (with `field`
and `barriers.flows`), `steering`, `evaluation`, `benchmark`, `diagnostics`, `tracking`,
`forecasting`, `artifacts`, `pages`, `organism`; each room's docstring says what it is for.
"""

# ruff: noqa: I001 - in the order of the work, not of the alphabet

from types import ModuleType
from typing import Any

# Rooms.
from lens_steer import organism as organism
from lens_steer import models as models
from lens_steer import data as data
from lens_steer import artifacts as artifacts
from lens_steer import activations as activations
from lens_steer import attribution as attribution
from lens_steer import linearity as linearity
from lens_steer import barriers as barriers
from lens_steer.barriers import field as field
from lens_steer import steering as steering
from lens_steer import evaluation as evaluation
from lens_steer import benchmark as benchmark
from lens_steer import diagnostics as diagnostics
from lens_steer import tracking as tracking
from lens_steer import forecasting as forecasting
from lens_steer import pages as pages

# Models and data.
from lens_steer.models import SteerableModel as SteerableModel
from lens_steer.models import load_model as load_model
from lens_steer.models import sinks as sinks
from lens_steer.models import special_tokens as special_tokens
from lens_steer.models import versions as versions
from lens_steer.data import ContrastivePairs as ContrastivePairs
from lens_steer.data import prompts as prompts
from lens_steer.sites import Site as Site

# Reading: activations, and the three analyses with what they hand over.
from lens_steer.activations import Activations as Activations
from lens_steer.activations import LayerActivations as LayerActivations
from lens_steer.activations import capture as capture
from lens_steer.attribution import ElementMask as ElementMask
from lens_steer.attribution import ElementScores as ElementScores
from lens_steer.linearity import FeatureDirections as FeatureDirections
from lens_steer.linearity import LayerJacobians as LayerJacobians
from lens_steer.linearity import linearize as linearize
from lens_steer.barriers import Barrier as Barrier
from lens_steer.barriers import LinearBarrier as LinearBarrier
from lens_steer.barriers import PolynomialBarrier as PolynomialBarrier

# Steering methods.
from lens_steer.steering import Intervention as Intervention
from lens_steer.steering import CAA as CAA
from lens_steer.steering import ActAdd as ActAdd
from lens_steer.steering import RepE as RepE
from lens_steer.steering import ITI as ITI
from lens_steer.steering import Random as Random
from lens_steer.steering import Ablation as Ablation
from lens_steer.steering import Angular as Angular
from lens_steer.steering import SADI as SADI
from lens_steer.steering import LQR as LQR
from lens_steer.steering import LQRTracker as LQRTracker
from lens_steer.steering import PID as PID
from lens_steer.steering import ODESteer as ODESteer
from lens_steer.steering import MeanAcT as MeanAcT
from lens_steer.steering import LinearAcT as LinearAcT
from lens_steer.steering import MiMiC as MiMiC
from lens_steer.steering import FishBack as FishBack
from lens_steer.steering import Gate as Gate

# Running methods.
from lens_steer.steering import Decoding as Decoding
from lens_steer.steering import Scope as Scope
from lens_steer.steering import generate as generate
from lens_steer.steering import preview as preview
from lens_steer.steering import steered as steered

# Judging and comparing them.
from lens_steer.diagnostics import project as project
from lens_steer.diagnostics import vocabulary as vocabulary
from lens_steer.evaluation import Generation as Generation
from lens_steer.evaluation import generation as generation
from lens_steer.evaluation import side_by_side as side_by_side
from lens_steer.evaluation import WordList as WordList
from lens_steer.evaluation import calibrate as calibrate
from lens_steer.evaluation import choose as choose
from lens_steer.evaluation import evaluate as evaluate
from lens_steer.evaluation import evaluate_each as evaluate_each
from lens_steer.evaluation import preference as preference
from lens_steer.evaluation import sweep as sweep
from lens_steer.benchmark import Comparison as Comparison
from lens_steer.benchmark import compare as compare
from lens_steer.benchmark import comparison as comparison
from lens_steer.forecasting import forecast as forecast
from lens_steer.forecasting import recommend as recommend

# Keeping them.
from lens_steer.artifacts import describe as describe
from lens_steer.artifacts import load as load
from lens_steer.artifacts import save as save
from lens_steer.pages import report as report

from lens_steer import renamed as _renamed

_HIDDEN = {
    "Any",
    "ModuleType",
    "arguments",
    "axes",
    "figures",
    "files",
    "intervals",
    "renamed",
    "reports",
    "sites",
    "token_colours",
}
_PUBLIC = sorted(
    name
    for name, value in globals().items()
    if name not in _HIDDEN
    and not name.startswith("_")
    and (not isinstance(value, ModuleType) or value.__name__.startswith("lens_steer."))
)


def __dir__() -> list[str]:
    return _PUBLIC


def __getattr__(name: str) -> Any:
    return _renamed.attribute("lens_steer", name)
