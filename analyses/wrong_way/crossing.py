"""Prompts crossed with the endings of other pairs: does the prompt or the ending decide?"""

from collections.abc import Sequence
from typing import Any

import torch

from analyses.forecast.measuring import COST_PROMPTS, Tested
from analyses.registered.measuring import numbers
from analyses.wrong_way.measuring import NATS, STEP
from analyses.wrong_way.paths import Readouts, Slopes
from lens_steer.benchmark import FAMILIES, FitCache
from lens_steer.data import ContrastivePairs, Example
from lens_steer.evaluation import FixedTexts, OutOfReach, calibrate_along

_SHARED = 0.5  # of the endings: so many must follow prompts of several groups to fit any prompt

Cells = list[tuple[int, int, int]]


class CrossedCell(Tested):
    """A task and the fold that is tested: slopes of CAA at half depth for crossed pairs."""

    def rows(self) -> list[dict[str, Any]]:
        """One row: of both ways of crossing, (group, prompt, ending, slope) of every cell."""
        dev, test = self.parts
        cache = FitCache(self.model, self.task.train(self.seed, self.fold))
        texts = FixedTexts.sample(self.model, dev.spread(COST_PROMPTS), decoding=self.decoding)
        caa = FAMILIES["CAA"].make(cache, {"layer": self.model.cfg.n_layers // 2, "read": "mean"})
        try:
            method = calibrate_along(self.model, caa, texts, kl=NATS, progress=False)
        except OutOfReach as error:
            return [{"failed": str(error)}]
        crossed = {"within": within_groups(test)}
        if endings_fit_any_prompt(self.task.pairs):
            crossed["between"] = between_groups(test, dev)
        nothing = torch.zeros(int(self.model.cfg.d_model)).double()
        step, row = STEP * float(method.strength), {}
        for name, (pairs, cells) in crossed.items():
            found = Slopes.measure(Readouts.of(self.model, pairs), method, nothing, step=step)
            whole = numbers(float(method.strength) * found.whole)
            row[name] = [[*cell, value] for cell, value in zip(cells, whole, strict=True)]
        return [row]


def endings_fit_any_prompt(pairs: ContrastivePairs) -> bool:
    """Whether most endings follow prompts of several groups as they are."""
    groups: dict[str, set[str]] = {}
    for example in pairs.desired:
        groups.setdefault(example.continuation, set()).add(str(example.group))
    several = [len(found) > 1 for found in groups.values()]
    return sum(several) > _SHARED * len(several)


def within_groups(pairs: ContrastivePairs) -> tuple[ContrastivePairs, Cells]:
    """Every prompt with the endings of every pair of its group."""
    rows, cells = [], []
    for number, group in enumerate(dict.fromkeys(pairs.groups)):
        some = [i for i, own in enumerate(pairs.groups) if own == group]
        for i, prompt in enumerate(some):
            for j, ending in enumerate(some):
                rows.append((pairs, prompt, ending))
                cells.append((number, i, j))
    return _crossed(rows, f"{pairs.name}, crossed within groups"), cells


def between_groups(
    test: ContrastivePairs, others: ContrastivePairs
) -> tuple[ContrastivePairs, Cells]:
    """The first prompt of every group, of both sets, with every ending of the tested pairs."""
    endings = list({(e.continuation): i for i, e in enumerate(test.desired)}.values())
    rows, cells, i = [], [], 0
    for pairs in (test, others):
        for group in dict.fromkeys(pairs.groups):
            for j, ending in enumerate(endings):
                rows.append((pairs, pairs.groups.index(group), ending))
                cells.append((0, i, j))
            i += 1
    return _crossed(rows, f"{test.name}, crossed between groups", test), cells


def _crossed(
    rows: Sequence[tuple[ContrastivePairs, int, int]],
    name: str,
    endings_of: ContrastivePairs | None = None,
) -> ContrastivePairs:
    """Pairs of (set, number of the prompt, number of the ending)."""
    desired, undesired = [], []
    for pairs, prompt, ending in rows:
        start, group, source = (
            pairs.desired[prompt].prompt,
            pairs.groups[prompt],
            endings_of or pairs,
        )
        desired.append(Example(start, source.desired[ending].continuation, group))
        undesired.append(Example(start, source.undesired[ending].continuation, group))
    return ContrastivePairs(tuple(desired), tuple(undesired), name=name)
