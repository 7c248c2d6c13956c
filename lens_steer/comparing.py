"""`lens-steer compare`: methods chosen on dev, compared on test, every trial kept as it is made."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lens_steer._compare_settings import Behaviour, CompareSettings, origin, prepared
from lens_steer._table_lines import conclusion
from lens_steer.artifacts import load, save
from lens_steer.contenders import (
    Contender,
    Inputs,
    calibrated_best,
    contenders,
)
from lens_steer.evaluation import (
    Comparison,
    Contest,
    CostTails,
    DoseResponse,
    EnergyMap,
    Frontier,
    OutOfReach,
    Terms,
    Trial,
    paces,
)
from lens_steer.figures import make_folder, save_figure, write_whole
from lens_steer.journal import Journal, content, kept_rows
from lens_steer.models import SteerableModel, load_model
from lens_steer.pairs import ContrastivePairs
from lens_steer.searching import search
from lens_steer.steering.base import Intervention

_FIGURES: dict[str, Any] = {
    "frontier": Frontier,
    "doses": DoseResponse,
    "energy": EnergyMap,
    "tails": CostTails,
}


def run(settings: CompareSettings, say: Callable[[str], None]) -> Comparison:
    """Run it, or go on with what is in `settings.out`; `say` gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, or the folder holds another run.
    """
    if not settings.pairs:
        raise ValueError("no pairs: expected a named set or a file, or several with commas")
    chosen = contenders(settings.methods)
    sources = [ContrastivePairs.load(name) for name in settings.pairs]
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    behaviours = [prepared(model, pairs, settings) for pairs in sources]
    make_folder(settings.out / "methods")
    journal = Journal(settings.out / "trials.jsonl", origin(model, settings))
    parts = [_compared(model, each, chosen, settings, journal, say) for each in behaviours]
    found = Comparison.merge(parts)
    _write(found, settings.out)
    for line in conclusion(found):
        say(line)
    for each in behaviours if settings.budget else ():
        for line in search(each, chosen, settings):
            say(line)
    say(f"written  {', '.join(sorted(p.name for p in settings.out.iterdir()))} in {settings.out}")
    return found


def read(folder: str | Path) -> Comparison:
    """The comparison that `lens-steer compare` kept in a folder, whole or not: for tables, figures.

    Raises:
        ValueError: If there is none.
    """
    path = Path(folder) / "trials.jsonl"
    rows = kept_rows(path) if path.is_file() else []
    if not rows:
        raise ValueError(f"no trials in {str(path)!r}: expected what lens-steer compare wrote")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in rows[0]["terms"]["terms"].items()
    }
    terms = Terms(**given)
    return Comparison(tuple(Trial.of_row(content(row)) for row in rows), terms, {})


def _compared(
    model: SteerableModel,
    behaviour: Behaviour,
    chosen: Sequence[Contender],
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
    contest = Contest.of(
        *(model, behaviour.test, methods),
        judge=behaviour.judge,
        terms=settings.terms,
        train=behaviour.inputs.train if behaviour.inputs.train.paired else None,
        instruction=settings.instruction or None,
        model_name=settings.model,
    )
    return Comparison(continued(contest, journal), settings.terms, paces(contest))


def continued(contest: Contest, journal: Journal) -> tuple[Trial, ...]:
    """All trials of a contest: those that the journal has, and the rest, which it is given."""
    name = contest.behaviour_name
    done = {tuple(unit[1:]) for unit in journal.done if unit[0] == name}
    with tqdm(total=len(contest.units()), initial=len(done), desc=f"compare {name}") as bar:
        for key, trials in contest.run(done):
            journal.add((name, *key), [trial.row() for trial in trials])
            bar.update()
    own = [row for row in journal.rows if row["unit"][0] == name]
    return tuple(Trial.of_row(content(row)) for row in own)


def method_of(
    contender: Contender, behaviour: Behaviour, settings: CompareSettings
) -> list[Intervention]:
    """The best on dev at the stated cost, made from train and from resampled train; kept in files.

    Raises:
        OutOfReach: If no setting reaches the cost.
    """
    model, inputs, seed = behaviour.inputs.model, behaviour.inputs, settings.terms.seed
    stem = f"{behaviour.name.replace(':', '-')}-{contender.name}"
    folder = settings.out / "methods"
    places = [folder / f"{stem}-{fit}.safetensors" for fit in range(settings.fits)]
    if all(place.is_file() for place in places):
        return [load(place, model) for place in places]
    setting = calibrated_best(
        *(contender, inputs, behaviour.dev, behaviour.judge), kl=settings.kl, terms=settings.terms
    )
    found = [contender.make(inputs, setting)]
    for fit in range(1, settings.fits):
        again = inputs.train.resample(seed=seed + fit)
        found.append(contender.make(Inputs(model, again, inputs.reads), setting))
    text = json.dumps(setting, indent=2, sort_keys=True) + "\n"
    write_whole(folder / f"{stem}.json", lambda target: target.write_text(text, encoding="utf-8"))
    for method, place in zip(found, places, strict=True):
        save(method, place)
    return found


def _write(found: Comparison, out: Path) -> None:
    whole = found.table()
    tables: dict[str, Any] = {
        "table": whole.drop(columns="seconds"),
        "seconds": whole[["behaviour_name", "method", "seconds"]],
        "differences": found.differences(),
        "points": found.points(),
    }
    for name, table in tables.items():
        write_whole(out / f"{name}.csv", lambda place, t=table: t.to_csv(place, index=False))
    for behaviour in found.behaviours:
        for name, kind in _FIGURES.items():
            report = kind.of(found, behaviour)
            place = out / f"{name}-{behaviour.replace(':', '-')}.png"
            save_figure(report.figure(), place, report.table(), asdict(found.terms))
