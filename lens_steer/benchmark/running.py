"""`lens-steer compare`: methods chosen on dev, compared on test, every trial kept as it is made."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lens_steer.benchmark.choosing import choose_and_keep
from lens_steer.benchmark.comparing import progress_bar, time_generation, timing_work
from lens_steer.benchmark.comparison_run import ComparisonRun
from lens_steer.benchmark.config import ComparisonConfig
from lens_steer.benchmark.dose_response import DoseResponse
from lens_steer.benchmark.energy import EnergyMap
from lens_steer.benchmark.frontier import Frontier
from lens_steer.benchmark.journal import Journal, content, kept_rows, writer_of
from lens_steer.benchmark.method_families import families
from lens_steer.benchmark.method_family import MethodFamily
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.searching import search
from lens_steer.benchmark.settings import (
    FORM,
    Behaviour,
    CompareSettings,
    distinct_names,
    file_stem,
    run_provenance,
    split_for,
)
from lens_steer.benchmark.tails import CostTails
from lens_steer.benchmark.trials import Trial
from lens_steer.data import ContrastivePairs
from lens_steer.figures import save_figure, save_table
from lens_steer.files import make_folder, writing_in
from lens_steer.models import load_model

Echo = Callable[[str], None]
_JOURNALS = ("trials.jsonl", "table.jsonl")  # of compare, and of the demo

_FIGURES: dict[str, Any] = {
    "frontier": Frontier,
    "doses": DoseResponse,
    "energy": EnergyMap,
    "tails": CostTails,
}


def run_comparison(settings: CompareSettings, echo: Echo) -> Comparison:
    """Run a comparison, or go on with what is in `settings.out`.

    Args:
        echo: Gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, the folder holds a run with other
            settings, pairs, weights or versions, cannot be written to, or another process writes
            in it.

    Example:
        >>> settings = ls.benchmark.CompareSettings(
        ...     model="organism",
        ...     pairs=("organism:sentiment",),
        ...     out=Path("out/compare"),
        ...     config=ls.benchmark.ComparisonConfig(max_new_tokens=110),
        ... )
        >>> result = ls.benchmark.run_comparison(settings, print)
    """
    if not settings.pairs:
        raise ValueError("no pairs: expected a named set or a file, or several with commas")
    chosen = families(settings.methods)
    how: dict[str, Any] = {"columns": settings.columns, "template": settings.template}
    sources = [ContrastivePairs.load(name, **how) for name in settings.pairs]
    distinct_names(sources)
    for pairs in sources:
        split_for(settings.judge(pairs.name), pairs, settings.config.seed)
    with writing_in(settings.out):
        return _run(settings, sources, chosen, echo)


def _run(
    settings: CompareSettings,
    sources: Sequence[ContrastivePairs],
    families: Sequence[MethodFamily],
    echo: Echo,
) -> Comparison:
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    provenance = run_provenance(model, settings, sources)
    behaviours = [Behaviour.of(model, pairs, settings, provenance) for pairs in sources]
    journal = Journal(settings.out / "trials.jsonl", provenance)
    make_folder(settings.out / "methods")
    parts = [_compared(behaviour, families, settings, journal, echo) for behaviour in behaviours]
    comparison = Comparison.merge(parts)
    _write(comparison, settings.out)
    for line in summary_lines(comparison):
        echo(line)
    for behaviour in behaviours if settings.budget else ():
        for line in search(behaviour, families, settings):
            echo(line)
    names = sorted(p.name for p in settings.out.iterdir() if not p.name.startswith("."))
    echo(f"written  {', '.join(names)} in {settings.out}")
    return comparison


def read(folder: str | Path) -> Comparison:
    """The comparison that `lens-steer compare` or `demo` kept in a folder, for tables and figures.

    It may be whole or not.

    Raises:
        ValueError: If there is none, or another version of lens_steer kept it.

    Example:
        >>> result = ls.benchmark.read("out/compare")
        >>> result.differences(against="CAA")
    """
    names = [name for name in _JOURNALS if os.path.isfile(Path(folder) / name)]
    path = Path(folder) / (names or _JOURNALS)[0]
    rows = kept_rows(path) if names else []
    if not rows:
        raise ValueError(f"no trials in {str(path)!r}: expected what lens-steer compare wrote")
    kept_with = rows[0]["terms"]
    if not isinstance(kept_with, dict) or not isinstance(kept_with.get("config", {}), dict):
        raise ValueError(f"{str(path)!r} is not what lens-steer compare wrote: run it again")
    if kept_with.get("form") != FORM:
        raise ValueError(
            f"{str(path)!r} was {writer_of(kept_with)}, this version reads form {FORM}: read it "
            "with that version, or run lens-steer compare again in another folder"
        )
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in kept_with.get("config", {}).items()
    }
    trials = tuple(Trial.of_row(content(row)) for row in rows)
    return Comparison(trials, ComparisonConfig(**options), {})


def _compared(
    behaviour: Behaviour,
    families: Sequence[MethodFamily],
    settings: CompareSettings,
    journal: Journal,
    echo: Echo,
) -> Comparison:
    train = behaviour.cache.train
    comparison_run = ComparisonRun.of(
        behaviour.cache.model,
        behaviour.test,
        choose_and_keep(families, behaviour, settings, echo=echo).fits,
        judge=behaviour.judge,
        config=settings.config,
        train=train if train.paired else None,
        instruction=settings.instruction or None,
        model_name=settings.model,
    )
    trials = resume(comparison_run, journal)
    timed = timing_work(comparison_run)
    with tqdm(total=timed, desc="timing", unit="text", disable=not timed) as bar:
        seconds = time_generation(comparison_run, tick=bar.update)
    return Comparison(trials, settings.config, seconds)


def resume(comparison_run: ComparisonRun, journal: Journal) -> tuple[Trial, ...]:
    """All trials of a run: those that the journal has, and the rest, which are added to it."""
    name = comparison_run.behaviour_name
    done = {tuple(unit[1:]) for unit in journal.done if unit[0] == name}
    with progress_bar(comparison_run, done, desc=f"compare {name}") as bar:
        for key, trials in comparison_run.run(done, tick=bar.update):
            journal.add((name, *key), [trial.row() for trial in trials])
            bar.update(comparison_run.work(key))
    return tuple(Trial.of_row(content(row)) for row in journal.rows if row["unit"][0] == name)


def _write(comparison: Comparison, out: Path) -> None:
    whole = comparison.table()
    tables: dict[str, Any] = {
        "table": whole.drop(columns="seconds"),
        "seconds": whole[["behaviour_name", "method", "seconds"]],
        "differences": comparison.differences(),
        "points": comparison.points(),
    }
    for name, table in tables.items():
        save_table(table, out / f"{name}.csv")
    for behaviour in comparison.behaviours:
        for name, kind in _FIGURES.items():
            report = kind.of(comparison, behaviour)
            place = out / f"{name}-{file_stem(behaviour)}.png"
            save_figure(report.figure(), place, report.table(), asdict(comparison.config))


def summary_lines(comparison: Comparison) -> Iterator[str]:
    """The table of a comparison in a few columns, a line for each method, for a terminal."""
    table = comparison.table()
    for behaviour in comparison.behaviours:
        part = table[table["behaviour_name"] == behaviour]
        width = max(map(len, part["method"]))
        yield f"test     {behaviour}: share with 95 % interval; nats per token and per text;"
        yield "         efficiency; perplexity; share failed; |edit| / |residual|; p after Holm"
        for _, row in part.iterrows():
            yield f"         {row['method']:{width}} {_summary(row)}".replace("nan", "  -")
        if part.iloc[0]["behaviour"] == 1:
            yield "         unsteered it is shown after every prompt: nothing is to be gained"


def _summary(row: Any) -> str:
    share = f"{row['behaviour']:4.0%} [{row['behaviour_low']:3.0%}, {row['behaviour_high']:4.0%}]"
    nats = f"{row['kl']:6.3f} {row['kl_sequence']:6.2f}  {row['efficiency']:4.2f}"
    rest = f"{row['perplexity']:5.2f}  {row['failed']:4.0%}  {row['relative_norm']:5.2f}"
    return f"{share}  {nats}  {rest}  {row['p_holm']:6.3f}"
