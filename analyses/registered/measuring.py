"""What one unit of the registered study measures: rows of plain JSON for the journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.registered.methods import METHODS, drawn
from analyses.registered.tasks import Task
from lens_steer.benchmark import FitCache
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    FixedTexts,
    calibrate_along,
    evaluate_each,
)
from lens_steer.steering import Decoding, Intervention

NATS = (0.03, 0.1, 0.3)  # per token; structures are chosen at the middle one
CHOSEN_AT = 0.1
CALIBRATED_ON = 8  # dev prompts
TEMPERATURE = 0.7
_DIGITS = 6
# What keeps a structure from being taken: it cannot be made, calibrated, or solved for.
_REFUSED = (ValueError, torch.linalg.LinAlgError)  # pyright: ignore[reportPrivateImportUsage]

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Terms:
    """What is the same for all units of a run.

    Attributes:
        tokens: The largest number of tokens of each text.
        draws: Structures drawn for each method and fold.
        seed: Of everything that is drawn.
        shuffled: Whether half of the pairs that methods are fitted to are turned round, at random:
            then there is nothing to be found.
    """

    tokens: int
    draws: int
    seed: int
    shuffled: bool = False

    @property
    def decoding(self) -> Decoding:
        """How texts are written and steered: the last prompt token and every one after it."""
        return Decoding(temperature=TEMPERATURE, max_new_tokens=self.tokens, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Fold:
    """One part of a task that is tested, and what is fitted to the others.

    Attributes:
        model: The model.
        task: The task.
        number: Of the fold.
        terms: Those of the run.
    """

    model: ls.SteerableModel
    task: Task
    number: int
    terms: Terms

    @cached_property
    def dev(self) -> ContrastivePairs:
        """The pairs to choose and calibrate on, the same in every fold."""
        return self.task.parts(self.terms.seed)[0]

    @cached_property
    def test(self) -> ContrastivePairs:
        """The pairs that are tested in this fold."""
        return self.task.parts(self.terms.seed)[1][self.number]

    @cached_property
    def cache(self) -> FitCache:
        """The pairs of the other folds, and what methods are made of."""
        train = self.task.train(self.terms.seed, self.number)
        if self.terms.shuffled:
            train = turned_round(train, seed=self.source)
        return FitCache(self.model, train)

    @property
    def source(self) -> int:
        """The seed of structures and controls in this fold."""
        letters = sum(map(ord, self.task.name))
        return int(np.random.default_rng([self.terms.seed, self.number, letters]).integers(2**31))

    @cached_property
    def texts(self) -> FixedTexts:
        """Unsteered texts along which methods are calibrated."""
        few = self.dev.spread(CALIBRATED_ON)
        return FixedTexts.sample(self.model, few, decoding=self.terms.decoding)

    @cached_property
    def plain_preference(self) -> Tensor:
        """Of the dev pairs, unsteered."""
        return ls.preference(self.model, self.dev)

    def method_rows(self, name: str) -> Rows:
        """Every structure of a method at one cost, and the one that dev prefers at all costs."""
        structures = drawn(name, self.cache, self.source, self.terms.draws)
        made = [self.made(name, structure) for structure in structures]
        rows = [
            {"method": name, "draw": i, "nats": CHOSEN_AT, "structure": structure}
            for i, structure in enumerate(structures)
        ]
        rows = self.measured(rows, [self.calibrated(m, CHOSEN_AT) for m in made])
        usable = [i for i, row in enumerate(rows) if "dev_gain" in row]
        if usable:
            best = max(usable, key=lambda i: float(np.mean(rows[i]["dev_gain"])))
            others = [nats for nats in NATS if nats != CHOSEN_AT]
            again = [rows[best] | {"nats": nats} for nats in others]
            again = [{k: row[k] for k in ("method", "draw", "nats", "structure")} for row in again]
            rows += self.measured(again, [self.calibrated(made[best], n) for n in others])
        return rows

    @property
    def how(self) -> dict[str, Any]:
        """How texts are written and judged."""
        return {"judge": self.task.judge, "decoding": self.terms.decoding}

    def made(self, name: str, structure: Mapping[str, Any]) -> Intervention | str:
        """The method of a structure, or why there is none."""
        try:
            return METHODS[name].make(self.cache, structure)
        except _REFUSED as error:
            return f"not made: {error}"

    def calibrated(self, method: Intervention | str, nats: float) -> Intervention | str:
        """The method at the strength of a cost along the dev texts, or why there is none."""
        if isinstance(method, str):
            return method
        try:
            return calibrate_along(self.model, method, self.texts, kl=nats, progress=False)
        except _REFUSED as error:
            return f"not calibrated: {error}"

    def measured(
        self, heads: Sequence[Mapping[str, Any]], methods: Sequence[Intervention | str]
    ) -> Rows:
        """Rows of methods at the strengths they have, on dev and on test."""
        usable = [m for m in methods if not isinstance(m, str)]
        found = iter(evaluate_each(self.model, self.test, usable, **self.how) if usable else [])
        rows = []
        for head, method in zip(heads, methods, strict=True):
            if isinstance(method, str):
                rows.append({**head, "failure": method})
                continue
            row = {**head, "strength": _short(method.strength), "shown": repr(method)}
            row = row_of(row, next(found)) | {"dev_gain": _numbers(self.dev_gain(method))}
            if self.task.likelihood:
                gain = ls.preference(self.model, self.test, method) - self._plain_test
                row["test_gain"] = _numbers(gain)
            rows.append(row)
        return rows

    def dev_gain(self, method: Intervention) -> Float[Tensor, " pair"]:
        """Change of the preference of each dev pair, nats per token."""
        return ls.preference(self.model, self.dev, method) - self.plain_preference

    @cached_property
    def _plain_test(self) -> Tensor:
        return ls.preference(self.model, self.test)


def turned_round(pairs: ContrastivePairs, *, seed: int) -> ContrastivePairs:
    """The same pairs, the two sides of a random half of them exchanged."""
    turned = np.random.default_rng(seed).permutation(len(pairs)) < len(pairs) // 2
    sides = zip(pairs.desired, pairs.undesired, turned.tolist(), strict=True)
    rows = [(b, a) if turn else (a, b) for a, b, turn in sides]
    desired, undesired = zip(*rows, strict=True)
    return ContrastivePairs(desired, undesired, name=f"{pairs.name}, turned round")


def row_of(head: Mapping[str, Any], found: Evaluation) -> dict[str, Any]:
    """What a journal keeps of one evaluation: every item, its group's number and text."""
    costs: Any = found.text_costs
    names = list(dict.fromkeys(found.groups))
    return {
        **head,
        "behaviour": _numbers(found.behaviour),
        "groups": [names.index(group) for group in found.groups],
        "kl": _numbers(costs.kl),
        "tokens": [int(n) for n in costs.draws.tolist()],
        "unjudged": sum(map(bool, found.unjudged)),
        "repetition": _short(found.repetition),
        "perplexity": _short(found.perplexity),
        "broken": found.failure,
        "texts": list(found.texts),
    }


def _numbers(x: Tensor) -> list[float]:
    return [_short(value) for value in torch.as_tensor(x).double().tolist()]


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
