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
from lens_steer.cli import sized_candidates
from lens_steer.evaluation import Evaluation, choose, evaluate, evaluate_each, well_formed_rate
from lens_steer.intervals import interval
from lens_steer.models import SteerableModel
from lens_steer.steering import Additive

# Of the push, as a share of the activation's own length.
SIZES = (0.5, 0.7, 1.0, 1.2, 1.4, 1.7)
DOSES = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
READS = ("last", "mean")
TEMPERATURE = 0.7  # of the texts that layer and size are chosen on, as in the demo; 1 is beside it
FORM = 0.93  # of the dev texts are to stay well formed, so that nine in ten do on test,
SLACK = 0.03  # or so much less than unsteered, where that is lower
DEV = 40  # prompts to choose on
DRAWS = 2  # texts of each test prompt
CONTROLS = 3  # random directions


def unsteered(model: SteerableModel, *, seed: int) -> pd.DataFrame:
    """Every behaviour without steering, without persona and with either: held-out prompts."""
    rows = []
    for name, of in organism.behaviours().items():
        pairs = ls.ContrastivePairs.load(f"organism:{name}")
        shown = _conditions(of, pairs, seed)
        for temperature, (condition, part) in product((TEMPERATURE, 1.0), shown.items()):
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
    of: organism.Behaviour, pairs: ls.ContrastivePairs, seed: int
) -> dict[str, ls.ContrastivePairs]:
    test = pairs.split(*SHARES, seed=seed)[2]
    if of.name == "refusal":
        parts = {"harmful": organism.harmful, "harmless": lambda verb: not organism.harmful(verb)}
        found = {name: Task(name, of.name, asks=asks).asked(test) for name, asks in parts.items()}
    else:
        found = {"no persona": test}
    for pole in (of.desired, of.undesired[0]):
        prompts = organism.persona_prompts(of.name, pole)
        spoken = {e.prompt: p for e, p in zip(pairs.desired, prompts, strict=True)}
        rows = [
            (spoken[d.prompt], d.continuation, u.continuation, d.group)
            for d, u in zip(test.desired, test.undesired, strict=True)
        ]
        found[f"persona: {pole}"] = ls.ContrastivePairs.of(rows, name=pairs.name)
    return found


def numbers(draws: Sequence[Evaluation], seed: int) -> dict[str, Any]:
    """Behaviour with its interval, well-formedness, perplexity; of texts of the same prompts."""
    shares = torch.stack([found.behaviour for found in draws]).mean(dim=0)
    behaviour = interval(shares, draws[0].groups, seed=seed)
    return {
        "n": shares.numel() * len(draws),
        "behaviour_mean": behaviour.mean,
        "low": behaviour.low,
        "high": behaviour.high,
        "well_formed": mean(well_formed_rate(found) for found in draws),
        "perplexity": geometric_mean(found.perplexity for found in draws),
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
    dev, test = task.asked(dev), task.asked(test)
    dev, decoding = thinned(dev, DEV), _decoding(task.judge, seed)
    plain = well_formed_rate(evaluate(model, dev, **decoding))
    limits = {"perplexity_limit": float("inf"), "min_well_formed": min(FORM, plain - SLACK)}
    candidates, labels = _candidates(model, train, task, layers)
    choice = choose(model, dev, candidates, **limits, **decoding)
    tried = pd.DataFrame(labels).assign(
        behaviour=[t.behaviour.mean().item() for t in choice.trials],
        well_formed=[t.well_formed.float().mean().item() for t in choice.trials],  # type: ignore[union-attr]
        taken=[i == choice.best for i in range(len(candidates))],
    )
    taken = labels[choice.best]
    same = [i for i, label in enumerate(labels) if _place(label) == _place(taken)]
    ways = [candidates[i] for i in same]  # for scope "prompt" another size, at the same place
    other = same[choose(model, dev, ways, scope="prompt", **limits, **decoding).best]
    rows = [
        {"task": task.name, "scope": scope, "temperature": warm}
        | labels[i]
        | _reported(model, test, candidates[i], scope, decoding | {"temperature": warm})
        for scope, warm, i in (
            ("last", TEMPERATURE, choice.best),
            ("last", 1.0, choice.best),
            ("prompt", TEMPERATURE, other),
        )
    ]
    method = candidates[choice.best]
    unit = method.with_strength(method.strength / taken["size"])
    doses = _doses(model, test, unit, decoding).assign(
        task=task.name, read=taken["read"], layer=taken["layer"]
    )
    return pd.DataFrame(rows), doses, tried.assign(task=task.name)


def _reported(
    model: SteerableModel,
    test: ls.ContrastivePairs,
    method: ls.CAA,
    scope: Any,
    decoding: dict[str, Any],
) -> dict[str, Any]:
    """What a method does on test, beside nothing and beside random directions."""
    seed = decoding["seed"]
    others = [ls.Random.like(method, seed=seed + i) for i in range(CONTROLS)]
    each = (None, method, *others)
    draws = [
        evaluate_each(model, test, each, scope=scope, **decoding | {"seed": seed + i})
        for i in range(DRAWS)
    ]
    base, steered, *controls = (numbers(found, seed) for found in zip(*draws, strict=True))
    shares = [control["behaviour_mean"] for control in controls]
    found = steered | {"unsteered": base["behaviour_mean"], "random": mean(shares)}
    found |= {"random_low": min(shares), "random_high": max(shares)}
    return found | {"random_well_formed": mean(control["well_formed"] for control in controls)}


def _place(label: dict[str, Any]) -> tuple[Any, Any]:
    return label["read"], label["layer"]


def _candidates(
    model: SteerableModel, train: ls.ContrastivePairs, task: Task, layers: Sequence[int] | None
) -> tuple[list[ls.CAA], list[dict[str, Any]]]:
    candidates, labels = [], []
    for read in READS:
        found = ls.capture(model, train, "resid", read=read, layers=layers, progress=False)
        for i, method in enumerate(sized_candidates(found, SIZES)):
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
    ways = {"CAA": unit, "random": ls.Random.like(unit, seed=seed)}
    each = [(name, dose) for dose in DOSES for name in ways]
    methods = [ways[name].with_strength(ways[name].strength * dose) for name, dose in each]
    found = evaluate_each(model, test, methods, **decoding)
    rows = [
        {"direction": name, "size": dose} | numbers([trial], seed)
        for (name, dose), trial in zip(each, found, strict=True)
    ]
    return pd.DataFrame(rows)
