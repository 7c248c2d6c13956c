"""What steering stands beside in the registered study, and what the assay gate is judged by."""

from collections.abc import Callable
from typing import Any

import numpy as np

import lens_steer as ls
from analyses.registered.measuring import (
    CHOSEN_AT,
    NATS,
    REFUSED,
    SEEDS,
    Fold,
    Rows,
    turned_round,
)
from analyses.registered.methods import drawn
from analyses.registered.text_folds import TextFold, row_of
from lens_steer.benchmark import best_of_n, learn, prompted
from lens_steer.evaluation import evaluate_each, random_as_activations_vary, random_like
from lens_steer.sites import Site
from lens_steer.steering import Intervention

GATE_AT = 0.3  # nats per token
RANDOMS = 2
BEST_OF = (2, 4)

_RANDOM: dict[str, Callable[..., Any]] = {
    "random": random_like,
    "random, as activations vary": random_as_activations_vary,
}


def reference_rows(fold: TextFold) -> Rows:
    """No steering, words, the best of several texts, a learned vector, and chance, on test."""
    how = fold.how
    rows: Rows = []
    for k in range(SEEDS):
        again: dict[str, Any] = how | {"decoding": fold.terms.again(k)}
        found = ls.evaluate(fold.model, fold.test, **again)
        rows.append(row_of({"method": "unsteered", "seed": k}, found))
    for n in BEST_OF:
        rows.append(
            row_of(
                {"method": f"best of {n}", "seed": 0}, best_of_n(fold.model, fold.test, n, **how)
            )
        )
    if fold.task.asking is not None:
        asked = prompted(fold.model, fold.test, fold.task.asking, **how)
        rows.append(row_of({"method": "prompting", "seed": 0}, asked))
    return rows + steered_references(fold)


def steered_references(fold: Fold) -> Rows:
    """A learned vector at every cost, and at half depth CAA, CAA of other pairs, and chance."""
    learned = _learned(fold)
    heads: Rows = [{"method": "learned", "nats": nats} for nats in NATS]
    made = [fold.calibrated(learned, nats) for nats in NATS]
    for head, method in _controls(fold):
        heads.append(head | {"nats": CHOSEN_AT})
        made.append(method)
    return fold.measured(heads, made)


def gate_rows(fold: TextFold) -> Rows:
    """What words, a learned vector and CAA do on dev at the largest cost, with some seeds each.

    Of CAA's structures the one that dev's preference takes at that cost.
    """
    structures = drawn("CAA", fold.cache, fold.source, fold.terms.draws)
    made = [fold.calibrated(fold.made("CAA", s), GATE_AT) for s in structures]
    gains = [-np.inf if isinstance(m, str) else fold.dev_gain(m).mean().item() for m in made]
    methods = {
        "unsteered": None,
        "CAA": made[int(np.argmax(gains))],
        "learned": fold.calibrated(_learned(fold), GATE_AT),
    }
    usable = {name: m for name, m in methods.items() if not isinstance(m, str)}
    rows: Rows = [{"method": n, "failure": m} for n, m in methods.items() if isinstance(m, str)]
    for k in range(SEEDS):
        how: dict[str, Any] = {"judge": fold.task.judge, "decoding": fold.terms.again(k)}
        found = evaluate_each(fold.model, fold.dev, list(usable.values()), **how)
        for (name, method), each in zip(usable.items(), found, strict=True):
            rows.append(row_of({"method": name, "seed": k, "shown": repr(method)}, each))
        if fold.task.asking is not None:
            asked = prompted(fold.model, fold.dev, fold.task.asking, **how)
            rows.append(row_of({"method": "prompting", "seed": k}, asked))
    return rows


def _middle(fold: Fold) -> int:
    return int(fold.model.cfg.n_layers) // 2


def _learned(fold: Fold) -> Intervention | str:
    """The vector learned at half depth, or why there is none."""
    site = Site(_middle(fold))
    try:
        return learn(fold.model, fold.cache.train, site, seed=fold.source, progress=False)
    except REFUSED as error:
        return f"not made: {error}"


def _controls(fold: Fold) -> list[tuple[dict[str, Any], Intervention | str]]:
    """CAA at half depth, the same with pairs turned round, and random directions there."""
    middle = _middle(fold)
    turned = turned_round(fold.cache.train, seed=fold.source)
    labels = ls.capture(fold.model, turned, "resid", read="mean", progress=False)
    caa = fold.calibrated(ls.CAA.fit(fold.cache.activations("mean"), layer=middle), CHOSEN_AT)
    found: list[tuple[dict[str, Any], Intervention | str]] = [
        ({"method": "CAA at half depth"}, caa),
        (
            {"method": "CAA, pairs turned round"},
            fold.calibrated(ls.CAA.fit(labels, layer=middle), CHOSEN_AT),
        ),
    ]
    if not isinstance(caa, str):
        seeds = [fold.source + i for i in range(RANDOMS)]
        for name, draw in _RANDOM.items():
            for i, control in enumerate(draw(fold.model, caa, fold.texts, seeds=seeds)):
                found.append(({"method": name, "draw": i}, fold.calibrated(control, CHOSEN_AT)))
    return found
