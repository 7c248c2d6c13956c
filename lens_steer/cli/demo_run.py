"""The main job from end to end: read a model, choose layer and strength on dev, report on test."""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lens_steer.activations import (
    Activations,
    SeparabilityReport,
    capture,
    show_read_positions,
)
from lens_steer.artifacts import save
from lens_steer.benchmark import (
    KL,
    Comparison,
    ComparisonConfig,
    FitCache,
    Frontier,
    choose_all,
    comparison,
    families,
    split_for,
    stored,
    summary_lines,
)
from lens_steer.cli.demo_report import DemoReport, introduction, report_lines
from lens_steer.cli.demo_settings import DemoSettings
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import SweepReport, choose, sweep
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.models import SteerableModel, attach, load_model, render
from lens_steer.steering import CAA, Random, preview, prompt_rows

if TYPE_CHECKING:
    import pandas as pd

# Sizes of the push that are tried, as a share of the activation's own length; 0 is no steering.
SIZES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 1.0, 1.4)
GREEDY = "         no table of methods: greedy texts have no finite divergence to compare them at"


def run(settings: DemoSettings, echo: Callable[[str], None]) -> DemoReport:
    """Run the demo; files go to `settings.out`.

    Args:
        echo: Gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, or the folder cannot be written to
            or is being written in by another process, or holds a run of `lens-steer compare`; no
            file is then half-written.

    Example:
        >>> settings = DemoSettings("organism", "organism:sentiment", Path("out/demo"), seed=0)
        >>> report = run(settings, print)
    """
    families(settings.methods)  # an unknown name ends the demo here
    pairs = ContrastivePairs.load(settings.pairs)
    parts = split_for(settings.judge, pairs, settings.seed)
    if os.path.lexists(settings.out / "trials.jsonl"):  # whose table.csv would be overwritten
        raise ValueError(
            f"{str(settings.out)!r} holds a run of lens-steer compare: choose another folder"
        )
    with writing_in(settings.out):
        return _run(settings, pairs, parts, echo)


def _run(
    settings: DemoSettings,
    pairs: ContrastivePairs,
    parts: tuple[ContrastivePairs, ...],
    echo: Callable[[str], None],
) -> DemoReport:
    train, dev, test = parts
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    # what would only be found out after minutes of work
    prompt_rows(model, pairs.prompts, settings.decoding.max_new_tokens)
    previews = show_read_positions(model, (train.desired[0], train.undesired[0]), settings.read)
    for line in introduction(settings.model, model, pairs, previews):
        echo(line)
    report = examine(model, (train, dev, test), settings)
    table = (
        compared(model, (train, dev, test), settings, echo) if settings.temperature > 0 else None
    )
    file_names = _write(report, table, model, settings)
    for line in (*report_lines(report), *(summary_lines(table) if table else (GREEDY,))):
        echo(line)
    echo(f"written  {', '.join(file_names)} in {settings.out}")
    return report


def examine(
    model: SteerableModel,
    parts: tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs],
    settings: DemoSettings,
) -> DemoReport:
    """Fit on the first part, choose on the second, report on the third."""
    train, dev, test = parts
    activations = capture(model, train, "resid", read=settings.read)
    held_out = capture(model, dev, "resid", read=settings.read)
    separability = SeparabilityReport.fit(activations, held_out, seed=settings.seed)
    how: dict[str, Any] = {"judge": settings.judge, "decoding": settings.decoding}
    candidates = sized_candidates(activations, SIZES[1:])
    choice = choose(model, dev.first(settings.dev_prompts), candidates, **how)
    method = candidates[choice.best_index]
    unit = activations.at(method.sites[0].layer).relative_length
    strengths = [size / unit for size in SIZES]
    swept = sweep(
        model,
        test,
        method,
        Random.like(method, seed=settings.seed),
        strengths,
        relative=SIZES,
        behaviour_name=settings.behaviour_name,
        **how,
    )
    chosen = min(range(len(SIZES)), key=lambda i: abs(strengths[i] - method.strength))
    texts = _texts(model, test, swept, chosen)
    first_text = preview(
        model,
        test.prompts[0],
        method,
        continuation=swept.method[chosen].texts[0],
        scope=settings.scope,
    )
    return DemoReport(separability, choice, method, swept, chosen, texts, first_text)


def compared(
    model: SteerableModel,
    parts: tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs],
    settings: DemoSettings,
    echo: Callable[[str], None],
) -> Comparison:
    """The methods of `settings.methods`, at the same cost on dev, beside what they have to beat.

    For the embedded model the settings and strengths are those that are stored in the package.

    Raises:
        ValueError: As `compare`.
    """
    train, dev, test = parts
    variation: dict[str, Any] = {"multiples": (0.5, 1, 1.4), "randoms": 1}
    config = ComparisonConfig(**asdict(settings.decoding), **variation)
    chosen_from = families(settings.methods)
    kept = {
        family.name: stored(settings.model, settings.pairs, family.name, config)
        for family in chosen_from
    }
    chosen = choose_all(
        chosen_from,
        FitCache(model, train, (settings.read,)),
        dev.first(settings.dev_prompts),
        settings.judge,
        kl=KL,
        config=config,
        settings={name: setting for name, setting in kept.items() if setting is not None},
        echo=echo,
    )
    return comparison(
        model,
        test,
        chosen.methods,
        judge=settings.judge,
        config=config,
        train=train if train.paired else None,
    )


def sized_candidates(activations: Activations, sizes: tuple[float, ...]) -> list[CAA]:
    """CAA at every layer where the classes differ, pushing by these shares of the activation."""
    candidates = []
    for layer in activations.layers:
        at = activations.at(layer)
        if bool(at.direction.any()):
            method = CAA.fit(at)
            candidates += [method.with_strength(size / at.relative_length) for size in sizes]
    if not candidates:
        raise ValueError("the classes are equal at every layer read: read another position")
    return candidates


def _texts(
    model: SteerableModel, test: ContrastivePairs, swept: SweepReport, chosen: int
) -> "pd.DataFrame":
    import pandas as pd

    prompts = [render(model, prompt) for prompt in test.prompts]
    texts = {"unsteered": swept.method[0].texts, "steered": swept.method[chosen].texts}
    return pd.DataFrame({"prompt": prompts} | texts)


def _write(
    report: DemoReport, table: Comparison | None, model: SteerableModel, settings: DemoSettings
) -> list[str]:
    """Write all results, each file whole or not at all; returns the names of the files."""
    out = settings.out
    origin = {"settings": asdict(settings), "fingerprint": asdict(attach(model).fingerprint)}
    figures: dict[str, Any] = {"separability": report.separability, "sweep": report.sweep}
    tables = {"choice": report.choice.table(), "texts": report.texts}
    if table is not None:
        figures["frontier"] = Frontier.of(table, table.behaviours[0])
        tables["table"] = table.table().drop(columns="seconds")  # another one in every run
    for name, figure in figures.items():
        save_figure(figure.figure(), out / f"{name}.png", figure.table(), origin)
    for name, numbers in tables.items():
        save_table(numbers, out / f"{name}.csv")
    save(report.method, out / "method.safetensors")
    names = [f"{name}.{end}" for name in figures for end in ("png", "csv", "json")]
    return [*names, *(f"{name}.csv" for name in tables), "method.safetensors"]
