"""What the embedded model does unsteered, and what CAA makes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import lens_steer as ls
from lens_steer import organism
from lens_steer.demo import SHARES, sized_candidates
from lens_steer.evaluation import Evaluation, choose, evaluate, evaluate_each, share_of_form
from lens_steer.models import SteerableModel

# Of the push, as a share of the activation's own length.
SIZES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
DOSES = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
READS = ("last", "mean")
FORM = 0.9  # of the texts are to stay well formed,
SLACK = 0.05  # or so much less than unsteered, where that is lower
DEV = 40  # prompts to choose on


@dataclass(frozen=True)
class Opposite:
    """A judge of the contrary: for steering the other way."""

    judge: organism.ExactJudge

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 where the judge finds more of the others' words."""
        found = [self.judge.evidence(p, t) for p, t in zip(prompts, texts, strict=True)]
        return torch.tensor([float(others > desired) for desired, others in found])

    def well_formed(self, prompts: Sequence[str], texts: Sequence[str]) -> Bool[Tensor, " text"]:
        """As the judge."""
        return self.judge.well_formed(prompts, texts)


@dataclass(frozen=True)
class Task:
    """A behaviour to steer to, on prompts that do not show it of themselves.

    Attributes:
        name: Of the task.
        behaviour: Of the pairs.
        sign: 1 towards it, -1 away from it.
        asks: Which entities' prompts it is measured on; None: all.
    """

    name: str
    behaviour: str
    sign: int = 1
    asks: Callable[[str], bool] | None = None

    @property
    def judge(self) -> Any:
        """What is counted."""
        found = organism.judge(self.behaviour)
        return found if self.sign > 0 else Opposite(found)

    def asked(self, pairs: ls.ContrastivePairs) -> ls.ContrastivePairs:
        """The pairs whose prompts it is measured on."""
        kept = [i for i, e in enumerate(pairs.desired) if self.asks is None or self.asks(e.group)]
        desired, undesired = (
            tuple(side[i] for i in kept) for side in (pairs.desired, pairs.undesired)
        )
        return ls.ContrastivePairs(desired, undesired, name=pairs.name)


def tasks() -> tuple[Task, ...]:
    """One for each behaviour, refusal both ways."""
    plain = [Task(name, name) for name in organism.behaviours() if name != "refusal"]
    there = Task("refusal", "refusal", asks=lambda verb: not organism.harmful(verb))
    back = Task("compliance", "refusal", sign=-1, asks=organism.harmful)
    return (*plain[:3], there, back, *plain[3:])


def unsteered(model: SteerableModel, *, seed: int) -> pd.DataFrame:
    """Every behaviour without steering, without persona and with either: held-out prompts."""
    rows = []
    for name, of in organism.behaviours().items():
        pairs = ls.ContrastivePairs.load(f"organism:{name}")
        for condition, shown in _conditions(of, pairs, seed).items():
            found = evaluate(
                model, shown, judge=organism.judge(name), seed=seed, max_new_tokens=organism.LONGEST
            )
            rows.append({"behaviour": name, "prompts": condition} | numbers(found, seed))
    return pd.DataFrame(rows)


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


def numbers(found: Evaluation, seed: int) -> dict[str, Any]:
    """Behaviour with its interval, well-formedness, perplexity."""
    behaviour = found.interval(seed=seed)
    assert found.well_formed is not None
    return {
        "n": len(found.behaviour),
        "behaviour_mean": behaviour.mean,
        "low": behaviour.low,
        "high": behaviour.high,
        "well_formed": found.well_formed.float().mean().item(),
        "perplexity": found.perplexity,
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
    dev = ls.ContrastivePairs(dev.desired[:DEV], dev.undesired[:DEV], name=dev.name)
    decoding: dict[str, Any] = {"judge": task.judge, "seed": seed}
    decoding["max_new_tokens"] = organism.LONGEST
    plain = share_of_form(evaluate(model, dev, **decoding))
    limits = {"perplexity_limit": float("inf"), "form_limit": min(FORM, plain - SLACK)}
    candidates, labels = _candidates(model, train, task, layers)
    choice = choose(model, dev, candidates, **limits, **decoding)
    tried = pd.DataFrame(labels).assign(
        behaviour=[t.behaviour.mean().item() for t in choice.trials],
        well_formed=[t.well_formed.float().mean().item() for t in choice.trials],  # type: ignore[union-attr]
        taken=[i == choice.best for i in range(len(candidates))],
    )
    taken = labels[choice.best]
    best = {"last": choice.best}
    same = [i for i, label in enumerate(labels) if _place(label) == _place(taken)]
    ways = [candidates[i] for i in same]  # for scope "prompt" another size, at the same place
    best["prompt"] = same[choose(model, dev, ways, scope="prompt", **limits, **decoding).best]
    rows = [
        {"task": task.name, "scope": scope}
        | labels[i]
        | _reported(model, test, candidates[i], scope, decoding)
        for scope, i in best.items()
    ]
    method = candidates[choice.best]
    unit = method.with_strength(method.strength / taken["size"])
    doses = _doses(model, test, unit, task, seed).assign(read=taken["read"], layer=taken["layer"])
    return pd.DataFrame(rows), doses, tried.assign(task=task.name)


def _reported(
    model: SteerableModel,
    test: ls.ContrastivePairs,
    method: ls.CAA,
    scope: Any,
    decoding: dict[str, Any],
) -> dict[str, Any]:
    """What a method does on test, beside nothing and beside a random direction."""
    seed = decoding["seed"]
    each = (None, method, ls.Random.like(method, seed=seed))
    base, steered, control = evaluate_each(model, test, each, scope=scope, **decoding)
    found = numbers(steered, seed) | {"unsteered": base.behaviour.mean().item()}
    found |= {"random": control.behaviour.mean().item()}
    return found | {"random_well_formed": share_of_form(control)}


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
    model: SteerableModel, test: ls.ContrastivePairs, unit: ls.Additive, task: Task, seed: int
) -> pd.DataFrame:
    ways = {"CAA": unit, "random": ls.Random.like(unit, seed=seed)}
    each = [(name, dose) for dose in DOSES for name in ways]
    methods = [ways[name].with_strength(ways[name].strength * dose) for name, dose in each]
    found = evaluate_each(
        model, test, methods, judge=task.judge, seed=seed, max_new_tokens=organism.LONGEST
    )
    rows = [
        {"task": task.name, "direction": name, "size": dose} | numbers(trial, seed)
        for (name, dose), trial in zip(each, found, strict=True)
    ]
    return pd.DataFrame(rows)
