"""A table run unit by unit: a task's part under one row; a run that was stopped goes on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.papers.fitting import Fitting
from analyses.papers.judging import ChosenJudge
from analyses.papers.measuring import expected_seconds, measure
from analyses.papers.presets import Preset
from analyses.papers.reading import file_in
from analyses.papers.tasks import Part, Task
from lens_steer.benchmark import Journal, content, made_on
from lens_steer.steering import NotFinite

Parts = dict[str, tuple[Part, ...]]
_JOURNAL = "units.jsonl"


def parts_of(
    preset: Preset, data: Path, limit: int | None, seed: int, chosen: ChosenJudge | None
) -> Parts:
    """The parts of every task, by its name.

    Raises:
        ValueError: If a file is missing or of another form.
    """
    for task in preset.tasks:
        for file in task.files:
            file_in(data, file)  # before any is read
    return {
        task.name: tuple(part.judged_by(chosen) for part in task.parts(data, limit, seed))
        for task in preset.tasks
    }


def terms_of(
    preset: Preset,
    model: ls.SteerableModel,
    data: Path,
    limit: int | None,
    seed: int,
    chosen: ChosenJudge | None,
) -> dict[str, Any]:
    """What a run may only go on with: the preset, the judge, the weights, the files, the seed."""
    files = dict.fromkeys(file for task in preset.tasks for file in task.files)
    hashes = {file: hashlib.sha256((data / file).read_bytes()).hexdigest() for file in files}
    return {
        "paper": preset.paper,
        "table": preset.table,
        "settings": preset.describe(),
        "decoding": repr(preset.decoding),
        "judge": chosen and chosen.note,
        "seed": seed,
        "limit": limit,
        "files": hashes,
        "model": made_on(model, []),
    }


def run(
    preset: Preset,
    model: ls.SteerableModel,
    parts: Parts,
    out: Path,
    terms: Mapping[str, Any],
    *,
    seed: int,
    limit: int | None,
) -> list[dict[str, Any]]:
    """Measure every unit that is not kept in the folder yet, and return the rows of all of them.

    Returns:
        Rows with `unit` (task, part, row), what `measure` gives, and `failed`, the reason why there
        are no values, or empty. They are in the order of the preset, whatever the run's history.

    Raises:
        ValueError: If the folder holds a run on other terms.
    """
    journal = Journal(out / _JOURNAL, terms)
    units = [
        (task, number, row)
        for task in preset.tasks
        for number in range(len(parts[task.name]))
        for row in preset.rows
    ]
    done = journal.done
    missing = [unit for unit in units if (unit[0].name, unit[1], unit[2].name) not in done]
    fittings: dict[tuple[str, int], Fitting] = {}

    def fitting(task: Task, number: int) -> Fitting:
        if (task.name, number) not in fittings:
            part = parts[task.name][number]
            most = 50 if limit is None else min(50, limit)
            fittings.clear()  # the activations of one part at a time
            fittings[task.name, number] = Fitting(model, part.train, seed, part.read, most)
        return fittings[task.name, number]

    _say_cost(preset, parts, missing, len(units), fitting)
    for task, number, row in tqdm(missing, desc=preset.table):
        part = parts[task.name][number]
        try:
            measured = measure(preset, task, part, fitting(task, number), row, seed)
            found = [{**one, "failed": ""} for one in measured]
        except NotFinite as error:
            found = [{"metric": "all", "values": [], "failed": str(error)}]
        journal.add((task.name, number, row.name), found)
    order = {(task.name, number, row.name): i for i, (task, number, row) in enumerate(units)}
    kept = sorted(journal.rows, key=lambda row: order[tuple(row["unit"])])
    return [{"unit": tuple(row["unit"]), **content(row)} for row in kept]


def _say_cost(preset: Preset, parts: Parts, missing: list[Any], total: int, fitting: Any) -> None:
    """Print what is going to be run, and about how long it takes, before it begins."""
    sizes = [f"{name} {sum(map(len, each))}" for name, each in parts.items()]
    typer.echo(
        f"{preset.paper}, {preset.table}: {len(missing)} of {total} units to run "
        f"({len(preset.rows)} rows; questions: {', '.join(sizes)})"
    )
    if not missing:
        return
    seconds = 0.0
    for task in preset.tasks:
        units = [unit for unit in missing if unit[0] is task]
        if units:
            number = units[0][1]
            part = parts[task.name][number]
            seconds += expected_seconds(preset, task, part, fitting(task, number)) * len(units)
    typer.echo(
        f"about {seconds / 60:.1f} minutes on this machine, as far as two questions of each task "
        "can tell; and the fits besides, which read the training pairs once for each kind of "
        "activation (and, for A-LQR, take Jacobians at up to 50 texts, which is the longest part)"
    )
