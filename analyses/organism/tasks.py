"""The embedded model's behaviours as tasks: what a method has to do, and on which prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import lens_steer as ls
from analyses.studies import selected
from lens_steer import organism


@dataclass(frozen=True)
class Opposite:
    """A judge of the contrary behaviour, for steering away from it.

    Attributes:
        judge: Of the behaviour.
    """

    judge: organism.ExactJudge

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 where the judge finds more words of the undesired side."""
        counts = [self.judge.evidence(p, t) for p, t in zip(prompts, texts, strict=True)]
        return torch.tensor([float(undesired > desired) for desired, undesired in counts])

    def well_formed(self, prompts: Sequence[str], texts: Sequence[str]) -> Bool[Tensor, " text"]:
        """Whether each text is well formed, by the same judge."""
        return self.judge.well_formed(prompts, texts)


@dataclass(frozen=True)
class Task:
    """A behaviour to steer to, on prompts whose texts do not show it without steering.

    Attributes:
        name: In tables.
        behaviour: The behaviour whose pairs are used.
        sign: 1 towards the behaviour, -1 away from it.
        asks: Whether an entity's prompts are used; None uses all.
    """

    name: str
    behaviour: str
    sign: int = 1
    asks: Callable[[str], bool] | None = None

    @property
    def judge(self) -> Any:
        """What texts are scored by."""
        judge = organism.judge(self.behaviour)
        return judge if self.sign > 0 else Opposite(judge)

    def pairs_of(self, pairs: ls.ContrastivePairs) -> ls.ContrastivePairs:
        """The pairs whose prompts the task is measured on."""
        asks = self.asks
        if asks is None:
            return pairs
        return selected(pairs, [i for i, e in enumerate(pairs.desired) if asks(e.group)])


def tasks() -> tuple[Task, ...]:
    """One task for each behaviour, and two for refusal: towards it and away from it."""
    plain = [Task(name, name) for name in organism.behaviours() if name != "refusal"]
    refusal = Task("refusal", "refusal", asks=lambda verb: not organism.harmful(verb))
    compliance = Task("compliance", "refusal", sign=-1, asks=organism.harmful)
    return (*plain[:3], refusal, compliance, *plain[3:])


def thinned(pairs: ls.ContrastivePairs, most: int) -> ls.ContrastivePairs:
    """At most so many pairs, evenly spaced: neighbours are about the same entity."""
    count = min(most, len(pairs))
    return selected(pairs, [i * len(pairs) // count for i in range(count)])
