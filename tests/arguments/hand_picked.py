"""Calls that users have made by mistake, on the embedded model."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch

import lens_steer as ls
from lens_steer.arguments import shortened

Case = tuple[str, str, Callable[[], Any]]


def hand_picked() -> Iterator[Case]:
    """(what is called, the argument or word that the error has to name, the call)."""
    model = ls.load_model("organism")
    pairs = ls.ContrastivePairs.load("organism:sentiment").first(24)
    resid = ls.capture(model, pairs, "resid", progress=False)
    method = ls.CAA.fit(resid.at(layer=3))
    for make in (_texts, _places, _numbers, _tensors, _models, _files):
        yield from make(model, pairs, resid, method)


def _case(argument: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Case:
    name = getattr(getattr(function, "func", function), "__qualname__", "")
    words = [*map(shortened, args), *(f"{k}={shortened(v)}" for k, v in kwargs.items())]
    return f"{name}({', '.join(words)})", argument, partial(function, *args, **kwargs)


def _texts(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    yield _case("prompts", ls.generate, model, "abc", method, seed=0)
    yield _case("prompts", ls.generate, model, pairs, method, seed=0)
    yield _case("prompts", ls.generate, model, [1, 2], method, seed=0)
    yield _case("prompts", ls.steering.prompt_means, model, "abc")
    yield _case("stop", ls.generate, model, ["a"], method, seed=0, stop="\n")
    yield _case("stop", ls.generate, model, ["a"], method, seed=0, stop=[""])
    yield _case("words", ls.WordList, "good")
    yield _case("words", ls.WordList, ())
    yield _case("pairs", ls.capture, model, "organism:sentiment", "resid")
    yield _case("row 0", ls.capture, model, ["a", "b"], "resid")
    yield _case("kind", ls.capture, model, pairs, "residual")
    yield _case("read", ls.capture, model, pairs, "resid", read="first")


def _places(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    for layer in (1.5, 15.0, math.nan, True, "3", -1, None):
        yield _case("layer", ls.Site, layer)
        yield _case("layer", resid.at, layer=layer)
        if layer is not None:
            yield _case("layer", resid.__getitem__, layer)
    yield _case("layer", resid.at, layer=99)
    yield _case("layer", ls.CAA.fit, resid, layer="3")
    yield _case("layer", ls.CAA.fit, resid)
    yield _case("scope", ls.generate, model, ["a"], method, seed=0, scope=3)
    yield _case("scope", ls.generate, model, ["a"], method, seed=0, scope="everywhere")
    yield _case("scope", ls.generate, model, ["a"], method, seed=0, scope=[True])
    yield _case("scope", ls.generate, model, ["a"], method, seed=0, scope=[-1])
    yield _case("layers", ls.Ablation.fit, resid, layer=3, layers=3)
    yield _case("layers", ls.Ablation.fit, resid, layer=3, layers=[])
    yield _case("layers", ls.Ablation.fit, resid, layer=3, layers=[-1])


def _numbers(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    generate = partial(ls.generate, model, ["a"], method)
    barrier = ls.LinearBarrier.fit_means(resid.at(layer=3))
    top = ls.attribution.contrast(resid).top
    calls: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("seed", generate, (-1, 1.5, "0", None, math.nan, True)),
        ("seed", partial(pairs.split, 0.5, 0.5), (-1, 1.5, "0", None, math.nan, True)),
        ("seed", partial(ls.PolynomialBarrier.fit, resid.at(layer=3)), (-1, 1.5, "0", None)),
        ("max_new_tokens", partial(generate, seed=0), (1.5, 0, -1, "3", None, True)),
        ("temperature", partial(generate, seed=0), (-1, math.nan, math.inf, "1", None, 1e-39)),
        ("top_p", partial(generate, seed=0), (0, 1.5, -0.1, math.nan, None)),
        ("n", pairs.first, (-1, 0, 1.5, None, "2")),
        ("strength", method.with_strength, (math.nan, math.inf, "1", None, True)),
        ("kl", partial(ls.calibrate, model, method, pairs, seed=0), (0, -1, math.nan, "0.1")),
        ("angle", partial(ls.ODESteer, barrier, layer=3), (30, -90, math.nan, "0.5", None)),
        ("k", top, (0, -1, 1.5, 10**6)),
    )
    for argument, function, values in calls:
        for value in values:
            yield _case(argument, function, **{argument: value})
    for fractions in ((0.5, 0.6), (-0.5, 0.5), ()):
        yield _case("fractions", pairs.split, *fractions, seed=0)


def _tensors(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    width = resid.desired.shape[-1]
    yield _case("x", method.transform, torch.ones(2, width, dtype=torch.int64))
    yield _case("x", method.transform, torch.ones(2, width, dtype=torch.complex64))
    yield _case("x", method.transform, np.ones((2, width)))
    yield _case("shape", method.transform, torch.ones(2, width + 1))
    yield _case("desired", ls.CAA.fit, np.ones((4, width)), np.ones((4, width)), layer=3)
    yield _case("undesired", ls.CAA.fit, torch.ones(4, width), layer=3)
    barrier = ls.LinearBarrier.fit_means(resid.at(layer=3))
    yield _case("x", barrier.h, torch.ones(2, width, dtype=torch.int64))
    yield _case("x", barrier.grad, np.ones((2, width)))
    yield _case("shape", barrier.h, torch.ones(2, width + 1))
    yield _case("direction", ls.Ablation.from_direction, np.ones(width), [ls.Site(3)])
    yield _case("sites", ls.Ablation.from_direction, torch.ones(width), ls.Site(3))


def _models(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    hugging_face = model.original_model
    for wrong in (hugging_face, "organism", None, ls.load_model):
        yield _case("model", ls.generate, wrong, ["a"], method, seed=0)
        yield _case("model", ls.capture, wrong, pairs, "resid")
        yield _case("model", ls.linearize, wrong, pairs)
        yield _case("model", ls.evaluate, wrong, pairs, method, seed=0)
    yield _case("name", ls.load_model, hugging_face)
    yield _case("dtype", ls.load_model, "organism", dtype="bfloat16")
    yield _case("backend", ls.load_model, "organism", backend="bridges")
    for wrong in ([method], ls.Random, ls.CAA, "CAA", None, ls.Decoding(seed=0)):
        yield _case("argument 1", ls.generate, model, ["a"], wrong, seed=0)
        yield _case("argument 1", ls.steered, model, wrong)
        yield _case("method", ls.calibrate, model, wrong, pairs, kl=0.1, seed=0)
    yield _case("decoding", ls.generate, model, ["a"], method, decoding={"seed": 0})
    yield _case("method", ls.Random.like, 3, method)
    yield _case("judge", ls.evaluate, model, pairs, method, judge="positive", seed=0)
    yield _case("judge", ls.evaluate, model, pairs, method, judge=ls.WordList, seed=0)
    yield _case("layr", ls.CAA.fit, resid, layr=3)
    yield _case("do_sample", ls.generate, model, ["a"], method, seed=0, do_sample=True)
    yield _case("reed", ls.capture, model, pairs, "resid", reed="last")
    yield _case("max_tokens", ls.Decoding, max_tokens=3)


def _files(model: Any, pairs: Any, resid: Any, method: Any) -> Iterator[Case]:
    folder = Path(mkdtemp())
    yield _case("path", ls.save, method, "")
    yield _case("path", ls.save, method, 3)
    yield _case("path", ls.load, 3)
    yield _case("safetensors", ls.load, folder / "none.safetensors")
    yield _case("thing", ls.save, 3, folder / "three.safetensors")
    yield _case("pairs", ls.ContrastivePairs.load, 3)
    yield _case("none.jsonl", ls.ContrastivePairs.load, folder / "none.jsonl")
