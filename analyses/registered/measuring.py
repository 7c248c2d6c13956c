"""What one unit of the registered study measures: rows of plain JSON for the journal."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.registered.methods import EVERY, drawn
from analyses.registered.parts import Parted
from lens_steer.benchmark import FitCache
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, calibrate_along
from lens_steer.steering import Decoding, Intervention

NATS = (0.03, 0.1, 0.3)  # per token; structures are chosen at the middle one
CHOSEN_AT = 0.1
CALIBRATED_ON = 8  # dev prompts
SEEDS = 3  # of the texts of the gate, and of what dev has chosen
TEMPERATURE = 0.7
_DIGITS = 6
# What keeps a structure from being taken: it cannot be made, calibrated, or solved for.
REFUSED = (ValueError, torch.linalg.LinAlgError)  # pyright: ignore[reportPrivateImportUsage]

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

    def again(self, k: int) -> Decoding:
        """The same with other draws: seed k of `SEEDS`, of which 0 is `decoding`."""
        return replace(self.decoding, seed=self.seed + k)


@dataclass(frozen=True, eq=False)
class Fold(ABC):
    """One part of a task that is tested, and what is fitted to the others.

    Attributes:
        model: The model.
        task: The task.
        number: Of the fold.
        terms: Those of the run.
    """

    seeds: ClassVar[int] = 1  # of what dev has chosen

    model: ls.SteerableModel
    task: Parted
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
        """Every structure of a method as dev sees it, and what dev chose as test sees it.

        Tested are the structures that would be chosen were the search to end after any of them; the
        one that is chosen after all of them with all `seeds`, and at the other costs.
        """
        structures = drawn(name, self.cache, self.source, self.terms.draws)
        made = [self.made(name, structure) for structure in structures]
        fair = [self.calibrated(method, CHOSEN_AT) for method in made]
        heads = [
            {"method": name, "draw": i, "nats": CHOSEN_AT, "structure": structure}
            for i, structure in enumerate(structures)
        ]
        rows = self.promised(heads, fair)
        leaders = running_best([row.get("dev_gain") for row in rows])
        if not leaders:
            return rows
        best = leaders[-1]
        chosen = rows[best]
        again = [self.tested([chosen], [fair[best]], k)[0] for k in range(1, self.seeds)]
        tested = self.tested([rows[i] for i in leaders], [fair[i] for i in leaders])
        for i, row in zip(leaders, tested, strict=True):
            rows[i] = row
        head = {key: chosen[key] for key in ("method", "draw", "structure")}
        others = [nats for nats in NATS if nats != CHOSEN_AT]
        costs = [self.calibrated(made[best], nats) for nats in others]
        return rows + again + self.measured([head | {"nats": nats} for nats in others], costs)

    def made(self, name: str, structure: Mapping[str, Any]) -> Intervention | str:
        """The method of a structure, or why there is none."""
        try:
            return EVERY[name].make(self.cache, structure)
        except REFUSED as error:
            return f"not made: {error}"

    def calibrated(self, method: Intervention | str, nats: float) -> Intervention | str:
        """The method at the strength of a cost along the dev texts, or why there is none."""
        if isinstance(method, str):
            return method
        try:
            return calibrate_along(self.model, method, self.texts, kl=nats, progress=False)
        except REFUSED as error:
            return f"not calibrated: {error}"

    def measured(
        self, heads: Sequence[Mapping[str, Any]], methods: Sequence[Intervention | str]
    ) -> Rows:
        """Rows of methods at the strengths they have, on dev and on test."""
        rows = self.promised(heads, methods)
        usable = [i for i, row in enumerate(rows) if "dev_gain" in row]
        tested = self.tested([rows[i] for i in usable], [methods[i] for i in usable])
        for i, row in zip(usable, tested, strict=True):
            rows[i] = row
        return rows

    def promised(
        self, heads: Sequence[Mapping[str, Any]], methods: Sequence[Intervention | str]
    ) -> Rows:
        """Rows of what dev's pairs promise of methods at their strengths, or why there is none."""
        rows: Rows = []
        usable = [method for method in methods if not isinstance(method, str)]
        promises = iter(self.promises(usable))
        for head, method in zip(heads, methods, strict=True):
            if isinstance(method, str):
                rows.append({**head, "failure": method})
                continue
            made = {"strength": short(method.strength), "shown": repr(method)}
            rows.append({**head} | made | next(promises))
        return rows

    def promises(self, methods: Sequence[Intervention]) -> Rows:
        """What each method does to the dev pairs: `dev_gain`, of each pair."""
        return [{"dev_gain": numbers(self.dev_gain(method))} for method in methods]

    @abstractmethod
    def tested(self, rows: Rows, methods: Sequence[Any], k: int = 0) -> Rows:
        """The rows with what the methods do to the test items, with seed k."""

    def dev_gain(self, method: Intervention) -> Float[Tensor, " pair"]:
        """Change of the preference of each dev pair, nats per token."""
        return ls.preference(self.model, self.dev, method) - self.plain_preference


def running_best(gains: Sequence[Sequence[float] | None]) -> list[int]:
    """The structures that lead dev after one, two, ... of them; None or NaN is one without gain."""
    leaders: list[int] = []
    for i, gain in enumerate(gains):
        mean = float(np.mean(gain)) if gain else float("nan")
        if mean > (np.mean(gains[leaders[-1]] or []) if leaders else -np.inf):
            leaders.append(i)
    return leaders


def turned_round(pairs: ContrastivePairs, *, seed: int) -> ContrastivePairs:
    """The same pairs, the two sides of a random half of them exchanged."""
    turned = np.random.default_rng(seed).permutation(len(pairs)) < len(pairs) // 2
    sides = zip(pairs.desired, pairs.undesired, turned.tolist(), strict=True)
    rows = [(b, a) if turn else (a, b) for a, b, turn in sides]
    desired, undesired = zip(*rows, strict=True)
    return ContrastivePairs(desired, undesired, name=f"{pairs.name}, turned round")


def numbers(x: Tensor) -> list[float]:
    """As a journal keeps them."""
    return [short(value) for value in torch.as_tensor(x).double().tolist()]


def short(value: float) -> float:
    """A number with the digits that a journal keeps."""
    return float(f"{value:.{_DIGITS}g}")
