"""Random search with a budget, for `lens-steer compare --budget`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lens_steer.benchmark.draws import methods_of_draws
from lens_steer.benchmark.fit_cache import Hyperparameters
from lens_steer.benchmark.journal import Journal, content
from lens_steer.benchmark.method_family import MethodFamily
from lens_steer.benchmark.random_search import RandomSearchCurve
from lens_steer.benchmark.settings import Behaviour, CompareSettings, file_stem
from lens_steer.benchmark.trials import Trial
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Evaluation, FixedTexts, evaluate_each
from lens_steer.figures import save_figure
from lens_steer.steering import Intervention

BASELINE = "CAA"  # the method that others are held against, where it was searched
_TOGETHER = 8  # trials that are run, and kept, in one go
_PARTS = ("dev", "test")
_PROMPTS = 12  # of dev, along whose texts local nats are measured


def search(
    behaviour: Behaviour, families: Sequence[MethodFamily], settings: CompareSettings
) -> Iterator[str]:
    """Draw settings of each method, measure them on dev and on test; yields lines of a report.

    Writes `search.jsonl`, a row for each trial and part, and `search-NAME.png` with its numbers; if
    CAA is among the methods, also the difference of each from CAA, paired.

    Raises:
        ValueError: If the folder holds trials made with other settings.
    """
    import pandas as pd

    journal = Journal(settings.out / "search.jsonl", behaviour.provenance)
    [unsteered] = _evaluated([None], behaviour.test, behaviour, settings)
    limit, seed = settings.kl, settings.config.seed
    curves = []
    for family in families:
        trials = _trials(family, behaviour, settings, journal)
        dev, test = ([t.evaluation for part, t in trials if part == side] for side in _PARTS)
        curve = RandomSearchCurve.of(family.name, dev, test, unsteered, kl_limit=limit, seed=seed)
        curves.append(curve)
        best = curve.expected(settings.budget)
        yield f"search   {behaviour.name}: {family.name}, the best on dev of {settings.budget}"
        yield f"         trials at no more than {limit:g} nats per token: {best} on test,"
        yield f"         {curve.gap} on dev beyond test; one trial: {curve.expected(1)}"
    base = next((curve for curve in curves if curve.method == BASELINE), None)
    table = pd.concat([curve.table(base) for curve in curves], ignore_index=True)
    figure = curves[0].figure(*curves[1:], behaviour_name=behaviour.name)
    origin = json.loads(json.dumps(asdict(settings), default=str))
    save_figure(figure, settings.out / f"search-{file_stem(behaviour.name)}.png", table, origin)


def _trials(
    family: MethodFamily, behaviour: Behaviour, settings: CompareSettings, journal: Journal
) -> list[tuple[str, Trial]]:
    """(part, trial) of every draw; those that are kept already are not run again."""
    drawn = _drawn(family, behaviour, settings)
    starts = range(0, len(drawn), _TOGETHER)
    for start in tqdm(starts, desc=f"search {family.name}"):
        batch = list(enumerate(drawn[start : start + _TOGETHER], start=start))
        unit = (behaviour.name, family.name, start, len(batch))
        if unit not in journal.done:
            journal.add(unit, _rows(family, behaviour, settings, batch))
    kept = {
        (row["part"], row["fit"]): Trial.of_row(content(row, "part"))
        for row in journal.rows
        if row["unit"][:2] == [behaviour.name, family.name]
    }
    return [(part, kept[part, i]) for part in _PARTS for i in range(len(drawn))]


def _rows(
    family: MethodFamily,
    behaviour: Behaviour,
    settings: CompareSettings,
    numbered: Sequence[tuple[int, Hyperparameters]],
) -> list[dict[str, Any]]:
    """Rows of some draws, on dev and on test."""
    cache, dev = behaviour.cache, behaviour.dev.first(_PROMPTS)
    texts = FixedTexts.sample(cache.model, dev, decoding=settings.config.decoding)
    methods = methods_of_draws(family, cache, [setting for _, setting in numbered], texts)
    rows = []
    for part in _PARTS:
        evaluations = _evaluated(methods, getattr(behaviour, part), behaviour, settings)
        for (number, _), method, evaluation in zip(numbered, methods, evaluations, strict=True):
            trial = Trial(
                method=family.name,
                behaviour_name=behaviour.name,
                model=settings.model,
                fit=number,
                seed=settings.config.seed,
                multiple=1.0,
                shown=repr(method),
                evaluation=evaluation,
            )
            rows.append({"part": part} | trial.row())
    return rows


def _drawn(
    family: MethodFamily, behaviour: Behaviour, settings: CompareSettings
) -> list[Hyperparameters]:
    """Drawn settings: a larger budget adds to the draws of a smaller one."""
    source = np.random.default_rng(settings.config.seed)
    return [family.draw(behaviour.cache, source) for _ in range(settings.budget)]


def _evaluated(
    methods: Sequence[Intervention | None],
    pairs: ContrastivePairs,
    behaviour: Behaviour,
    settings: CompareSettings,
) -> list[Evaluation]:
    model, decoding = behaviour.cache.model, settings.config.decoding
    return evaluate_each(model, pairs, methods, judge=behaviour.judge, decoding=decoding)
