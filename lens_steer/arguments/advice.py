"""What to write instead of an argument that does not fit."""

import inspect
import math
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import torch
from jaxtyping import AbstractArray
from torch import Tensor

from lens_steer.arguments.hints import Accepts, admits
from lens_steer.arguments.value_types import Number
from lens_steer.arguments.words import in_words, shortened

_MADE_BY = {
    "Activations": "ls.capture(model, pairs, 'resid') makes one",
    "LayerActivations": "ls.capture(model, pairs, 'resid').at(layer=...) makes one",
    "Barrier": "ls.PolynomialBarrier.fit(activations.at(layer=...), seed=0) makes one",
    "ContrastivePairs": "ls.ContrastivePairs.load(...) or .of([(prompt, desired, undesired)]) "
    "makes one",
    "Decoding": "ls.Decoding(max_new_tokens=40, seed=0) makes one, and its fields are keywords",
    "ElementMask": "scores.top(8) makes one",
    "ElementScores": "ls.attribution.contrast(activations) makes one",
    "FeatureDirections": "ls.FeatureDirections.of(activations) makes one",
    "Intervention": "ls.CAA.fit(activations.at(layer=...)) makes one",
    "Judge": "a judge is called with a list of prompts and one of texts and returns a score each",
    "LayerJacobians": "ls.linearize(model, pairs) makes one",
    "Prompts": "ls.prompts.load(path) makes one",
    "PublishedSet": "ls.benchmark.load(name, path) makes one",
    "Questions": "ls.benchmark.load(name, path).questions makes one",
    "Site": "ls.Site(layer, 'resid') makes one",
    "SteerableModel": "ls.load_model(name) makes one",
}
_WRAP = (
    "from transformer_lens.model_bridge import TransformerBridge; model = TransformerBridge."
    "boot_transformers('mine', hf_model=model, tokenizer=tokenizer)"
)


def advice(hint: Any, value: Any) -> str:
    """What to write for a value that an annotation does not admit; empty where nothing is known."""
    if undefined(value) and admits(hint, 1.0):
        return undefined(value)
    for way in (_instance, _model, _degrees, _converted, _attribute, _unpacked, _packed, _inner):
        words = way(hint, value)
        if words:
            return words
    names = [getattr(part, "__name__", "") for part in alternatives(hint)]
    return next((_MADE_BY[name] for name in names if name in _MADE_BY), "")


def undefined(value: Any) -> str:
    """For a setting that a paper names without saying what it is; empty for all others."""
    if isinstance(value, str) and value.strip().lower() == "angular":
        return (
            "angular set-points are not defined in arXiv:2604.19018, and its code calls a function "
            "for them that does not exist: a setpoint is a number of class differences, and "
            "ls.Angular turns activations by an angle"
        )
    return ""


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The annotations of which one has to fit."""
    if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], Accepts):
        return alternatives(get_args(hint)[1].hint)
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(part for arm in get_args(hint) for part in alternatives(arm))
    return (hint,)


def _instance(hint: Any, value: Any) -> str:
    """For a class where one of its values is meant."""
    parts = [part for part in alternatives(hint) if inspect.isclass(part)]
    if inspect.isclass(value) and any(_is_subclass(value, part) for part in parts):
        maker = f"{value.__name__}.fit(...)" if hasattr(value, "fit") else f"{value.__name__}(...)"
        return f"write {maker}, which makes one"
    return ""


def _is_subclass(value: type, parent: type) -> bool:
    try:
        return issubclass(value, parent)
    except TypeError:  # a protocol with attributes
        return False


def _model(hint: Any, value: Any) -> str:
    """For a model of another library."""
    if not hasattr(value, "named_parameters"):
        return ""
    names = [getattr(part, "__name__", "") for part in alternatives(hint)]
    if "SteerableModel" in names:
        return f"wrap a model of Hugging Face once, {_WRAP}"
    if admits(hint, "gpt2"):
        return (
            "a model of TransformerLens needs no loading, every function takes it; wrap one of "
            f"Hugging Face once, {_WRAP}"
        )
    return ""


def _degrees(hint: Any, value: Any) -> str:
    """For degrees where radians are meant."""
    if "in rad" in in_words(hint) and admits(float, value) and abs(value) <= 360:
        return f"{value} degrees are {math.radians(value):.4f}"
    return ""


def _attribute(hint: Any, value: Any) -> str:
    """For pairs where their prompts, or their continuations, are meant."""
    prompts = getattr(value, "prompts", None)
    if prompts is None or not admits(hint, prompts):
        return ""
    if not hasattr(value, "desired"):
        return "write pairs.prompts"
    return (
        "write pairs.prompts, or [example.continuation for example in pairs.desired] for what "
        "follows them"
    )


def _converted(hint: Any, value: Any) -> str:
    """For a value that another spelling would make right."""
    array = any(inspect.isclass(p) and issubclass(p, AbstractArray) for p in alternatives(hint))
    tries: list[tuple[str, Any]] = []
    if isinstance(value, str) and isinstance(getattr(torch, value, None), torch.dtype):
        tries = [(f"torch.{value}", getattr(torch, value))]
    elif isinstance(value, np.ndarray):
        tries = [("torch.as_tensor(x)", Tensor) if array else ("x.tolist()", value.tolist())]
    elif isinstance(value, Tensor):
        tries = [("x.float()", value.float() if not value.is_complex() else None)]
        tries += [("x.item()", value.item() if value.numel() == 1 else None)]
        tries += [("x.tolist()", value.tolist())]
    elif isinstance(value, str):
        tries = _numbers(value)
    elif admits(Number, value):
        whole = int(value) if abs(value) < 2**63 and int(value) == value else None
        tries = [(str(whole), whole), (repr(str(value)), str(value))]
    for words, made in tries:
        if made is Tensor or (made is not None and admits(hint, made)):
            return f"write {words}"
    return ""


def _numbers(text: str) -> list[tuple[str, Any]]:
    tries: list[tuple[str, Any]] = []
    for kind in (int, float):
        try:
            tries.append((text.strip(), kind(text)))
        except ValueError:
            continue
    return tries


def _unpacked(hint: Any, value: Any) -> str:
    """For a list of one thing where the thing is meant."""
    one = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1
    if one and admits(hint, value[0]):
        return f"write {shortened(value[0])} itself, not a list of it"
    return ""


def _packed(hint: Any, value: Any) -> str:
    """For one thing where a list of it is meant."""
    if not isinstance(value, Sequence | Mapping) or isinstance(value, str):
        name = type(value).__name__
        ways = (([value], "[{}] for one"), ((value,), "({},) for one"), ({name: value}, "{{{}}}"))
        for made, words in ways:
            if admits(hint, made):
                named = f"'{name}': method" if isinstance(made, dict) else shortened(value)
                return "write " + words.format(named)
    return ""


def _inner(hint: Any, value: Any) -> str:
    """For a list of which one part does not fit: what to write for that part."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ""
    for part in alternatives(hint):
        for inner in get_args(part):
            wrong = [item for item in value if inner is not ... and not admits(inner, item)]
            words = advice(inner, wrong[0]) if wrong else ""
            if words:
                return f"for {shortened(wrong[0])} {words}"
    return ""
