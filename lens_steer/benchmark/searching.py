"""Random search with a budget, for `lens-steer compare --budget`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lens_steer.benchmark.journal import Journal, content
from lens_steer.benchmark.method_families import MethodFamily
from lens_steer.benchmark.random_search import RandomSearchCurve
from lens_steer.benchmark.search_drawing import search_figure
from lens_steer.benchmark.settings import Behaviour, CompareSettings, stem
from lens_steer.benchmark.trials import Trial
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Evaluation, evaluate_each
from lens_steer.figures import save_figure
from lens_steer.steering import Intervention

AGAINST = "CAA"  # the method that others are held against, where it was searched
_TOGETHER = 8  # trials that are run, and kept, in one go
_PARTS = ("dev", "test")


def search(
    behaviour: Behaviour, chosen: Sequence[MethodFamily], settings: CompareSettings
) -> Iterator[str]:
    """Draw settings of each method, measure them on dev and on test; yields lines of a report.

    Writes `search.jsonl`, a row for each trial and part, and `search-NAME.png` with its numbers,
    with CAA among the methods also each less CAA, paired.

    Raises:
        ValueError: If the folder holds trials on other terms.
    """
    journal = Journal(settings.out / "search.jsonl", behaviour.origin)
    [plain] = _trials([None], behaviour.test, behaviour, settings)
    found = []
    for contender in chosen:
        rows = _rows(contender, behaviour, settings, journal)
        sides = [[t.evaluation for part, t in rows if part == side] for side in _PARTS]
        limit, seed = settings.kl, settings.terms.seed
        dev, test = sides
        each = RandomSearchCurve.of(contender.name, dev, test, plain, kl_limit=limit, seed=seed)
        found.append(each)
        best = each.expected(settings.budget)
        yield f"search   {behaviour.name}: {contender.name}, the best on dev of {settings.budget}"
        yield f"         trials at no more than {limit:g} nats per token: {best} on test,"
        yield f"         {each.gap} on dev beyond test; one trial: {each.expected(1)}"
    base = next((each for each in found if each.method == AGAINST), None)
    table = pd.concat([each.table(base) for each in found], ignore_index=True)
    place = settings.out / f"search-{stem(behaviour.name)}.png"
    about = json.loads(json.dumps(asdict(settings), default=str))
    save_figure(search_figure(found, behaviour.name), place, table, about)


def _rows(
    contender: MethodFamily, behaviour: Behaviour, settings: CompareSettings, journal: Journal
) -> list[tuple[str, Trial]]:
    """(part, trial) of every draw; those that are kept already are not run again."""
    drawn = _drawn(contender, behaviour, settings)
    starts = range(0, len(drawn), _TOGETHER)
    for start in tqdm(starts, desc=f"search {contender.name}"):
        some = drawn[start : start + _TOGETHER]
        unit = (behaviour.name, contender.name, start, len(some))
        if unit not in journal.done:
            numbered = list(enumerate(some, start=start))
            journal.add(unit, _measured(contender, behaviour, settings, numbered))
    kept = {
        (row["part"], row["fit"]): Trial.of_row(content(row, "part"))
        for row in journal.rows
        if row["unit"][:2] == [behaviour.name, contender.name]
    }
    return [(part, kept[part, i]) for part in _PARTS for i in range(len(drawn))]


def _measured(
    contender: MethodFamily,
    behaviour: Behaviour,
    settings: CompareSettings,
    drawn: Sequence[tuple[int, Intervention]],
) -> list[dict[str, Any]]:
    """Rows of some draws, on dev and on test."""
    rows = []
    for part in _PARTS:
        methods = [method for _, method in drawn]
        found = _trials(methods, getattr(behaviour, part), behaviour, settings)
        for (number, method), each in zip(drawn, found, strict=True):
            key = (contender.name, behaviour.name, settings.model, number, settings.terms.seed)
            rows.append({"part": part} | Trial(*key, 1.0, repr(method), each).row())
    return rows


def _drawn(
    contender: MethodFamily, behaviour: Behaviour, settings: CompareSettings
) -> list[Intervention]:
    """The same first ones for every budget."""
    source = np.random.default_rng(settings.terms.seed)
    settings_of = [contender.draw(behaviour.inputs, source) for _ in range(settings.budget)]
    return [contender.make(behaviour.inputs, setting) for setting in settings_of]


def _trials(
    methods: Sequence[Intervention | None],
    pairs: ContrastivePairs,
    behaviour: Behaviour,
    settings: CompareSettings,
) -> list[Evaluation]:
    model, how = behaviour.inputs.model, settings.terms.decoding
    return evaluate_each(model, pairs, methods, judge=behaviour.judge, **how)
