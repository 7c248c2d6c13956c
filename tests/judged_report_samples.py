"""Reports of texts and comparisons made by their constructors, as large as asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lens_steer.benchmark import (
    AnswerTable,
    CostTails,
    EnergyMap,
    RandomSearchCurve,
    Specificity,
)
from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.tails import Tail
from lens_steer.evaluation import (
    BinaryScores,
    ChoiceScores,
    GeneratedText,
    Generation,
    SideBySide,
    SweepReport,
)
from lens_steer.sites import Site
from lens_steer.steering import Decoding
from tests.report_samples import around, evaluation, methods_named, normal, uniform

QUESTIONS = 24


def energy(n: int) -> EnergyMap:
    """Of methods that edit as many layers."""
    names = methods_named(4)
    shares = {
        name: {layer: around(1 / n, 0.5 / n) for layer in range(n)}
        for name in names
        if name != "unsteered"
    }
    return EnergyMap("mentions the sea", 1.0, names, shares, dict.fromkeys(shares, 6))


def tails(n: int) -> CostTails:
    """Of as many methods, at most 18."""
    names = methods_named(min(n, 18))
    made = []
    for i, name in enumerate(names[1:]):
        nats = np.sort(np.exp(normal(40, seed=i).numpy().astype(float)))
        values = float(nats.mean()), float(nats[20]), float(nats[37])
        made.append(Tail(name, nats, *(around(value, value / 3) for value in values)))
    return CostTails("mentions the sea", 1.0, names, tuple(made), 12)


def specificity(n: int) -> Specificity:
    """Of as many methods and behaviours, at most 8."""
    size = min(n, 8)
    names = methods_named(size)[2:]
    behaviours = tuple(f"behaviour: number {i} of some set" for i in range(size))
    entries = tuple(
        tuple(around(float(i == j) + 0.1 * i, 0.4) for j in range(size)) for i in range(size)
    )
    return Specificity(names, behaviours, (0.87,) * size, entries, (40,) * size, (12,) * size)


def search(n: int) -> RandomSearchCurve:
    """Of as many trials."""

    def sums(trials: int, seed: int) -> Sums:
        ones = np.ones((trials, 4))
        shown = uniform(trials, 4, seed=seed).numpy().astype(float)
        cells: dict[str, Any] = dict.fromkeys(Sums.__dataclass_fields__, ones)
        return Sums(**cells | {"behaviour": shown, "kl": 0.01 * ones})

    keys = tuple("abcd")
    return RandomSearchCurve(
        "a method of some family", sums(n, 0), sums(n + 1, 1), (keys, keys), 0.1, 0
    )


def binary(n: int) -> BinaryScores:
    """Of as many questions."""
    labels = torch.arange(n) % 2 == 0
    odds = normal(n).double() + labels
    keys = tuple(map(str, range(n)))
    return BinaryScores(odds, labels, uniform(n).double(), (" Yes", " No"), keys)


def choices(questions: int, seed: int = 0) -> ChoiceScores:
    log_probs = -5 * uniform(questions, 4, seed=seed).double() - 1
    correct = torch.zeros(questions, 4, dtype=torch.bool)
    correct[:, 0] = True
    lengths = torch.full((questions, 4), 3)
    return ChoiceScores(log_probs, correct, lengths, 4 * lengths, tuple(map(str, range(questions))))


def answers(n: int) -> AnswerTable:
    """Of as many methods, at most 18."""
    rows = methods_named(min(n, 18))
    costs = 0.1 * torch.arange(4 * len(rows)).reshape(-1, 4).double()
    made = tuple(choices(QUESTIONS, seed) for seed in range(len(rows)))
    return AnswerTable("a set of questions", rows, made, costs, ("the prompt is as published",))


def generation(n: int, strength: float = 1.0) -> Generation:
    """Texts of as many tokens, and one shorter, steered at as many layers."""
    sites = tuple(Site(layer) for layer in range(n))
    rows = tuple(_text(count, len(sites), strength) for count in (n, max(n // 2, 1)))
    return Generation(rows, sites, (0, 1), ("CAA at strength 1",), Decoding(max_new_tokens=n))


def _text(count: int, sites: int, strength: float) -> GeneratedText:
    words = tuple(f" word{i}" for i in range(count))
    nats = strength * uniform(count).double()
    side = normal(count, 2)
    return GeneratedText(
        "A prompt that ends in", "".join(words), torch.arange(count), words, -nats, -2 * nats,
        nats, uniform(count, sites), side, 2 * side, "length",
    )  # fmt: skip


def side_by_side(n: int) -> SideBySide:
    strengths = (0.0, 0.5, 1.0, 2.0)
    return SideBySide("CAA", strengths, tuple(generation(n, x) for x in strengths))


def sweep(n: int) -> SweepReport:
    """Of as many strengths."""
    strengths = tuple(4 * i / n for i in range(n))
    first, second = (tuple(evaluation(i / n, seed + i) for i in range(n)) for seed in (0, 50))
    name = "share of texts that mention the sea"
    return SweepReport(strengths, (), first, second, name, "CAA", 0)


JUDGED_REPORTS: dict[str, Callable[[int], Any]] = {
    "energy": energy,
    "tails": tails,
    "specificity": specificity,
    "search": search,
    "binary": binary,
    "choices": choices,
    "answers": answers,
    "generation": generation,
    "side by side": side_by_side,
    "sweep": sweep,
}
