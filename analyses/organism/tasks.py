"""The embedded model's behaviours as tasks: what is asked of a method, and on which prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import lens_steer as ls
from lens_steer import organism


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
        asks = self.asks
        if asks is None:
            return pairs
        return picked(pairs, [i for i, e in enumerate(pairs.desired) if asks(e.group)])


def tasks() -> tuple[Task, ...]:
    """One for each behaviour, refusal both ways."""
    plain = [Task(name, name) for name in organism.behaviours() if name != "refusal"]
    there = Task("refusal", "refusal", asks=lambda verb: not organism.harmful(verb))
    back = Task("compliance", "refusal", sign=-1, asks=organism.harmful)
    return (*plain[:3], there, back, *plain[3:])


def thinned(pairs: ls.ContrastivePairs, most: int) -> ls.ContrastivePairs:
    """At most so many, from all over: neighbours are about the same entity."""
    count = min(most, len(pairs))
    return picked(pairs, [i * len(pairs) // count for i in range(count)])


def picked(pairs: ls.ContrastivePairs, kept: Sequence[int]) -> ls.ContrastivePairs:
    """The pairs of these numbers."""
    desired, undesired = (tuple(side[i] for i in kept) for side in (pairs.desired, pairs.undesired))
    return ls.ContrastivePairs(desired, undesired, name=pairs.name)
