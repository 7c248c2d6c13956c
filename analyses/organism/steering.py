"""What the embedded model does unsteered, and what CAA makes of it."""

from collections.abc import Sequence
from itertools import product
from statistics import geometric_mean, mean
from typing import Any

import pandas as pd
import torch

import lens_steer as ls
from analyses.organism.tasks import Task, thinned
from lens_steer import organism
from lens_steer.benchmark import SHARES
from lens_steer.evaluation import Evaluation, choose, evaluate, evaluate_each, well_formed_rate
from lens_steer.intervals import interval
from lens_steer.models import SteerableModel
from lens_steer.steering import Additive

SIZES = (0.5, 0.7, 1.0, 1.2, 1.4, 1.7)  # of the push, over the length of the activation
DOSES = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
READS = ("last", "mean")
TEMPERATURE = 0.7  # of the texts that layer and size are chosen on, as in the demo
FORM = 0.93  # share of dev texts that must stay well formed, so that nine in ten do on test
SLACK = 0.03  # or so much less than unsteered, where that is lower
DEV = 40  # prompts to choose on
DRAWS = 2  # texts of each test prompt
CONTROLS = 3  # random directions


def unsteered(model: SteerableModel, *, seed: int) -> pd.DataFrame:
    """Every behaviour without steering on held-out prompts: without a persona and with either."""
    rows = []
    for name, behaviour in organism.behaviours().items():
        pairs = ls.ContrastivePairs.load(f"organism:{name}")
        conditions = _conditions(behaviour, pairs, seed)
        for temperature, (condition, part) in product((TEMPERATURE, 1.0), conditions.items()):
            decodings = [
                _decoding(organism.judge(name), seed + i, temperature) for i in range(DRAWS)
            ]
            draws = [evaluate(model, part, **decoding) for decoding in decodings]
            key = {"behaviour": name, "prompts": condition, "temperature": temperature}
            rows.append(key | numbers(draws, seed))
    return pd.DataFrame(rows)


def _decoding(judge: Any, seed: int, temperature: float = TEMPERATURE) -> dict[str, Any]:
    how: dict[str, Any] = {
        "temperature": temperature,
        "max_new_tokens": organism.LONGEST,
        "token_budget": 2**16,
    }
    return {"judge": judge, "seed": seed} | how


def _conditions(
    behaviour: organism.Behaviour, pairs: ls.ContrastivePairs, seed: int
) -> dict[str, ls.ContrastivePairs]:
    test = pairs.split(*SHARES, seed=seed)[2]
    conditions = {"no persona": test}
    if behaviour.name == "refusal":
        parts = {"harmful": organism.harmful, "harmless": lambda verb: not organism.harmful(verb)}
        tasks = {name: Task(name, behaviour.name, asks=asks) for name, asks in parts.items()}
        conditions = {name: task.pairs_of(test) for name, task in tasks.items()}
    for pole in (behaviour.desired, behaviour.undesired[0]):
        prompts = organism.persona_prompts(behaviour.name, pole)
        spoken = {e.prompt: p for e, p in zip(pairs.desired, prompts, strict=True)}
        rows = [
            (spoken[d.prompt], d.continuation, u.continuation, d.group)
            for d, u in zip(test.desired, test.undesired, strict=True)
        ]
        conditions[f"persona: {pole}"] = ls.ContrastivePairs.of(rows, name=pairs.name)
    return conditions


def numbers(draws: Sequence[Evaluation], seed: int) -> dict[str, Any]:
    """Behaviour with its interval, well-formedness and perplexity of texts of the same prompts."""
    shares = torch.stack([draw.behaviour for draw in draws]).mean(dim=0)
    behaviour = interval(shares, draws[0].groups, seed=seed)
    return {
        "n": shares.numel() * len(draws),
        "behaviour_mean": behaviour.mean,
        "low": behaviour.low,
        "high": behaviour.high,
        "well_formed": mean(well_formed_rate(draw) for draw in draws),
        "perplexity": geometric_mean(draw.perplexity for draw in draws),
    }


def steer(
    model: SteerableModel, task: Task, *, seed: int, layers: Sequence[int] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Choose read, layer and size on dev under scope "last"; report on test, and every dose.

    Returns:
        One row per scope, one per dose, one per candidate.
    """
    pairs = ls.ContrastivePairs.load(f"organism:{task.behaviour}")
    train, dev, test = pairs.split(*SHARES, seed=seed)
    dev, test = task.pairs_of(dev), task.pairs_of(test)
    dev, decoding = thinned(dev, DEV), _decoding(task.judge, seed)
    plain = well_formed_rate(evaluate(model, dev, **decoding))
    limits = {"perplexity_limit": float("inf"), "min_well_formed": min(FORM, plain - SLACK)}
    candidates, labels = _candidates(model, train, task, layers)
    choice = choose(model, dev, candidates, **limits, **decoding)
    tried = pd.DataFrame(labels).assign(
        behaviour=[t.behaviour.mean().item() for t in choice.trials],
        well_formed=[t.well_formed.float().mean().item() for t in choice.trials],  # type: ignore[union-attr]
        taken=[i == choice.best_index for i in range(len(candidates))],
    )
    best = labels[choice.best_index]
    same = [i for i, label in enumerate(labels) if _place(label) == _place(best)]
    there = [candidates[i] for i in same]  # for scope "prompt" another size, at the same place
    other = same[choose(model, dev, there, scope="prompt", **limits, **decoding).best_index]
    rows = [
        {"task": task.name, "scope": scope, "temperature": temperature}
        | labels[i]
        | _reported(model, test, candidates[i], scope, decoding | {"temperature": temperature})
        for scope, temperature, i in (
            ("last", TEMPERATURE, choice.best_index),
            ("last", 1.0, choice.best_index),
            ("prompt", TEMPERATURE, other),
        )
    ]
    method = candidates[choice.best_index]
    unit = method.with_strength(method.strength / best["size"])
    doses = _doses(model, test, unit, decoding).assign(
        task=task.name, read=best["read"], layer=best["layer"]
    )
    return pd.DataFrame(rows), doses, tried.assign(task=task.name)


def _reported(
    model: SteerableModel,
    test: ls.ContrastivePairs,
    method: ls.CAA,
    scope: Any,
    decoding: dict[str, Any],
) -> dict[str, Any]:
    """What a method does on test, beside no steering and beside random directions."""
    seed = decoding["seed"]
    randoms = [ls.Random.like(method, seed=seed + i) for i in range(CONTROLS)]
    methods = (None, method, *randoms)
    draws = [
        evaluate_each(model, test, methods, scope=scope, **decoding | {"seed": seed + i})
        for i in range(DRAWS)
    ]
    base, steered, *controls = (numbers(trials, seed) for trials in zip(*draws, strict=True))
    shares = [control["behaviour_mean"] for control in controls]
    return steered | {
        "unsteered": base["behaviour_mean"],
        "random": mean(shares),
        "random_low": min(shares),
        "random_high": max(shares),
        "random_well_formed": mean(control["well_formed"] for control in controls),
    }


def _place(label: dict[str, Any]) -> tuple[Any, Any]:
    return label["read"], label["layer"]


def sized_candidates(activations: ls.Activations, sizes: Sequence[float]) -> list[ls.CAA]:
    """CAA at every layer where the classes differ, pushing by these shares of the activation.

    Raises:
        ValueError: If the classes are equal at every layer.
    """
    candidates = []
    for layer in activations.layers:
        at = activations.at(layer)
        if bool(at.direction.any()):
            method = ls.CAA.fit(at)
            candidates += [method.with_strength(size / at.relative_length) for size in sizes]
    if not candidates:
        raise ValueError("the classes are equal at every layer read: read another position")
    return candidates


def _candidates(
    model: SteerableModel, train: ls.ContrastivePairs, task: Task, layers: Sequence[int] | None
) -> tuple[list[ls.CAA], list[dict[str, Any]]]:
    candidates, labels = [], []
    for read in READS:
        resid = ls.capture(model, train, "resid", read=read, layers=layers, progress=False)
        for i, method in enumerate(sized_candidates(resid, SIZES)):
            candidates.append(method if task.sign > 0 else -method)
            size = SIZES[i % len(SIZES)]
            labels.append({"read": read, "layer": method.sites[0].layer, "size": size})
    return candidates, labels


def _doses(
    model: SteerableModel,
    test: ls.ContrastivePairs,
    unit: Additive,
    decoding: dict[str, Any],
) -> pd.DataFrame:
    seed = decoding["seed"]
    units = {"CAA": unit, "random": ls.Random.like(unit, seed=seed)}
    cells = [(name, dose) for dose in DOSES for name in units]
    methods = [units[name].with_strength(units[name].strength * dose) for name, dose in cells]
    trials = evaluate_each(model, test, methods, **decoding)
    rows = [
        {"direction": name, "size": dose} | numbers([trial], seed)
        for (name, dose), trial in zip(cells, trials, strict=True)
    ]
    return pd.DataFrame(rows)
