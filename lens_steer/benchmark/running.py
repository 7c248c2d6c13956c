"""`lens-steer compare`: methods chosen on dev, compared on test, every trial kept as it is made."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lens_steer.benchmark.comparing import time_generation
from lens_steer.benchmark.conclusions import conclusion
from lens_steer.benchmark.contest import ComparisonRun
from lens_steer.benchmark.dose_response import DoseResponse
from lens_steer.benchmark.energy import EnergyMap
from lens_steer.benchmark.frontier import Frontier
from lens_steer.benchmark.journal import Journal, content, kept_rows
from lens_steer.benchmark.kept_methods import method_of
from lens_steer.benchmark.method_families import MethodFamily, families
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.searching import search
from lens_steer.benchmark.settings import (
    Behaviour,
    CompareSettings,
    distinct_names,
    origin,
    prepared,
    stem,
)
from lens_steer.benchmark.tails import CostTails
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.benchmark.trials import Trial
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import OutOfReach
from lens_steer.figures import save_figure, save_table
from lens_steer.files import make_folder, writing_in
from lens_steer.models import SteerableModel, load_model
from lens_steer.steering import Intervention

_FIGURES: dict[str, Any] = {
    "frontier": Frontier,
    "doses": DoseResponse,
    "energy": EnergyMap,
    "tails": CostTails,
}


def run(settings: CompareSettings, say: Callable[[str], None]) -> Comparison:
    """Run it, or go on with what is in `settings.out`; `say` gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, the folder holds a run on other
            settings, pairs, weights or versions, cannot be written to, or another process writes
            in it.
    """
    if not settings.pairs:
        raise ValueError("no pairs: expected a named set or a file, or several with commas")
    chosen = families(settings.methods)
    sources = [ContrastivePairs.load(name) for name in settings.pairs]
    distinct_names(sources)
    with writing_in(settings.out):
        return _run(settings, sources, chosen, say)


def _run(
    settings: CompareSettings,
    sources: Sequence[ContrastivePairs],
    chosen: Sequence[MethodFamily],
    say: Callable[[str], None],
) -> Comparison:
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    marks = origin(model, settings, sources)
    behaviours = [prepared(model, pairs, settings, marks) for pairs in sources]
    journal = Journal(settings.out / "trials.jsonl", marks)
    make_folder(settings.out / "methods")
    parts = [_compared(model, each, chosen, settings, journal, say) for each in behaviours]
    found = Comparison.merge(parts)
    _write(found, settings.out)
    for line in conclusion(found):
        say(line)
    for each in behaviours if settings.budget else ():
        for line in search(each, chosen, settings):
            say(line)
    names = sorted(p.name for p in settings.out.iterdir() if not p.name.startswith("."))
    say(f"written  {', '.join(names)} in {settings.out}")
    return found


def read(folder: str | Path) -> Comparison:
    """The comparison that `lens-steer compare` kept in a folder, whole or not: for tables, figures.

    Raises:
        ValueError: If there is none.
    """
    path = Path(folder) / "trials.jsonl"
    rows = kept_rows(path) if os.path.isfile(path) else []
    if not rows:
        raise ValueError(f"no trials in {str(path)!r}: expected what lens-steer compare wrote")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in rows[0]["terms"]["terms"].items()
    }
    terms = ComparisonConfig(**given)
    return Comparison(tuple(Trial.of_row(content(row)) for row in rows), terms, {})


def _compared(
    model: SteerableModel,
    behaviour: Behaviour,
    chosen: Sequence[MethodFamily],
    settings: CompareSettings,
    journal: Journal,
    say: Callable[[str], None],
) -> Comparison:
    methods: dict[str, list[Intervention]] = {}
    for each in chosen:
        try:
            methods[each.name] = method_of(each, behaviour, settings)
        except OutOfReach as error:
            say(f"left out {behaviour.name}: {error}")
            continue
        say(f"chosen   {behaviour.name}: {methods[each.name][0]!r}")
    if not methods:
        raise OutOfReach(f"no method costs {settings.kl} nats per token on {behaviour.name}")
    contest = ComparisonRun.of(
        *(model, behaviour.test, methods),
        judge=behaviour.judge,
        terms=settings.terms,
        train=behaviour.inputs.train if behaviour.inputs.train.paired else None,
        instruction=settings.instruction or None,
        model_name=settings.model,
    )
    return Comparison(continued(contest, journal), settings.terms, time_generation(contest))


def continued(contest: ComparisonRun, journal: Journal) -> tuple[Trial, ...]:
    """All trials of a contest: those that the journal has, and the rest, which it is given."""
    name = contest.behaviour_name
    done = {tuple(unit[1:]) for unit in journal.done if unit[0] == name}
    with tqdm(total=len(contest.units()), initial=len(done), desc=f"compare {name}") as bar:
        for key, trials in contest.run(done):
            journal.add((name, *key), [trial.row() for trial in trials])
            bar.update()
    own = [row for row in journal.rows if row["unit"][0] == name]
    return tuple(Trial.of_row(content(row)) for row in own)


def _write(found: Comparison, out: Path) -> None:
    whole = found.table()
    tables: dict[str, Any] = {
        "table": whole.drop(columns="seconds"),
        "seconds": whole[["behaviour_name", "method", "seconds"]],
        "differences": found.differences(),
        "points": found.points(),
    }
    for name, table in tables.items():
        save_table(table, out / f"{name}.csv")
    for behaviour in found.behaviours:
        for name, kind in _FIGURES.items():
            report = kind.of(found, behaviour)
            place = out / f"{name}-{stem(behaviour)}.png"
            save_figure(report.figure(), place, report.table(), asdict(found.terms))
